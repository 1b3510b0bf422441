"""Statistics of dependent samples: pure functions over arrays, no files, no clocks."""

from benchfw.stats.means import mean_interval
from benchfw.stats.quantiles import Interval, autocorrelation_time, min_samples, quantile, quantile_interval
from benchfw.stats.summary import Summary, summarize

__all__ = [
    "Interval",
    "Summary",
    "autocorrelation_time",
    "mean_interval",
    "min_samples",
    "quantile",
    "quantile_interval",
    "summarize",
]
