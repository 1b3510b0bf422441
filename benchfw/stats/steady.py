"""Whether a case reached a steady state, seen from the medians of its blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Kind = Literal["flat", "warmup", "slowdown", "no_steady"]

MIN_BLOCKS = 20
MIN_SHARE = 0.5
SAME_LEVEL = 0.01
"""Segments whose logarithms differ by no more than this are one level."""

_MIN_SEGMENT = 4
_PENALTY = 8.0
_MOST = 3000
"""Points that are searched; more blocks are averaged in groups, as the search takes time with their square."""
_LEAST_NOISE = 1e-4
"""Lower bound of the noise, so that equal medians do not make a change of each other value."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Blocks `start` to `stop` (exclusive) of one level: the median of their medians, in their unit."""

    start: int
    stop: int
    level: float


@dataclass(frozen=True, kw_only=True)
class Steady:
    """How a case came to its steady state.

    Attributes:
        kind: `flat` if all blocks are of one level; `warmup` if earlier ones were slower, `slowdown` if some were
            faster; `no_steady` if the last level holds less than half of the blocks, or too few.
        start: Index of the first block of the last level.
        segments: In order, without gaps; the last one begins at `start`.
    """

    kind: Kind
    start: int
    segments: tuple[Segment, ...]


def steady_state(block_medians: Floats, *, min_blocks: int = MIN_BLOCKS) -> Steady | None:
    """Classify a case by the medians of its blocks; None if there are too few for that.

    The logarithms of the medians are cut by optimal partitioning (Jackson et al., IEEE Signal Processing Letters 12,
    2005): the sum of squared deviations from the means of segments of at least four blocks, and 8 s² ln B for each
    segment. The noise s is 1.4826 MAD / sqrt(2) of the differences of neighbours, which a change of level does not
    enlarge. Segments at the end that lie within 1 % of the last, or within one nanosecond, are taken together. The
    kinds are those of Barrett et al. (Virtual Machine Warmup Blows Hot and Cold, OOPSLA'17).

    Args:
        block_medians: In nanoseconds, positive, in time order, shape (blocks,).
        min_blocks: Blocks that the whole series, and its steady part, must have.
    """
    medians = np.asarray(block_medians, np.float64)
    count = len(medians)
    if count < max(min_blocks, 2 * _MIN_SEGMENT):
        return None
    group = math.ceil(count / _MOST)
    logs = np.log(medians)
    points = logs if group == 1 else logs[: count // group * group].reshape(-1, group).mean(axis=1)
    resolution = math.log1p(1.0 / float(np.median(medians)))
    same = max(SAME_LEVEL, 1.01 * resolution)
    bounds = [cut * group for cut in _partition(points, resolution)] + [count]
    levels = [float(np.median(logs[begin:end])) for begin, end in pairwise(bounds)]
    first = len(levels) - 1
    while first > 0 and abs(levels[first - 1] - levels[-1]) <= same:
        first -= 1
    start = bounds[first]
    bounds = [*bounds[: first + 1], count]
    segments = tuple(
        Segment(start=begin, stop=end, level=float(np.median(medians[begin:end]))) for begin, end in pairwise(bounds)
    )
    kind: Kind = "flat"
    if count - start < max(MIN_SHARE * count, min_blocks):
        kind = "no_steady"
    elif first > 0:
        kind = "slowdown" if min(levels[:first]) < levels[-1] - same else "warmup"
    return Steady(kind=kind, start=start, segments=segments)


def _partition(points: Floats, resolution: float) -> list[int]:
    """Return where the segments begin, the first at 0; `resolution` is the step of the points, which rounds them."""
    count = len(points)
    differences = np.diff(points)
    deviation = float(np.median(np.abs(differences - np.median(differences))))
    noise = max(1.4826 * deviation / math.sqrt(2.0), resolution / math.sqrt(12.0), _LEAST_NOISE)
    penalty = _PENALTY * noise**2 * math.log(count)
    centred = points - np.median(points)
    sums = np.concatenate([[0.0], np.cumsum(centred)])
    best = np.full(count + 1, np.inf)  # cost up to each index, less the sum of squares, which no cut changes
    best[0] = 0.0
    came_from = np.zeros(count + 1, np.intp)
    lengths = np.arange(count, 0, -1, dtype=np.float64)
    for stop in range(_MIN_SEGMENT, count + 1):
        begins = stop - _MIN_SEGMENT + 1
        gain = (sums[stop] - sums[:begins]) ** 2 / lengths[count - stop : count - stop + begins]
        cost = best[:begins] - gain
        begin = int(cost.argmin())
        came_from[stop], best[stop] = begin, cost[begin] + penalty
    cuts = []
    stop = count
    while stop > 0:
        stop = int(came_from[stop])
        cuts.append(stop)
    return cuts[::-1]
