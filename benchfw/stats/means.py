"""Means of dependent samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from benchfw.stats.quantiles import CONFIDENCE, Interval

MAX_CORRELATION = 0.1
_FEWEST = 4


def mean_interval(samples: NDArray[np.float64], confidence: float = CONFIDENCE) -> Interval:
    """Return the mean and its interval: Student's t on batch means.

    Neighbours are averaged in pairs until the lag-1 correlation of the averages is below 0.1, so that they can be
    taken for independent (Law and Kelton, Simulation Modeling and Analysis, batch means). The ends are infinite if
    fewer than four averages are left.

    Args:
        samples: In time order, at least one.
        confidence: Of the interval.
    """
    from scipy.special import stdtrit

    means = np.asarray(samples, np.float64)
    value = float(means.mean())
    while len(means) >= _FEWEST and _lag1(means) >= MAX_CORRELATION:
        even = means[: len(means) // 2 * 2]
        means = even.reshape(-1, 2).mean(axis=1)
    count = len(means)
    if count < _FEWEST:
        return Interval(value=value, low=-math.inf, high=math.inf, effective_n=float(count))
    half = float(stdtrit(count - 1, (1.0 + confidence) / 2.0) * means.std(ddof=1) / math.sqrt(count))
    return Interval(value=value, low=value - half, high=value + half, effective_n=float(count))


def _lag1(values: NDArray[np.float64]) -> float:
    centred = values - values.mean()
    power = float(centred @ centred)
    return float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0
