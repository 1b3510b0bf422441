"""The summary of one case's samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchfw.stats.quantiles import Interval, min_samples, quantile, quantile_interval

OUTLIER = 14.8
"""Distance from the median over the MAD: ten standard deviations, if the body is normal."""

_TO_DEVIATION = 1.4826
"""MAD to standard deviation of a normal distribution."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Statistics of one case; what the sample cannot support is None.

    Attributes:
        n: Samples.
        min, mean, max, std: Of the samples, in their unit; `std` with n - 1.
        mad: Median of the absolute deviations from the median.
        iqr: Third less first quartile.
        robust_cv: 1.4826 MAD over the median; None if the median is 0.
        outlier_share: Share of samples further than 14.8 MAD from the median; None if the MAD is 0.
        tau: Integrated autocorrelation time of whether a sample is at most the median, in samples.
        p50, p99, p999: With their intervals; None if they have none, but for p50.
        p90, p95: None below the sample size that a finite interval needs.
        p90_interval, p95_interval: None if an end is not finite, which dependent samples of that size may cause.
    """

    n: int
    min: float
    mean: float
    max: float
    std: float | None
    mad: float
    iqr: float
    robust_cv: float | None
    outlier_share: float | None
    tau: float
    p50: Interval
    p90: float | None
    p95: float | None
    p90_interval: Interval | None
    p95_interval: Interval | None
    p99: Interval | None
    p999: Interval | None


def summarize(samples: NDArray[np.int64]) -> Summary | None:
    """Summarise samples in time order; None if there is none."""
    n = len(samples)
    if n == 0:
        return None
    p50 = quantile_interval(samples, 0.5)
    deviations = np.abs(samples - p50.value)
    mad = quantile(deviations, 0.5)
    return Summary(
        n=n,
        min=float(samples.min()),
        mean=float(samples.mean()),
        max=float(samples.max()),
        std=float(samples.std(ddof=1)) if n > 1 else None,
        mad=mad,
        iqr=quantile(samples, 0.75) - quantile(samples, 0.25),
        robust_cv=_TO_DEVIATION * mad / p50.value if p50.value > 0 else None,
        outlier_share=float((deviations > OUTLIER * mad).mean()) if mad > 0 else None,
        tau=n / p50.effective_n,
        p50=p50,
        p90=_supported(samples, 0.90),
        p95=_supported(samples, 0.95),
        p90_interval=_interval(samples, 0.90),
        p95_interval=_interval(samples, 0.95),
        p99=_interval(samples, 0.99),
        p999=_interval(samples, 0.999),
    )


def _supported(samples: NDArray[np.int64], q: float) -> float | None:
    return quantile(samples, q) if len(samples) >= min_samples(q) else None


def _interval(samples: NDArray[np.int64], q: float) -> Interval | None:
    if len(samples) < min_samples(q):
        return None
    interval = quantile_interval(samples, q)
    return interval if interval.finite else None
