"""Rank statistics: null distributions of Wilcoxon's two tests, and ranked averages and differences.

Written anew because `scipy.stats` takes long to import and gives no intervals.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_EXACT_PAIRS = 50
_EXACT_COUNTS = 2.0**53
_MOST_ROWS = 1000
"""Up to here all averages are formed (half a million); beyond, they are counted."""


@dataclass(frozen=True)
class Null:
    """Distribution of a rank statistic if there is no effect: exact, or normal with a correction for continuity."""

    mean: float
    deviation: float
    cumulative: Floats | None

    def at_most(self, count: float) -> float:
        """Return the probability of a statistic of at most `count`."""
        from scipy.special import ndtr

        if self.cumulative is not None:
            return float(self.cumulative[int(count)])
        return float(ndtr((count + 0.5 - self.mean) / self.deviation))

    def skipped(self, tail: float) -> int:
        """Return the largest value that is at most reached with a probability of `tail`; -1 if there is none."""
        from scipy.special import ndtri

        if self.cumulative is not None:
            return int(np.searchsorted(self.cumulative, tail * (1.0 + 1e-12), "right")) - 1
        return max(-1, math.floor(self.mean - 0.5 + self.deviation * float(ndtri(tail))))


@functools.lru_cache(maxsize=256)
def signed_rank(n: int) -> Null:
    """Return the distribution of the signed-rank statistic of n pairs."""
    cumulative = None
    if n <= _EXACT_PAIRS:
        counts = np.ones(1)
        for rank in range(1, n + 1):
            counts = np.concatenate([counts, np.zeros(rank)]) + np.concatenate([np.zeros(rank), counts])
        cumulative = np.cumsum(counts) / 2.0**n
    return Null(n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24), cumulative)


@functools.lru_cache(maxsize=256)
def mann_whitney(a: int, b: int) -> Null:
    """Return the distribution of the Mann-Whitney statistic of samples of sizes a and b."""
    cumulative = None
    if math.comb(a + b, a) < _EXACT_COUNTS:
        counts = np.zeros(a * b + 1)  # of the Gaussian binomial coefficient, prod (1 - q^(a+i)) / (1 - q^i)
        counts[0] = 1.0
        for i in range(1, b + 1):
            if a + i <= a * b:
                counts[a + i :] -= counts[: -(a + i)].copy()
            for residue in range(min(i, len(counts))):
                counts[residue::i] = np.cumsum(counts[residue::i])
        cumulative = np.cumsum(counts) / math.comb(a + b, a)
    return Null(a * b / 2, math.sqrt(a * b * (a + b + 1) / 12), cumulative)


def walsh_count(ordered: Floats, bound: float) -> int:
    """Return how many averages of two of the ascending samples, each with itself included, are at most `bound`."""
    upto = np.searchsorted(ordered, 2.0 * bound - ordered, "right") - np.arange(len(ordered))
    return int(np.maximum(upto, 0).sum())


def walsh_ranked(ordered: Floats, ranks: list[int]) -> list[float]:
    """Return the averages of two of the ascending samples that have these ranks, counted from 1.

    For many samples they are found by bisection on their number up to a bound, in memory of order n.
    """
    n = len(ordered)
    if n > _MOST_ROWS:
        return [_bisect(ordered, rank) for rank in ranks]
    averages = ((ordered[:, None] + ordered[None, :]) / 2.0)[_upper(n)]
    return _ranked(averages, ranks)


def differences_ranked(a: Floats, b: Floats, ranks: list[int]) -> list[float]:
    """Return the differences b - a that have these ranks, counted from 1."""
    return _ranked((b[:, None] - a[None, :]).ravel(), ranks)


def middle(count: int) -> list[int]:
    """Return the two ranks, maybe the same, whose mean is the median."""
    return [(count + 1) // 2, count // 2 + 1]


@functools.lru_cache(maxsize=8)
def _upper(n: int) -> NDArray[np.bool_]:
    return np.tri(n, dtype=bool).T


def _ranked(values: Floats, ranks: list[int]) -> list[float]:
    places = [rank - 1 for rank in ranks]
    return [float(value) for value in np.partition(values, places)[places]]


def _bisect(ordered: Floats, rank: int) -> float:
    low, high = float(ordered[0]), float(ordered[-1])
    if walsh_count(ordered, low) >= rank:
        return low
    while True:
        centre = (low + high) / 2.0
        if not low < centre < high:
            return high
        if walsh_count(ordered, centre) >= rank:
            high = centre
        else:
            low = centre
