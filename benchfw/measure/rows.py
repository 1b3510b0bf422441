"""From a measured case to rows of the result tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchfw.artifacts import Made
from benchfw.measure.gates.providers import effective_provider
from benchfw.measure.member import Member
from benchfw.measure.record import Record
from benchfw.measure.statistics import statistics
from benchfw.scenario import Case
from benchfw.spec.accuracy import TOLERANCES, Tolerance, worst
from benchfw.spec.device import CPU
from benchfw.store.schema import SCHEMA_VERSION
from benchfw.store.writer import row_faults

_LABELS = (
    *("case_id", "case_hash", "session_id", "cohort", "scenario", "model", "model_hash", "backend", "name", "provider"),
    *("precision", "environment", "python", "device", "sweep", "profile", "profile_point", "batch", "shape", "depth"),
    *(
        "io_scope",
        "graph",
        "sync",
        "cache",
        "sequence_sha256",
        "interleave",
        "invocation",
        "log",
        "seed",
        "effort",
        "forced",
    ),
    "schema_version",
)
_STATISTICS = (
    *("latency_", "enqueue_", "h2d_", "compute_", "d2h_", "device_p50", "throughput_", "speedup"),
    *("effective_n", "variation_", "robust_cv", "outlier_share"),
    *("autocorrelation_time", "steady_state", "instrumentation_cost", "telemetry_cost"),
    *("gpu_scope", "sm_clock_", "memory_clock_", "throttled_share", "temperature_max_c", "power_w", "energy_sample_"),
)


def case_hash(case: Case, context: Mapping[str, Any]) -> str:
    """Return a hash over all that decides what a case measures, but not for how long.

    Args:
        case: The case.
        context: What all cases share: the model's hash, seed, threads, inputs, environments.
    """
    session = case.session
    content = {
        "case_id": case.case_id,
        "backend": session.entry.use,
        "options": dict(session.options),
        "steps": dict(session.steps),
        "environment": session.environment,
        "profile": case.profile.slug,
        "sizes": dict(case.sizes),
        "sequence": case.sequence.sha256 if case.sequence else None,
        **({} if session.device == CPU else {"device": session.device}),
        **({"allow_fallback": True} if session.entry.allow_fallback else {}),
        **({"tolerance": asdict(session.tolerance)} if session.tolerance else {}),
        **context,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def planned_row(case: Case, common: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a case as planned: its labels, and its status if it is settled already."""
    session = case.session
    info = session.info
    return {
        **common,
        "case_id": case.case_id,
        "cohort": case.cohort_id,
        "session_id": session.session_id,
        "backend": session.entry.use,
        "name": session.entry.label,
        "provider": info.provider if info else None,
        "precision": session.precision,
        "environment": session.environment,
        "sweep": "+".join(case.sweeps),
        "profile": case.artifact_kind,
        "profile_point": case.point,
        "batch": case.batch,
        "shape": json.dumps(_shape(case), sort_keys=True),
        "sequence_sha256": case.sequence.sha256 if case.sequence else None,
        "depth": 1,
        "status": case.status,
        "status_reason": f"{case.reason} ({case.remedy})" if case.remedy else case.reason or None,
        "arm": case.session.arm,
        **asdict(case.mode),
        "timer": "host",
        "device": session.device,
        "clocks": None if session.device == CPU else common.get("clocks"),
        "schema_version": SCHEMA_VERSION,
    }


def _shape(case: Case) -> dict[str, Any]:
    """Return the size of every axis, `[low, high]` for one that varies."""
    varying = {case.sequence.axis: [min(case.sequence.sizes), max(case.sequence.sizes)]} if case.sequence else {}
    return {**case.sizes, **varying}


def case_row(record: Record, common: Mapping[str, Any], run_folder: Path) -> dict[str, Any]:
    """Return the row of a case that was tried."""
    row = planned_row(record.case, common) | _host_columns(record, run_folder)
    last = record.last
    instance = last.instance
    if instance is not None:
        row |= {
            "threads": instance.facts.get("threads_effective") or common["threads"],
            "provider_effective": effective_provider(instance.facts),
            "precision_effective": instance.facts.get("precision_effective"),
            "backend_version": instance.facts.get("backend_version") or last.host.backend_version,
            "facts": json.dumps(dict(instance.facts), sort_keys=True),
            "artifact_steps": "+".join(instance.made.steps) or None,
            "step_options": _step_options(instance.made),
            "artifact_s": record.all[0].instance.made.seconds if record.all[0].instance else None,
            "build_s": instance.build_s,
            "load_s": instance.load_s,
            "sync": _sync(last),
            "cache": _cache(last),
            "input_sets": last.slots.sets,
            "input_bytes": last.input_bytes,
            "last_level_cache_bytes": last.cache_bytes,
            **last.graph,
        }
    row |= _accuracy_columns(record)
    failure = record.failure
    if failure is not None:
        return row | asdict(failure) | {"log": _relative(failure.log, run_folder)}
    return row | statistics(record)


def _step_options(made: Made) -> str | None:
    """Return the options of the steps of an artifact, by their names."""
    options = dict(zip(made.steps, made.options, strict=True))
    return json.dumps(options, sort_keys=True) if options else None


def _sync(member: Member) -> str:
    """Return how it was waited for: launches that returned complete outputs, as of some versions, waited themselves."""
    return "blocking" if member.blocks and not member.is_asynchronous else member.case.mode.sync


def _cache(member: Member) -> str:
    """Return what was done about caches: going round one set of inputs repeats it."""
    policy = member.case.mode.cache
    return "warm" if policy == "rotate" and member.slots.sets == len(member.sizes) == 1 else policy


def _host_columns(record: Record, run_folder: Path) -> dict[str, Any]:
    """Return what is known of the last process, and of the first call in the first one."""
    member, host = record.last, record.last.host
    peaks = [member.peak_rss_bytes for member in record.all if member.peak_rss_bytes]
    return {
        "status": "OK",
        "backend_version": host.backend_version,
        "python": host.python,
        "interleave": member.interleave,
        "invocation": host.invocation,
        "log": _relative(host.log, run_folder),
        "harness_overhead_ns": host.overhead.get("harness_overhead_ns"),
        "bare_loop_ns": host.overhead.get("bare_loop_ns"),
        "bind_s": member.bind_s or None,
        "first_call_ns": record.all[0].first_call_ns,
        "warmup_s": record.all[0].warmup_s,
        "peak_rss_bytes": max(peaks, default=None),
        **_device_columns(record),
    }


def _device_columns(record: Record) -> dict[str, Any]:
    """Return what is known of the device of a case; nothing on the CPU."""
    device, memory = record.last.host.device, [member.device_memory for member in record.all if member.device_memory]
    columns: dict[str, Any] = {"device_name": device["name"], "device_uuid": device["uuid"]} if device else {}
    columns["device_leak_bytes"] = record.last.left_bytes
    if record.last.instance is not None:
        columns["device_load_bytes"] = record.last.instance.device_bytes
    if memory:
        columns["device_memory_bytes"] = max(each["peak_bytes"] for each in memory)
        columns["device_used_bytes"] = max(each["device_peak_bytes"] for each in memory)
    return columns


def interrupted_row(row: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Return a row as that of a case whose cohort was not finished; what failed before keeps its status."""
    if row["status"] not in (None, "OK", "INTERRUPTED"):
        return dict(row)
    kept = {key: value for key, value in row.items() if not key.startswith(_STATISTICS)}
    return kept | {"status": "INTERRUPTED", "status_reason": reason, "verdict": None, "verdict_reason": None}


def expel_misfits(tables: dict[str, Any]) -> None:
    """Make a case INVALID whose rows the tables cannot hold: it shall not take its cohort, and the run, with it."""
    reasons: dict[str, str] = {}
    for name, rows in tables.items():
        if name != "iterations":  # columns, of stamps that were checked when they came
            for place, reason in row_faults(name, rows).items():
                reasons.setdefault(rows[place]["case_id"], reason)
    for name, rows in tables.items() if reasons else ():
        if name == "cases":
            tables[name] = [_misfit(row, reasons.get(row["case_id"])) for row in rows]
        elif name != "iterations":
            tables[name] = [row for row in rows if row["case_id"] not in reasons]


def _misfit(row: dict[str, Any], reason: str | None) -> dict[str, Any]:
    if reason is None:
        return row
    kept = {
        key: row[key] for key in _LABELS if key in row and not row_faults("cases", [{"case_id": "", key: row[key]}])
    }
    return kept | {"status": "INVALID", "status_reason": f"what it gave does not fit the results: {reason}"}


def _relative(log: Path | None, run_folder: Path) -> str | None:
    return None if log is None else str(log.relative_to(run_folder))


def _accuracy_columns(record: Record) -> dict[str, Any]:
    rows, session = record.accuracy, record.case.session
    if not rows:
        return {}
    return {
        "tolerance": _tolerance(session.tolerance or TOLERANCES[session.precision]),
        "accuracy": worst([row["verdict"] for row in rows]),
        "reference": rows[0]["reference"],
        "rel_l2": float(np.max([row["rel_l2"] for row in rows])),  # np.max lets a NaN through
        "max_abs_err": float(np.max([row["max_abs_err"] for row in rows])),
        "cosine": float(np.min([row["cosine"] for row in rows])),
    }


def _tolerance(tolerance: Tolerance) -> str:
    """Return a tolerance as JSON; outputs only where some have their own."""
    values = asdict(tolerance)
    outputs = {name: _without(table, "outputs") for name, table in values.pop("outputs").items()}
    return json.dumps(values | ({"outputs": outputs} if outputs else {}), sort_keys=True)


def _without(table: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != name}
