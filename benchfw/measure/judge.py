"""What follows from measured cases: speed-ups and warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchfw.measure.member import Member

_NIVCSW_PER_BLOCK = 10
_OVERHEAD_SHARE = 0.01


def add_speedup(cases: Sequence[dict[str, Any]], reference: str | None) -> None:
    """Fill in `speedup`: throughput over the reference's; over that of the same profile if it ran under several."""
    base = {row["profile"]: row.get("throughput_samples_s") for row in cases if _is_base(row, reference)}
    base = {profile: value for profile, value in base.items() if value}
    for row in cases:
        yardstick = base.get(row["profile"]) or next(iter(base.values()), None)
        if row["status"] == "OK" and yardstick:
            row["speedup"] = row["throughput_samples_s"] / yardstick


def _is_base(row: Mapping[str, Any], reference: str | None) -> bool:
    return bool(row["name"] == reference and row["precision"] == "fp32" and row["status"] == "OK")


def add_warnings(member: Member) -> None:
    """Add the warnings that follow from a case's own counters."""
    blocks, samples = member.measured, member.samples
    if not member.stopping.converged:
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
