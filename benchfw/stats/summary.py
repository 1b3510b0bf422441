"""The summary of one case's samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchfw.stats.quantiles import Interval, min_samples, quantile, quantile_interval


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Statistics of one case; what the sample cannot support is None.

    Attributes:
        n: Samples.
        min, mean, max, std: Of the samples, in their unit; `std` with n - 1.
        p50, p99: With their intervals.
        p90, p95: None below the sample size that a finite interval needs.
    """

    n: int
    min: float
    mean: float
    max: float
    std: float | None
    p50: Interval
    p90: float | None
    p95: float | None
    p99: Interval | None


def summarize(samples: NDArray[np.int64]) -> Summary | None:
    """Summarise samples in time order; None if there is none."""
    n = len(samples)
    if n == 0:
        return None
    p99 = quantile_interval(samples, 0.99) if n >= min_samples(0.99) else None
    return Summary(
        n=n,
        min=float(samples.min()),
        mean=float(samples.mean()),
        max=float(samples.max()),
        std=float(samples.std(ddof=1)) if n > 1 else None,
        p50=quantile_interval(samples, 0.5),
        p90=_supported(samples, 0.90),
        p95=_supported(samples, 0.95),
        p99=p99 if p99 is not None and p99.finite else None,
    )


def _supported(samples: NDArray[np.int64], q: float) -> float | None:
    return quantile(samples, q) if len(samples) >= min_samples(q) else None
