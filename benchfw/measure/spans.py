"""Times that the clock of a device gave for a case, as columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchfw.measure.member import Member


def columns(*members: Member) -> dict[str, float]:
    """Return the medians over some processes of a case, of the steady part; what is unknown is left out."""
    enqueued = [times for member in members if (times := _enqueue_times(member)) is not None]
    spans = [found for member in members if (found := _device_spans(member)) is not None]
    known = {"enqueue_p50_ns": float(np.median(np.concatenate(enqueued)))} if enqueued else {}
    if spans:
        each = np.concatenate(spans)
        names = ("compute",) if each.shape[1] == 1 else ("h2d", "compute", "d2h")
        known |= {f"{name}_p50_ns": float(np.median(each[:, place])) for place, name in enumerate(names)}
        known["device_p50_ns"] = float(np.median(each.sum(axis=1)))
    return known


def _device_spans(member: Member) -> NDArray[np.float32] | None:
    """Return `Block.spans` of the instrumented blocks since the steady part began; None without any."""
    steady = member.steady_blocks
    first = steady[0].round if steady else 0
    instrumented = [block for block in member.blocks if block.phase == "events" and block.round >= first]
    found = [block.spans[block.rewarm :] for block in instrumented if block.spans is not None]
    return np.concatenate(found) if found else None


def _enqueue_times(member: Member) -> NDArray[np.int64] | None:
    """Return the time until all was enqueued in each iteration, in ns; None for launches that return when complete."""
    blocks = [block for block in member.steady_blocks if block.enqueued is not None]
    found = [(block.enqueued - block.starts)[block.rewarm :] for block in blocks if block.enqueued is not None]
    return np.concatenate(found) if found else None
