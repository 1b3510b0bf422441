"""Effects over rounds that come in clusters: the rounds of one process resemble each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from benchfw.stats.comparison import RESAMPLES, Effect, paired_effect, tail_effect
from benchfw.stats.invocations import across_invocations
from benchfw.stats.quantiles import CONFIDENCE, quantile

Floats = NDArray[np.float64]


def clustered_effect(clusters: Sequence[Floats], confidence: float = CONFIDENCE, *, margin: float = 0.0) -> Effect:
    """Return the effect over the rounds of several invocations.

    Hodges-Lehmann over all rounds, with the hull of two intervals: that over rounds, and Student's t over the effects
    of the invocations. Where processes differ, rounds within one are not independent, and only the second is wide
    enough; where they do not, it is the first that says what the rounds can tell.

    Args:
        clusters: ln(B / A) of the rounds of each invocation, at least one round in all.
        confidence: Of the interval.
        margin: Of the p-value's hypothesis, as of `decide`.
    """
    filled = [cluster for cluster in clusters if len(cluster)]
    effect = paired_effect(np.concatenate(filled), confidence, margin=margin)
    if len(filled) < 2:
        return effect
    return widened(effect, np.array([paired_effect(cluster).value for cluster in filled]), margin=margin)


def clustered_tail(
    ours: Sequence[Sequence[Floats]],
    theirs: Sequence[Sequence[Floats]],
    q: float,
    confidence: float = CONFIDENCE,
    *,
    margin: float = 0.0,
) -> Effect:
    """Return the ratio of the q-quantiles, theirs over ours, over the rounds of several invocations.

    The quantiles of all samples, with the hull of two intervals, as of `clustered_effect`: the percentile bootstrap
    over rounds (Efron and Tibshirani, An Introduction to the Bootstrap, 13; `tail_effect`), and Student's t over the
    ratios of the quantiles of the invocations (`across_invocations`). There are max(2000, 4 / (1 - confidence))
    resamples: each end is at least the second from the outside, or the level of a large family could not be reached.

    Args:
        ours, theirs: Latencies in any one unit, by invocation and round: the same invocations and rounds in both, at
            least one round of each invocation, at least one sample of each round, shape (samples,).
        q: Between 0 and 1, exclusive.
        confidence: Of the interval.
        margin: Of the p-value's hypothesis, as of `decide`.

    Raises:
        ValueError: The arms have different numbers of rounds, or of invocations.
    """
    a, b = (list(chain.from_iterable(arm)) for arm in (ours, theirs))
    resamples = max(RESAMPLES, math.ceil(4.0 / (1.0 - confidence)))
    effect = tail_effect(a, b, q, confidence=confidence, margin=margin, resamples=resamples)
    tails = [[quantile(np.concatenate(rounds), q) for rounds in arm] for arm in (ours, theirs)]
    ratios = np.array([after / before for before, after in zip(*tails, strict=True)])
    return widened(effect, ratios, margin=margin) if len(ratios) > 1 else effect


def widened(effect: Effect, invocations: Floats, *, margin: float = 0.0) -> Effect:
    """Return an effect whose interval also holds that over invocations, and whose p-value is the larger one.

    Args:
        effect: Over rounds.
        invocations: The ratio of each invocation, at least two.
        margin: Of the p-value's hypothesis, as of `decide`.
    """
    across = across_invocations(invocations, effect.confidence)
    low = across.low if math.isfinite(across.low) else 0.0
    contradictory = (effect.value - 1.0) * (across.value - 1.0) < 0.0  # each is sure of another direction
    return replace(
        effect,
        low=min(effect.low, low),
        high=max(effect.high, across.high),
        p_value=1.0 if contradictory else max(effect.p_value, _p_value(np.log(invocations), margin)),
    )


def _p_value(logs: Floats, margin: float) -> float:
    """Return the two-sided p-value of the t-test that the mean lies within the margin, as its interval has it."""
    from scipy.special import stdtr

    error = float(logs.std(ddof=1)) / math.sqrt(len(logs))
    beyond = abs(float(logs.mean())) - math.log1p(margin)
    if error == 0.0:
        return 0.0 if beyond > 0.0 else 1.0
    return float(min(1.0, 2.0 * stdtr(len(logs) - 1, -beyond / error)))
