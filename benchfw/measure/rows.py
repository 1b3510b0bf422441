"""From a measured case to rows of the result tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.measure.accuracy import worst
from benchfw.measure.member import Block, Member
from benchfw.scenario import Case
from benchfw.stats import min_samples, quantile, summarize
from benchfw.store.schema import SCHEMA_VERSION
from benchfw.store.writer import row_faults

_LABELS = (
    *("case_id", "case_hash", "session_id", "cohort", "scenario", "model", "model_hash", "backend", "name", "provider"),
    *("precision", "environment", "python", "device", "sweep", "profile", "profile_point", "batch", "shape", "depth"),
    *("sequence_sha256", "interleave", "invocation", "log", "seed", "effort", "forced", "schema_version"),
)
_STATISTICS = ("latency_", "throughput_", "speedup", "effective_n")


def case_hash(case: Case, context: Mapping[str, Any]) -> str:
    """Return a hash over all that decides what a case measures, but not for how long.

    Args:
        case: The case.
        context: What all cases share: the model's hash, seed, threads, inputs, options of steps, environments.
    """
    session = case.session
    content = {
        "case_id": case.case_id,
        "backend": session.entry.use,
        "options": dict(session.options),
        "environment": session.environment,
        "profile": case.profile.slug,
        "sizes": dict(case.sizes),
        "sequence": case.sequence.sha256 if case.sequence else None,
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
        "io_scope": "host",
        "graph": "off",
        "sync": "blocking",
        "cache": "warm",
        "timer": "host",
        "device": "cpu",
        "schema_version": SCHEMA_VERSION,
    }


def _shape(case: Case) -> dict[str, Any]:
    """Return the size of every axis, `[low, high]` for one that varies."""
    varying = {case.sequence.axis: [min(case.sequence.sizes), max(case.sequence.sizes)]} if case.sequence else {}
    return {**case.sizes, **varying}


def case_row(member: Member, common: Mapping[str, Any], run_folder: Path) -> dict[str, Any]:
    """Return the row of a case that was tried."""
    row = planned_row(member.case, common)
    host, instance = member.host, member.instance
    first = next((block for block in member.blocks if block.phase == "first"), None)
    warmup = [block for block in member.blocks if block.phase in ("first", "warmup")]
    row |= {
        "status": "OK",
        "backend_version": host.backend_version,
        "python": host.python,
        "interleave": member.interleave,
        "invocation": host.invocation,
        "log": _relative(host.log, run_folder),
        "harness_overhead_ns": host.overhead.get("harness_overhead_ns"),
        "bare_loop_ns": host.overhead.get("bare_loop_ns"),
        "bind_s": member.bind_s or None,
        "first_call_ns": int(first.latencies[0]) if first else None,
        "warmup_s": sum(int(block.ends[-1] - block.starts[0]) for block in warmup) / 1e9 or None,
        "peak_rss_bytes": member.peak_rss_bytes,
    }
    if instance is not None:
        row |= {
            "threads": instance.facts.get("threads_effective") or common["threads"],
            "provider_effective": instance.facts.get("provider_effective"),
            "precision_effective": instance.facts.get("precision_effective"),
            "facts": json.dumps(dict(instance.facts), sort_keys=True),
            "artifact_steps": "+".join(instance.made.steps) or None,
            "artifact_s": instance.made.seconds,
            "build_s": instance.build_s,
            "load_s": instance.load_s,
        }
    row |= _accuracy_columns(member)
    if member.failure is not None:
        return row | asdict(member.failure) | {"log": _relative(member.failure.log, run_folder)}
    return row | _statistics(member)


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


def _accuracy_columns(member: Member) -> dict[str, Any]:
    rows = member.accuracy
    if not rows:
        return {}
    return {
        "accuracy": worst([row["verdict"] for row in rows]),
        "reference": rows[0]["reference"],
        "rel_l2": float(np.max([row["rel_l2"] for row in rows])),  # np.max lets a NaN through
        "max_abs_err": float(np.max([row["max_abs_err"] for row in rows])),
        "cosine": float(np.min([row["cosine"] for row in rows])),
    }


def _statistics(member: Member) -> dict[str, Any]:
    samples = member.samples
    summary = summarize(samples)
    blocks = member.measured
    if summary is None:
        return {"status": "INTERRUPTED", "status_reason": "no block was measured"}
    verdict, reason = _verdict(member)
    p50, p99 = summary.p50, summary.p99
    return {
        "verdict": verdict,
        "verdict_reason": reason,
        "n": summary.n,
        "effective_n": p50.effective_n,
        "blocks": len(blocks),
        "measured_s": member.measured_s,
        "latency_min_ns": summary.min,
        "latency_mean_ns": summary.mean,
        "latency_max_ns": summary.max,
        "latency_std_ns": summary.std,
        "latency_p50_ns": p50.value,
        "latency_p50_low_ns": p50.low if p50.finite else None,
        "latency_p50_high_ns": p50.high if p50.finite else None,
        "latency_p90_ns": summary.p90,
        "latency_p95_ns": summary.p95,
        "latency_p99_ns": p99.value if p99 else None,
        "latency_p99_low_ns": p99.low if p99 else None,
        "latency_p99_high_ns": p99.high if p99 else None,
        "throughput_samples_s": member.throughput,
        "throughput_low_samples_s": member.throughput_interval[0] if member.throughput_interval else None,
        "throughput_high_samples_s": member.throughput_interval[1] if member.throughput_interval else None,
        "nivcsw": sum(block.counters["nivcsw"] for block in blocks),
        "cpu_time_s": sum(block.counters["cpu_time_ns"] for block in blocks) / 1e9,
    }


def _verdict(member: Member) -> tuple[str, str | None]:
    """Return the verdict and its reason; the graver one where two apply."""
    if member.contended is not None:
        return "CONTENDED", member.contended
    return ("VALID", None) if member.stopping.converged else ("NOT_CONVERGED", member.stopping.why_not())


def block_rows(member: Member) -> list[dict[str, Any]]:
    """Return the rows of `blocks`."""
    labels = {"case_id": member.case.case_id, "cohort": member.case.cohort_id}
    return [
        {
            **labels,
            "block": number,
            "round": block.round,
            "position": block.position,
            "phase": block.phase,
            "n": len(block.starts),
            "rewarm": block.rewarm,
            "batch": _single_size(member, block),
            "start_ns": int(block.starts[0]),
            "duration_ns": block.duration_ns,
            "median_ns": float(np.median(block.latencies)),
            "cpu_time_ns": block.counters["cpu_time_ns"],
            "nivcsw": block.counters["nivcsw"],
            "minflt": block.counters["minflt"],
            "majflt": block.counters["majflt"],
            "nr_throttled": block.counters["nr_throttled"],
            "changes": sum(block.changes.values()),
            "canary_ns": block.canary_ns,
        }
        for number, block in enumerate(member.blocks)
    ]


def iteration_columns(members: Sequence[Member]) -> dict[str, Any]:
    """Return the columns of `iterations` for a whole cohort."""
    ids: list[str] = []
    phases: list[str] = []
    numbers, batches, starts, latencies = [], [], [], []
    for member in members:
        for number, block in enumerate(member.blocks):
            n = len(block.starts)
            ids += [member.case.case_id] * n
            rest = block.phase
            phases += ["rewarm" if rest == "measure" else rest] * block.rewarm + [rest] * (n - block.rewarm)
            numbers.append(np.full(n, number, np.int32))
            batches.append(_sizes(member, block))
            starts.append(block.starts)
            latencies.append(block.ends - block.starts)
    if not numbers:
        return {}
    return {
        "case_id": ids,
        "block": np.concatenate(numbers),
        "phase": phases,
        "batch": np.concatenate(batches),
        "start_ns": np.concatenate(starts),
        "host_latency_ns": np.concatenate(latencies),
    }


def shape_rows(member: Member) -> list[dict[str, Any]]:
    """Return the rows of `shapes` of a random-batch case: per size what was first, switched to, and steady."""
    sequence = member.case.sequence
    if sequence is None:
        return []
    sizes, latencies, before = _sequence_samples(member)
    rows = []
    for size in sequence.sizes:
        chosen = latencies[sizes == size]
        steady = [
            b.latencies for b in member.blocks if b.phase == "steady" and b.sizes is not None and b.sizes[0] == size
        ]
        first = [b for b in member.blocks if b.phase == "first" and b.sizes is not None and b.sizes[0] == size]
        rows.append(
            {
                "case_id": member.case.case_id,
                "cohort": member.case.cohort_id,
                "axis": sequence.axis,
                "size": size,
                "n": len(chosen),
                "p50_ns": _median(chosen),
                "p99_ns": quantile(chosen, 0.99) if len(chosen) >= min_samples(0.99) else None,
                "first_seen_ns": int(first[0].latencies[0]) if first else None,
                "after_switch_ns": _median(latencies[(sizes == size) & (before != size)]),
                "after_same_ns": _median(latencies[(sizes == size) & (before == size)]),
                "steady_ns": _median(steady[0]) if steady else None,
            }
        )
    return rows


def _sequence_samples(member: Member) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
    """Return size, latency and size before of every iteration that counts."""
    sizes, latencies, before = [], [], []
    for block in member.measured:
        assert block.sizes is not None
        sizes.append(block.sizes[block.rewarm :])
        latencies.append(block.latencies)
        before.append(block.sizes[block.rewarm - 1 : -1])
    if not sizes:
        return np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.int32)
    return np.concatenate(sizes), np.concatenate(latencies), np.concatenate(before)


def _median(samples: NDArray[np.int64]) -> float | None:
    return quantile(samples, 0.5) if len(samples) else None


def _sizes(member: Member, block: Block) -> NDArray[np.int32]:
    return block.sizes if block.sizes is not None else np.full(len(block.starts), member.batch_of(0), np.int32)


def _single_size(member: Member, block: Block) -> int | None:
    sizes = _sizes(member, block)
    return int(sizes[0]) if (sizes == sizes[0]).all() else None
