"""Whether latencies have two modes in a way that matters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchfw.stats.quantiles import autocorrelation_time

MIN_SHARE = 0.05
MIN_DISTANCE = 0.02
MAX_VALLEY = 0.5
"""Density in the valley over that of the lower mode."""

_MIN_SAMPLES = 100
_LEAST_EFFECTIVE = 20.0
_TRIM = 0.005
_BINS = 2048
_CLEAR = 4.0
_ROUGHNESS = 1.0 / (2.0 * math.sqrt(math.pi))


@dataclass(frozen=True, kw_only=True)
class Modes:
    """Two modes, the lower first.

    Attributes:
        positions: Of the peaks, in the unit of the samples.
        shares: Of the samples on either side of the valley; they sum to 1.
        valley: Density between the modes over that of the lower peak.
    """

    positions: tuple[float, float]
    shares: tuple[float, float]
    valley: float


def modes(samples: NDArray[np.float64] | NDArray[np.int64]) -> Modes | None:
    """Return the two modes of latencies, or None if they have one.

    The logarithms are smoothed with a Gaussian kernel (Silverman, Density Estimation, 1986, 3.31, with the effective
    sample size, and no narrower than the step of the clock). There are two modes if some valley has 5 % of the
    samples or more on both sides, peaks at least 2 % apart, a density of at most half of the lower peak, and is
    deeper than the noise of the estimate explains. There is no p-value: tests of unimodality take samples for
    independent.

    Args:
        samples: Positive, in time order.
    """
    n = len(samples)
    if n < _MIN_SAMPLES:
        return None
    logs = np.log(np.maximum(np.asarray(samples, np.float64), 1e-300))
    ordered = np.sort(logs)
    body = ordered[math.floor(_TRIM * n) : n - math.floor(_TRIM * n)]
    span = float(body[-1] - body[0])
    width = _bandwidth(logs, body)
    if span < MIN_DISTANCE or width <= 0.0:
        return None
    grid, density = _smooth(body, width)
    left, right = np.maximum.accumulate(density), np.maximum.accumulate(density[::-1])[::-1]
    depth = density / np.minimum(left, right)
    below = np.searchsorted(ordered, grid) / n
    depth[(below < MIN_SHARE) | (below > 1.0 - MIN_SHARE)] = 1.0
    valley = int(depth.argmin())
    peaks = int(density[:valley].argmax()) if valley else 0, valley + int(density[valley:].argmax())
    if depth[valley] > MAX_VALLEY or grid[peaks[1]] - grid[peaks[0]] < math.log1p(MIN_DISTANCE):
        return None
    if not _clear(logs, float(grid[valley]), (float(density[valley]), float(density[list(peaks)].min())), width):
        return None
    share = float(below[valley])
    return Modes(
        positions=(math.exp(grid[peaks[0]]), math.exp(grid[peaks[1]])),
        shares=(share, 1.0 - share),
        valley=float(depth[valley]),
    )


def _bandwidth(logs: NDArray[np.float64], body: NDArray[np.float64]) -> float:
    n = len(body)
    effective = max(_LEAST_EFFECTIVE, n / autocorrelation_time(logs <= body[n // 2]))
    deviation = float(body.std())
    spread = min(deviation, float(body[3 * n // 4] - body[n // 4]) / 1.34) or deviation
    steps = np.diff(body)
    steps = steps[steps > 0.0]
    step = float(np.median(steps)) if len(steps) else 0.0
    return max(0.9 * spread * math.pow(effective, -0.2), step)


def _smooth(body: NDArray[np.float64], width: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centres and density of a smoothed histogram."""
    low, high = float(body[0]) - 3.0 * width, float(body[-1]) + 3.0 * width
    counts, edges = np.histogram(body, _BINS, (low, high))
    bin_width = (high - low) / _BINS
    frequency = np.fft.rfftfreq(2 * _BINS)
    kernel = np.exp(-2.0 * (math.pi * frequency * width / bin_width) ** 2)
    density = np.fft.irfft(np.fft.rfft(counts, 2 * _BINS) * kernel)[:_BINS] / (len(body) * bin_width)
    return (edges[:-1] + edges[1:]) / 2.0, np.maximum(density, 1e-12 * density.max())


def _clear(logs: NDArray[np.float64], valley: float, densities: tuple[float, float], width: float) -> bool:
    """Tell whether the valley is deeper than noise; samples within a mode may depend on each other too."""
    tau = max(autocorrelation_time(side <= np.median(side)) for side in (logs[logs <= valley], logs[logs > valley]))
    low, peak = densities
    noise = math.sqrt((low + peak) * _ROUGHNESS * tau / (len(logs) * width))
    return peak - low >= _CLEAR * noise
