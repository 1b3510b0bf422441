"""What follows from measured cases: speed-ups and warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchfw.measure import spans
from benchfw.measure.gates import Finding, device, latency, memory
from benchfw.measure.member import Member
from benchfw.measure.samples import MIN_SHARE
from benchfw.stats import Steady, modes

_SHOWN_LEVELS = 4


def add_speedup(cases: Sequence[dict[str, Any]], reference: str | None) -> None:
    """Fill in `speedup`: throughput over the reference's; over that of the same profile if it ran under several."""
    base: dict[tuple[str, ...], float] = {}
    for row in cases:
        if _is_base(row, reference) and row.get("throughput_samples_s"):
            base.setdefault(_kind(row), row["throughput_samples_s"])
    for row in cases:
        yardstick = base.get(_kind(row)) or (next(iter(base.values()), None) if _any_will_do(row, base) else None)
        if row["status"] == "OK" and yardstick and row.get("throughput_samples_s"):
            row["speedup"] = row["throughput_samples_s"] / yardstick


def _kind(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a case and the one that it is compared with have in common: of an arm also the backend."""
    profile = str(row["profile"])
    if row["arm"] is None:
        return profile, str(row.get("io_scope"))
    return profile, *(str(row.get(label)) for label in ("name", "precision", "io_scope", "graph"))


def _any_will_do(row: Mapping[str, Any], base: Mapping[tuple[str, ...], Any]) -> bool:
    return row["arm"] is None or len(base) == 1


def _is_base(row: Mapping[str, Any], reference: str | None) -> bool:
    if row["arm"] is not None:
        return bool(row["arm"] == "a" and row["status"] == "OK")
    return bool(row["name"] == reference and row["precision"] == "fp32" and row["status"] == "OK")


def add_warnings(member: Member) -> None:
    """Add what there is to say of a measured case: its precision, its latencies, the machine meanwhile."""
    add_steady_state(member)
    loose = not member.stopping.converged and member.case.session.arm is None
    if loose and member.steady_kind != "no_steady":
        widest, target = member.stopping.furthest
        member.warn("W01", widest, target, f"not converged: {member.stopping.why_not()}; allow more time or `--effort`")
    facts = member.instance.facts if member.instance else {}
    threads = facts.get("threads_effective") or member.case.session.threads or member.settings.threads
    timed = [block for block in member.blocks if block.phase in ("measure", "window")]
    for finding in member.observer.findings(timed, threads):
        member.warn(*finding)
    for found in _latency_findings(member):
        if found is not None:
            member.warn(*found)
    member.canary_shift = member.session.canaries.shift
    shift = member.session.canaries.finding()
    if shift is not None:
        member.warn(*shift)


def add_left(members: Sequence[Member]) -> None:
    """Note what closed instances of a worker have left on its device; say so of those that were loaded after a closing.

    Args:
        members: Cases of one worker, of which some have been closed.
    """
    for member in members:
        if member.instance is not None:
            member.left_bytes = member.session.left_bytes.get(member.instance.key)
    later = [
        (member, member.left_bytes)
        for member in members
        if member.instance is not None and member.instance.follows_closed and member.left_bytes is not None
    ]
    for member, left_bytes in later:
        finding = memory.left(left_bytes, sum(each for _, each in later))
        if finding is not None:
            member.warn(*finding)


def _latency_findings(member: Member) -> Iterator[Finding | None]:
    """Yield what is to be said of latencies; those of a mixture of sizes spread by what it is."""
    summary = member.summary
    if summary is None:
        return
    if member.is_asynchronous:
        yield from _device_findings(member)
    yield latency.overhead(member.session.overhead.get("harness_overhead_ns", 0.0), summary.mean)
    if member.case.sequence is None:
        yield latency.spread(summary.robust_cv)
        yield latency.outliers(summary.outlier_share)
        yield latency.bimodal(modes(member.samples if member.steady_kind != "no_steady" else member.all_samples))
        yield latency.dependent(summary.tau)


def _device_findings(member: Member) -> Iterator[Finding | None]:
    """Yield what the times of the device have to say."""
    times = spans.columns(member)
    compute, span = times.get("compute_p50_ns"), times.get("device_p50_ns")
    yield device.launch_bound(times.get("enqueue_p50_ns"), span)
    yield device.transfer_bound(times.get("h2d_p50_ns", 0.0) + times.get("d2h_p50_ns", 0.0), compute)
    yield device.short(span)
    effect = device.instrumentation_effect(member.blocks)
    member.instrumentation_cost = effect.value - 1.0 if effect else None
    yield device.instrumentation(effect, latency.INSTRUMENTATION)


def add_steady_state(member: Member) -> None:
    """Say how a case came to its steady state, where that was not from the beginning."""
    steady, kind = member.steady, member.steady_kind
    if steady is None or kind in (None, "flat"):
        return
    share = (len(member.measured) - steady.start) / len(member.measured)
    if kind == "no_steady":
        text = f"{steady_text(steady)}: a number would depend on when it was taken; see what else the machine does"
        member.warn("V07", share, MIN_SHARE, f"no steady state, {text}")
    else:
        member.warn("G3", share, 1.0, f"{kind}: {steady_text(steady)}; statistics are those of the last level")


def steady_text(steady: Steady) -> str:
    """Describe the levels of a case: where they begin and how far they are from the last."""
    last = steady.segments[-1]
    shown = steady.segments[-_SHOWN_LEVELS:]
    levels = [f"from block {item.start} {item.level / last.level - 1.0:+.1%}" for item in shown[:-1]]
    more = f"{len(steady.segments)} levels, " if len(shown) < len(steady.segments) else ""
    return f"{more}{', '.join(levels)} of the last level, which begins at block {last.start} of {last.stop}"
