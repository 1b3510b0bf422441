"""Several processes per case, and what differs between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchfw.stats.quantiles import CONFIDENCE, Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Variance:
    """Components of variance of the logarithm, so that 1e-4 is a relative standard deviation of 1 %.

    Attributes:
        within: Of one sample around the mean of its process.
        between: Of the mean of a process of infinite length around that of all processes, of the same build where there
            are several. None where each build has one process: the difference cannot be told from that of builds.
        builds: Of the mean of a build over processes without end around that of all builds; where each has one
            process, with what processes differ by. None of one build.
    """

    within: float
    between: float | None
    builds: float | None = None


def across_invocations(medians: Floats, confidence: float = CONFIDENCE) -> Interval:
    """Return the geometric mean of the medians of invocations and its interval: Student's t on their logarithms.

    The interval speaks of the next process as well, which one from the samples of a single process does not
    (Kalibera and Jones, ISMM'13). Its ends are infinite for fewer than two invocations.

    Args:
        medians: Positive, at least one, shape (invocations,).
        confidence: Of the interval.
    """
    from scipy.special import stdtrit

    logs = np.log(np.asarray(medians, np.float64))
    count = len(logs)
    centre = float(logs.mean())
    if count < 2:
        return Interval(value=math.exp(centre), low=-math.inf, high=math.inf, effective_n=float(count))
    half = float(stdtrit(count - 1, (1.0 + confidence) / 2.0) * logs.std(ddof=1) / math.sqrt(count))
    return Interval(
        value=math.exp(centre),
        low=math.exp(centre - half),
        high=math.exp(centre + half) if half < 700.0 else math.inf,
        effective_n=float(count),
    )


def variance_components(samples: Sequence[Floats]) -> Variance:
    """Split the variance of log samples into that within processes and that between them.

    Kalibera and Jones (Rigorous Benchmarking in Reasonable Time, ISMM'13): T_1² = S_1², the mean variance within a
    process, and T_2² = S_2² - S_1²/n, the variance of the means of processes less what their finite length n adds to
    it; negative differences are zero. Processes of different lengths are pooled by degrees of freedom, with the
    harmonic mean for n.

    Args:
        samples: Of each of at least two processes, positive and at least two per process. They must be independent
            within a process, so use the medians of blocks, not iterations.

    Raises:
        ValueError: There are fewer than two processes, or fewer than two samples of one.
    """
    logs = [np.log(np.asarray(of_process, np.float64)) for of_process in samples]
    if len(logs) < 2 or min(map(len, logs)) < 2:
        raise ValueError("variance components need at least two processes with two samples each")
    freedom = sum(len(values) - 1 for values in logs)
    within = sum(float(values.var(ddof=1)) * (len(values) - 1) for values in logs) / freedom
    means = np.array([values.mean() for values in logs])
    noise_of_means = within * float(np.mean([1.0 / len(values) for values in logs]))
    return Variance(within=within, between=max(0.0, float(means.var(ddof=1)) - noise_of_means))


def across_builds(medians: Sequence[Floats], confidence: float = CONFIDENCE) -> Interval:
    """Return the geometric mean of the means of builds and its interval, which speaks of the next build as well.

    Processes of one build share what makes it differ from others, so that the builds are what is counted (Kalibera and
    Jones, ISMM'13: the highest level that varies). Its ends are infinite for fewer than two builds.

    Args:
        medians: Of the invocations of each build, positive, at least one each.
        confidence: Of the interval.
    """
    means = [math.exp(float(np.log(np.asarray(of_build, np.float64)).mean())) for of_build in medians]
    return across_invocations(np.array(means), confidence)


def build_components(samples: Sequence[Sequence[Floats]]) -> Variance:
    """Split the variance of log samples into that within processes, between processes of a build and between builds.

    As `variance_components`, one level higher: T_3² = S_3² - S_2²/P, the variance of the means of builds less what
    their finite number P of processes adds to it, S_2² being the mean variance of the means of processes of a build.

    Args:
        samples: Of each process of each of at least two builds.

    Raises:
        ValueError: There are fewer than two builds, a build without a process, or fewer than two samples of one.
    """
    if len(samples) < 2 or not all(samples):
        raise ValueError("components of builds need at least two builds with a process each")
    flat = variance_components([of_process for of_build in samples for of_process in of_build])
    freedom = sum(len(of_build) - 1 for of_build in samples)
    if not freedom:
        return Variance(within=flat.within, between=None, builds=flat.between)
    means = [np.array([np.log(np.asarray(values, np.float64)).mean() for values in build]) for build in samples]
    lengths = [len(of_process) for of_build in samples for of_process in of_build]
    of_processes = sum(float(values.var(ddof=1)) * (len(values) - 1) for values in means if len(values) > 1) / freedom
    of_builds = float(np.var([values.mean() for values in means], ddof=1))
    return Variance(
        within=flat.within,
        between=max(0.0, of_processes - flat.within * float(np.mean([1.0 / length for length in lengths]))),
        builds=max(0.0, of_builds - of_processes * float(np.mean([1.0 / len(values) for values in means]))),
    )
