"""Warm-up of one case, in gates; all of it is stored as such.

G1, structure: per slot, until five calls in a row have not compiled, captured or rebuilt anything.
G2, machine: blocks of the case and a look at the canary, until five looks agree within 2 %. On a device the look is at
the median latency of these blocks: its clocks are not those of the CPU, and it is they that rise and fall. Where NVML
tells the SM clock, that has to be steady too.
"""

from __future__ import annotations

import time

import numpy as np

from benchfw.errors import Invalid
from benchfw.measure.blocks import Block
from benchfw.measure.member import Member
from benchfw.measure.settling import LOOKS as LOOKS
from benchfw.measure.settling import SPREAD as SPREAD
from benchfw.measure.settling import Settling
from benchfw.worker.clocks import now

QUIET_CALLS = 5
MAX_G1_BLOCKS = 20
_LOOK_NS = 100_000_000


def first_calls(member: Member) -> None:
    """Launch every slot once; a backend may compile here, so the deadline is that of a build.

    What is to be captured into graphs is captured here, once nothing compiles any more: what is launched, and checked,
    from then on are the graphs.

    Raises:
        Unsupported: A launch cannot be captured.
    """
    slots = member.slots
    for place in range(len(slots.sizes)):
        block = member.call("first", slots.of(place), 1, timeout=member.settings.build_s)
        member.order.expect(place, float(block.latencies[0]))
        for set_ in range(1, slots.sets):  # the same shape: nothing is left to compile
            member.call("warmup", slots.of(place, set_), 1, timeout=member.settings.build_s)
    if member.case.mode.graph == "on":
        for place in range(len(slots.sizes)):
            _structural(member, place)
        member.capture()


def warm_up(member: Member, share_s: float | None) -> None:
    """Pass both gates.

    Args:
        member: The case.
        share_s: Seconds that the case may take of the budget; waiting for a steady machine uses a quarter at most.

    Raises:
        Invalid: A shape never stops compiling.
    """
    for place in range(len(member.sizes)):
        _structural(member, place)
    limit = member.settings.rule.settle_time
    _settle(member, limit if share_s is None else min(limit, share_s / 4))


def quiet_again(member: Member) -> None:
    """Go round all sets of inputs until nothing changes any more: after other cases of the worker have warmed up.

    Cases of one process share the allocator of their framework. What they have bound since then may have taken device
    memory that this one had, and would have to ask the device for within a measured block.

    Raises:
        Invalid: It goes on changing.
    """
    for _ in range(MAX_G1_BLOCKS):
        if not any(member.measure(-1, -1, "warmup").changes.values()):
            member.order.rewind()
            return
    raise Invalid(f"still changing after {MAX_G1_BLOCKS} blocks", hint="the log of its worker may say why")


def _structural(member: Member, place: int) -> None:
    for _ in range(MAX_G1_BLOCKS):
        block = member.call("warmup", member.slots.of(place), QUIET_CALLS)
        member.order.expect(place, _pace(member, block))
        if not any(block.changes.values()):
            return
    raise Invalid(
        f"still compiling after {MAX_G1_BLOCKS * QUIET_CALLS} calls of one shape",
        hint="the log of its worker may say why",
    )


def _settle(member: Member, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    settling = Settling("its latency" if member.is_asynchronous else "the canary", SPREAD)
    while True:
        begin, spent = now(), 0
        while spent < _LOOK_NS:
            block = member.measure(-1, -1, "warmup")
            spent += int(block.ends[-1] - block.starts[0])
        settling.note(_look(member, block), member.observer.clock(member, begin))
        if settling.settled:
            break
        if time.monotonic() >= deadline:
            _warn_unsettled(member, settling, limit_s)
            break
    member.sm_mhz = settling.level_mhz
    member.order.rewind()
    if member.case.sequence is None:
        member.order.expect(0, _pace(member, block))


def _pace(member: Member, block: Block) -> float:
    """Return how long an inference takes, in ns; of a flushed cache with the flush before it, for blocks to fit in."""
    times = block.latencies if member.has_throughput else np.diff(block.starts)
    return float(np.median(times))


def _look(member: Member, block: Block) -> int:
    """Return what shows whether the machine has settled, after a block of the case."""
    if member.is_asynchronous:
        return max(1, int(np.median(block.latencies)))
    block.canary_ns = int(member.session.ask("canary", member.settings.load_s).values["canary_ns"])
    return block.canary_ns


def _warn_unsettled(member: Member, settling: Settling, limit_s: float) -> None:
    """Say why the machine was not seen to settle: something varied, or there was no time for enough looks."""
    found = list(settling.unsettled())
    if found:
        what = "; ".join(item.what for item in found)
        text = f"the machine did not settle within {limit_s:.1f} s: {what}; close what else runs on it"
        member.warn("G2", found[0].value, found[0].threshold, text)
    elif settling.telling < LOOKS:
        what = f"{settling.telling} of {LOOKS} looks within {limit_s:.1f} s do not show whether the machine has settled"
        member.warn("G2", settling.telling, LOOKS, f"{what}; allow more time")
