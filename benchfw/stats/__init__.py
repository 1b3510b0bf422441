"""Statistics of dependent samples: pure functions over arrays, no files, no clocks."""

from benchfw.stats.clusters import clustered_effect, clustered_tail, widened
from benchfw.stats.comparison import (
    Effect,
    Verdict,
    decide,
    geometric_mean,
    noise_floor,
    paired_effect,
    shift_effect,
    tail_effect,
    time_margin,
)
from benchfw.stats.families import ALPHA, holm, holm_confidences
from benchfw.stats.invocations import (
    Variance,
    across_builds,
    across_invocations,
    build_components,
    variance_components,
)
from benchfw.stats.means import mean_interval
from benchfw.stats.modes import Modes, modes
from benchfw.stats.quantiles import Interval, autocorrelation_time, min_samples, quantile, quantile_interval
from benchfw.stats.steady import Segment, Steady, steady_state
from benchfw.stats.summary import Summary, summarize

__all__ = [
    "ALPHA",
    "Effect",
    "Interval",
    "Modes",
    "Segment",
    "Steady",
    "Summary",
    "Variance",
    "Verdict",
    "across_builds",
    "across_invocations",
    "autocorrelation_time",
    "build_components",
    "clustered_effect",
    "clustered_tail",
    "decide",
    "geometric_mean",
    "holm",
    "holm_confidences",
    "mean_interval",
    "min_samples",
    "modes",
    "noise_floor",
    "paired_effect",
    "quantile",
    "quantile_interval",
    "shift_effect",
    "steady_state",
    "summarize",
    "tail_effect",
    "time_margin",
    "variance_components",
    "widened",
]
