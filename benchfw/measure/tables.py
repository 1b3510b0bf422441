"""The result tables of one cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.measure import judge, rows
from benchfw.measure.blocks import Block
from benchfw.measure.member import Member
from benchfw.measure.record import Record
from benchfw.measure.statistics import invocation_rows
from benchfw.measure.subject import Subject
from benchfw.scenario import Cohort
from benchfw.stats import min_samples, quantile

Tables = dict[str, Any]
"""Rows, or columns, by the name of the table."""


def tables(
    cohort: Cohort,
    records: Mapping[str, Record],
    subjects: Mapping[str, Subject],
    *,
    reference: str | None,
    run_folder: Path,
    interrupted: str | None = None,
) -> Tables:
    """Return all tables of a cohort.

    Args:
        cohort: What was planned.
        records: What was tried, by `case_id`.
        subjects: What each session ran.
        reference: Name of the backend that others are compared with.
        run_folder: Logs are named relative to it.
        interrupted: Why the cohort is not finished; None if it is.
    """
    cases = []
    for case in cohort.cases:
        subject = subjects[case.session.session_id]
        if case.case_id in records:
            row = rows.case_row(records[case.case_id], subject.common, run_folder)
        else:
            row = rows.planned_row(case, subject.common)
        cases.append(row | {"case_hash": rows.case_hash(case, subject.context)})
    if interrupted is None:
        judge.add_speedup(cases, reference)
    else:
        cases = [rows.interrupted_row(row, interrupted) for row in cases]
    measured = list(records.values())
    made: Tables = {
        "cases": cases,
        "invocations": invocation_rows(measured),
        "blocks": [row for record in measured for row in block_rows(record)],
        "iterations": iteration_columns(measured),
        "shapes": [row for record in measured for row in shape_rows(record)],
        "accuracy": [row for record in measured for row in record.accuracy],
        "layers": [row for record in measured for member in record.all for row in member.layers],
        "warnings": [row for record in measured for row in record.warnings],
    }
    rows.expel_misfits(made)
    return made


def block_rows(record: Record) -> list[dict[str, Any]]:
    """Return the rows of `blocks`, numbered over all invocations."""
    rows: list[dict[str, Any]] = []
    for member in record.all:
        steady = {id(block) for block in (*member.steady_blocks, *member.windows)}
        rows += [_block_row(member, block, id(block) in steady) for block in member.blocks]
    return [row | {"block": number} for number, row in enumerate(rows)]


def _block_row(member: Member, block: Block, steady: bool) -> dict[str, Any]:
    return {
        "case_id": member.case.case_id,
        "cohort": member.case.cohort_id,
        "invocation": member.number,
        "round": block.round,
        "position": block.position,
        "phase": block.phase,
        "steady": int(steady),
        "depth": block.depth,
        "n": block.n,
        "rewarm": block.rewarm,
        "batch": _single_size(member, block),
        "start_ns": int(block.starts[0]),
        "duration_ns": block.duration_ns,
        "median_ns": float(np.median(block.latencies)) if block.is_stamped else None,
        "cpu_time_ns": block.counters["cpu_time_ns"],
        "nivcsw": block.counters["nivcsw"],
        "minflt": block.counters["minflt"],
        "majflt": block.counters["majflt"],
        "nr_throttled": block.counters["nr_throttled"],
        "rss_growth_bytes": block.counters["rss_bytes"],
        "objects_growth": block.counters["objects"],
        "host_busy_ns": block.host.busy_ns if block.host else None,
        "host_steal_ns": block.host.steal_ns if block.host else None,
        "host_own_ns": block.host.own_ns if block.host else None,
        "host_elapsed_ns": block.host.time_ns if block.host else None,
        "telemetry": block.telemetry,
        "changes": sum(block.changes.values()),
        "canary_ns": block.canary_ns,
    }


def iteration_columns(records: Sequence[Record]) -> dict[str, Any]:
    """Return the columns of `iterations` for a whole cohort; windows have none."""
    ids: list[str] = []
    phases: list[str] = []
    numbers, batches, starts, latencies, enqueued = [], [], [], [], []
    spans = []
    for record in records:
        blocks = [(member, block) for member in record.all for block in member.blocks]
        for number, (member, block) in enumerate(blocks):
            if not block.is_stamped:
                continue
            n = block.n
            ids += [member.case.case_id] * n
            rest = block.phase
            phases += ["rewarm" if rest == "measure" else rest] * block.rewarm + [rest] * (n - block.rewarm)
            numbers.append(np.full(n, number, np.int32))
            batches.append(_sizes(member, block))
            starts.append(block.starts)
            latencies.append(block.ends - block.starts)
            enqueued.append(_enqueue_times(block))
            spans.append(_spans(block))
    if not numbers:
        return {}
    return {
        "case_id": ids,
        "block": np.concatenate(numbers),
        "phase": phases,
        "batch": np.concatenate(batches),
        "start_ns": np.concatenate(starts),
        "host_latency_ns": np.concatenate(latencies),
        "enqueue_ns": np.concatenate(enqueued),
        **dict(zip(("h2d_ns", "compute_ns", "d2h_ns"), np.concatenate(spans).T)),
    }


def _enqueue_times(block: Block) -> NDArray[np.float64]:
    """Return the times until all was enqueued; NaN, which is stored as null, for launches that return when complete."""
    return np.full(block.n, np.nan) if block.enqueued is None else (block.enqueued - block.starts).astype(np.float64)


def _spans(block: Block) -> NDArray[np.float32]:
    """Return the times of copies in, launches and copies out on the device, float32 [n, 3]; NaN where unknown."""
    spans = np.full((block.n, 3), np.nan, np.float32)
    if block.spans is not None:
        spans[:, 1 if block.spans.shape[1] == 1 else slice(None)] = block.spans.squeeze()
    return spans


def shape_rows(record: Record) -> list[dict[str, Any]]:
    """Return the rows of `shapes` of a random-batch case: per size what was first, switched to, and steady."""
    sequence = record.case.sequence
    if sequence is None:
        return []
    blocks = [block for member in record.all for block in member.blocks]
    sizes, latencies, before = _sequence_samples(record)
    rows = []
    for size in sequence.sizes:
        chosen = latencies[sizes == size]
        steady = [b.latencies for b in blocks if b.phase == "steady" and b.sizes is not None and b.sizes[0] == size]
        first = [b for b in blocks if b.phase == "first" and b.sizes is not None and b.sizes[0] == size]
        rows.append(
            {
                "case_id": record.case.case_id,
                "cohort": record.case.cohort_id,
                "axis": sequence.axis,
                "size": size,
                "n": len(chosen),
                "p50_ns": _median(chosen),
                "p99_ns": quantile(chosen, 0.99) if len(chosen) >= min_samples(0.99) else None,
                "first_seen_ns": int(first[0].latencies[0]) if first else None,
                "after_switch_ns": _median(latencies[(sizes == size) & (before != size)]),
                "after_same_ns": _median(latencies[(sizes == size) & (before == size)]),
                "steady_ns": _median(np.concatenate(steady)) if steady else None,
            }
        )
    return rows


def _sequence_samples(record: Record) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
    """Return size, latency and size before of every iteration that counts."""
    sizes, latencies, before = [], [], []
    for block in (block for member in record.all for block in member.steady_blocks):
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
    return block.sizes if block.sizes is not None else np.full(block.n, member.batch_of(0), np.int32)


def _single_size(member: Member, block: Block) -> int | None:
    sizes = _sizes(member, block)
    return int(sizes[0]) if (sizes == sizes[0]).all() else None
