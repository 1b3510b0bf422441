"""From a record to the statistical columns of its row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchfw.measure import judge, spans
from benchfw.measure.gates.gpu import contended, throttled
from benchfw.measure.member import Member
from benchfw.measure.record import Record, throughput_interval
from benchfw.stats import Interval, summarize


def statistics(record: Record) -> dict[str, Any]:
    """Return verdict and statistics of a case without a failure.

    A case without a steady state has no headline number: it would depend on when it was taken. Its raw data are
    stored like those of any other.
    """
    blocks = [block for member in record.all for block in member.measured]
    if not blocks:
        return {"status": "INTERRUPTED", "status_reason": "no block was measured"}
    verdict, reason = _verdict(record)
    shifts = [member.canary_shift for member in record.all if member.canary_shift is not None]
    columns: dict[str, Any] = {
        "verdict": verdict,
        "verdict_reason": reason,
        "steady_state": record.steady_kind,
        "invocations": len(record.members),
        "builds": record.builds,
        "blocks": len(blocks),
        "measured_s": sum(member.measured_s for member in record.all),
        "nivcsw": sum(block.counters["nivcsw"] for block in blocks),
        "cpu_time_s": sum(block.counters["cpu_time_ns"] for block in blocks) / 1e9,
        "instrumentation_cost": record.all[0].instrumentation_cost,
        "telemetry_cost": record.telemetry_cost,
        "canary_shift": max(shifts, key=abs, default=None),
    }
    columns |= _gpu(record)
    if record.steady_kind == "no_steady":
        return columns
    return columns | _latency(record) | spans.columns(*record.all) | _throughput(record)


def _verdict(record: Record) -> tuple[str, str | None]:
    """Return the verdict and its reason; the gravest one where several apply."""
    if record.contended is not None:
        return "CONTENDED", record.contended
    foreign = contended(record.gpu) if record.gpu else None
    if foreign is not None:
        return "CONTENDED", foreign
    for member in record.all:
        if member.steady_kind == "no_steady" and member.steady is not None:
            return "NO_STEADY_STATE", f"V07: {judge.steady_text(member.steady)}"
    held = throttled(record.gpu) if record.gpu else None
    if held is not None:
        return "THROTTLED", held
    if record.unstable is not None:
        return "UNSTABLE", record.unstable
    if record.converged or record.case.session.arm is not None:  # of an arm it is the comparison that must be precise
        return "VALID", None
    reasons = [member.stopping.why_not() for member in record.all if not member.stopping.converged]
    return "NOT_CONVERGED", reasons[0]


def _gpu(record: Record) -> dict[str, Any]:
    """Return what NVML has seen."""
    gpu = record.gpu
    if gpu is None:
        return {}
    joules, low, high = gpu.energy_j or (None, None, None)
    return {
        "gpu_scope": gpu.facts.get("scope"),
        "device_process_bytes": gpu.worker_bytes,
        "sm_clock_mhz": gpu.sm_mhz,
        "sm_clock_min_mhz": gpu.sm_min_mhz,
        "memory_clock_mhz": gpu.memory_mhz,
        "memory_clock_min_mhz": gpu.memory_min_mhz,
        "throttled_share": max(gpu.shares.values(), default=None),
        "temperature_max_c": gpu.temperature_c,
        "power_w": gpu.power_w,
        "energy_sample_j": joules,
        "energy_sample_low_j": low,
        "energy_sample_high_j": high,
    }


def _latency(record: Record) -> dict[str, Any]:
    each = record.summaries
    if not each:
        return {}
    summary = each[0] if len(each) == 1 else summarize(np.concatenate([member.samples for member in record.all]))
    assert summary is not None
    p50, variance = record.p50, record.variance
    return {
        "n": summary.n,
        "effective_n": p50.effective_n if p50 else None,
        "autocorrelation_time": max(of_one.tau for of_one in each),
        "latency_min_ns": summary.min,
        "latency_mean_ns": summary.mean,
        "latency_max_ns": summary.max,
        "latency_std_ns": summary.std,
        "latency_mad_ns": summary.mad,
        "latency_iqr_ns": summary.iqr,
        "robust_cv": summary.robust_cv,
        "outlier_share": summary.outlier_share,
        **_columns("latency_p50", "ns", p50),
        "latency_p90_ns": summary.p90,
        "latency_p95_ns": summary.p95,
        **_columns("latency_p99", "ns", record.p99),
        "latency_p999_ns": summary.p999.value if summary.p999 else None,
        "variation_within": math.sqrt(variance.within) if variance else None,
        "variation_between": _deviation(variance.between if variance else None),
        "variation_builds": _deviation(variance.builds if variance else None),
    }


def _deviation(variance: float | None) -> float | None:
    return None if variance is None else math.sqrt(variance)


def _throughput(record: Record) -> dict[str, Any]:
    if not record.last.has_throughput:
        return {}
    return {
        **_columns("throughput", "samples_s", record.throughput()),
        "throughput_depth": record.depth,
        "throughput_lanes": record.lanes,
    }


def _columns(name: str, unit: str, interval: Interval | None) -> dict[str, float | None]:
    """Return value and ends of an interval as columns; open ends are null."""
    if interval is None:
        return {}
    return {
        f"{name}_{unit}": interval.value,
        f"{name}_low_{unit}": interval.low if interval.finite else None,
        f"{name}_high_{unit}": interval.high if interval.finite else None,
    }


def invocation_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the rows of `invocations`: those of every process that measured something."""
    return [_invocation_row(member) for record in records for member in record.all if member.measured]


def _invocation_row(member: Member) -> dict[str, Any]:
    summary, steady = member.summary, member.steady
    assert summary is not None
    return {
        "case_id": member.case.case_id,
        "cohort": member.case.cohort_id,
        "invocation": member.number,
        "build": member.built,
        "artifact_sha256": member.instance.made.artifact.sha256 if member.instance else None,
        "worker": member.host.invocation,
        "padding_bytes": member.host.padding,
        "steady_state": member.steady_kind,
        "steady_from": steady.start if steady else None,
        "blocks": len(member.measured),
        "n": summary.n,
        "effective_n": summary.p50.effective_n,
        "latency_mean_ns": summary.mean,
        **_columns("latency_p50", "ns", summary.p50),
        **_columns("latency_p99", "ns", summary.p99),
        **_columns("throughput", "samples_s", throughput_interval(member)),
        "first_call_ns": member.first_call_ns,
        "warmup_s": member.warmup_s,
        "load_s": member.instance.load_s if member.instance else None,
        "build_s": member.instance.build_s if member.instance else None,
        "peak_rss_bytes": member.peak_rss_bytes,
        "canary_shift": member.canary_shift,
    }
