"""Quantiles of dependent samples, with intervals that keep their promise.

The interval takes order statistics whose ranks come from a binomial distribution, as for independent samples
(Hoefler and Belli, SC'15), but over the *effective* sample size m = n / tau: timings of neighbouring iterations are
correlated, and an interval that ignores it covers the true median in 38 % of cases instead of 95 % at a
correlation of 0.9.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
_NEIGHBOURS = 16
_FEWEST_MEANS = 100
_FAR = 10.0
"""Standard deviations of a binomial count beyond which no quantile of it is looked for."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A quantile and its two-sided confidence interval, in the unit of the samples.

    Attributes:
        value: The ceil(q n)-th order statistic.
        low: Lower end; `-inf` if the sample is too small to have one.
        high: Upper end; `inf` likewise.
        effective_n: Effective sample size m = n / tau.
    """

    value: float
    low: float
    high: float
    effective_n: float

    @property
    def finite(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def relative_half_width(self) -> float:
        """Half of the interval's width over the value; `inf` if it is open."""
        if not self.finite or self.value <= 0:
            return math.inf
        return (self.high - self.low) / (2 * self.value)


def quantile(samples: NDArray[np.float64] | NDArray[np.int64], q: float) -> float:
    """Return the ceil(q n)-th smallest sample (n at least 1, 0 < q <= 1), not interpolated."""
    rank = max(1, math.ceil(q * len(samples) - 1e-9))
    return float(np.partition(samples, rank - 1)[rank - 1])


def autocorrelation_time(indicator: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    """Return the integrated autocorrelation time tau >= 1 of a series, in samples.

    Geyer's initial positive sequence (Practical Markov chain Monte Carlo, Statistical Science 7, 1992): sums of
    neighbouring autocorrelations, Gamma_k = rho(2k) + rho(2k+1), are added as long as they are positive.
    tau = 2 sum Gamma_k - 1. The autocorrelation is taken by FFT, zero-padded so that it does not wrap around.

    Args:
        indicator: The series, in time order; for a quantile, whether each sample is at most the quantile.
    """
    n = len(indicator)
    centred = np.asarray(indicator, np.float64) - np.mean(indicator)
    power = float(centred @ centred)
    if n < 4 or power <= 0.0:
        return 1.0
    spectrum = np.fft.rfft(centred, 1 << (2 * n - 1).bit_length())
    rho = np.fft.irfft(np.abs(spectrum) ** 2)[:n] / power
    pairs = rho[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0.0)
    positive = pairs[: negative[0]] if len(negative) else pairs
    return float(min(n, max(1.0, 2.0 * positive.sum() - 1.0)))


def long_autocorrelation_time(indicator: NDArray[np.bool_]) -> float:
    """Return the autocorrelation time, or that seen in means of 16 neighbours if it is longer.

    A dependence that is weak and lasts long, as of a clock that hops between two states, drowns in the noise of single
    samples, where Geyer's sequence ends too soon; in means it does not.

    Args:
        indicator: Whether each sample is at most the quantile, in time order.
    """
    tau, count = autocorrelation_time(indicator), len(indicator) // _NEIGHBOURS
    power = float(indicator.var())
    if count < _FEWEST_MEANS or power <= 0.0:
        return tau
    means = indicator[-count * _NEIGHBOURS :].reshape(count, _NEIGHBOURS).mean(axis=1)
    longer = autocorrelation_time(means) * _NEIGHBOURS * float(means.var()) / power
    return float(min(len(indicator), max(tau, longer)))


def quantile_interval(
    samples: NDArray[np.float64] | NDArray[np.int64], q: float, confidence: float = CONFIDENCE
) -> Interval:
    """Return the q-quantile of dependent samples and its interval.

    Ranks l = floor(n/m B(a/2)) and u = ceil(n/m (B(1 - a/2) + 1)), where B is the inverse of the binomial
    distribution with m = n / tau trials of probability q, and a = 1 - confidence. An end whose rank lies outside of
    the sample is infinite: then the sample says nothing about that side.

    Args:
        samples: In time order, at least one.
        q: Between 0 and 1, exclusive.
        confidence: Of the interval.
    """
    from scipy.special import bdtr

    n = len(samples)
    value = quantile(samples, q)
    m = n / long_autocorrelation_time(samples <= value)
    trials = max(1, math.floor(m))
    tail = (1.0 - confidence) / 2.0
    reach = _FAR * math.sqrt(trials * q * (1.0 - q)) + _FAR
    first, last = max(0, math.floor(trials * q - reach)), min(trials, math.ceil(trials * q + reach))
    cumulative = bdtr(np.arange(first, last + 1, dtype=np.float64), trials, q)
    low_count = first + int(np.searchsorted(cumulative, tail))
    high_count = first + int(np.searchsorted(cumulative, 1.0 - tail))
    lower = math.floor(n / m * low_count)
    upper = math.ceil(n / m * (high_count + 1))
    wanted = [rank - 1 for rank in (lower, upper) if 1 <= rank <= n]
    ordered = np.partition(samples, wanted) if wanted else samples
    return Interval(
        value=value,
        low=float(ordered[lower - 1]) if lower >= 1 else -math.inf,
        high=float(ordered[upper - 1]) if upper <= n else math.inf,
        effective_n=m,
    )


def min_samples(q: float, confidence: float = CONFIDENCE) -> int:
    """Return the smallest number of independent samples that gives a finite interval for the q-quantile.

    368 for q = 0.99 and 3688 for q = 0.999, at 95 %.
    """
    tail = (1.0 - confidence) / 2.0
    extreme = max(q, 1.0 - q)
    return math.floor(math.log(tail) / math.log(extreme)) + 1
