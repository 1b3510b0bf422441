"""Effects over rounds that come in clusters: the rounds of one process resemble each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchfw.stats.comparison import Effect, paired_effect
from benchfw.stats.invocations import across_invocations
from benchfw.stats.quantiles import CONFIDENCE


def clustered_effect(clusters: Sequence[NDArray[np.float64]], confidence: float = CONFIDENCE) -> Effect:
    """Return the effect over the rounds of several invocations.

    Hodges-Lehmann over all rounds, and the hull of two intervals: that over rounds, and Student's t over the effects
    of the invocations. Where processes differ, rounds within one are not independent, and only the second is wide
    enough; where they do not, it is the first that says what the rounds can tell.

    Args:
        clusters: ln(B / A) of the rounds of each invocation, at least one round in all.
        confidence: Of the interval.
    """
    filled = [cluster for cluster in clusters if len(cluster)]
    effect = paired_effect(np.concatenate(filled), confidence)
    if len(filled) < 2:
        return effect
    centres = np.array([paired_effect(cluster).value for cluster in filled])
    return widened(effect, centres)


def widened(effect: Effect, invocations: NDArray[np.float64]) -> Effect:
    """Return an effect whose interval also holds that over invocations.

    Args:
        effect: Over rounds.
        invocations: The ratio of each invocation, at least two.
    """
    across = across_invocations(invocations, effect.confidence)
    low = across.low if math.isfinite(across.low) else 0.0
    return replace(effect, low=min(effect.low, low), high=max(effect.high, across.high))
