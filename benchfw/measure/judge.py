"""What follows from measured cases: speed-ups and warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchfw.measure.member import MIN_SHARE, Member
from benchfw.stats import Effect, Steady

_NIVCSW_PER_BLOCK = 10
_OVERHEAD_SHARE = 0.01
_SHOWN_LEVELS = 4


def add_speedup(cases: Sequence[dict[str, Any]], reference: str | None) -> None:
    """Fill in `speedup`: throughput over the reference's; over that of the same profile if it ran under several."""
    base = {row["profile"]: row.get("throughput_samples_s") for row in cases if _is_base(row, reference)}
    base = {profile: value for profile, value in base.items() if value}
    for row in cases:
        yardstick = base.get(row["profile"]) or next(iter(base.values()), None)
        if row["status"] == "OK" and yardstick and row.get("throughput_samples_s"):
            row["speedup"] = row["throughput_samples_s"] / yardstick


def _is_base(row: Mapping[str, Any], reference: str | None) -> bool:
    if row["arm"] is not None:
        return bool(row["arm"] == "a" and row["status"] == "OK")
    return bool(row["name"] == reference and row["precision"] == "fp32" and row["status"] == "OK")


def add_warnings(member: Member) -> None:
    """Add the warnings that follow from a case's own counters."""
    add_steady_state(member)
    blocks, samples = member.measured, member.samples
    if not member.stopping.converged and member.steady_kind != "no_steady":
        widest, target = member.stopping.widest, member.stopping.targets[0].width
        member.warn("W01", widest, target, f"not converged: {member.stopping.why_not()}; allow more time or `--effort`")
    throttled = sum(block.counters["nr_throttled"] for block in blocks)
    if throttled:
        member.warn(
            "W10", throttled, 0, f"the CPU quota stopped the worker in {throttled} periods; raise it or lower `threads`"
        )
    switches = sum(block.counters["nivcsw"] for block in blocks) / max(1, len(blocks))
    if switches > _NIVCSW_PER_BLOCK:
        text = (
            f"{switches:.0f} involuntary context switches per block: "
            "something else wants the CPUs, or `threads` is too high"
        )
        member.warn("W10", switches, _NIVCSW_PER_BLOCK, text)
    overhead = member.session.overhead.get("harness_overhead_ns", 0.0)
    share = overhead / max(1.0, float(samples.mean())) if len(samples) else 0.0
    if share > _OVERHEAD_SHARE:
        member.warn("W15", share, _OVERHEAD_SHARE, f"benchfw's own {overhead:.0f} ns are {share:.1%} of the latency")


def add_instrumentation(member: Member, effect: Effect) -> None:
    """Say so if stamping costs more than 1 %, with certainty."""
    if effect.low - 1.0 > _OVERHEAD_SHARE:
        text = f"stamping each inference makes it {effect.value - 1.0:.1%} longer; the throughput is free of it"
        member.warn("W14", effect.value - 1.0, _OVERHEAD_SHARE, text)


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
