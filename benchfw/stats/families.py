"""Several comparisons decided at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
"""Probability of one or more false verdicts in a family: its family-wise error rate."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the family: rejecting those up to alpha errs in at most alpha of families.

    Holm (A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979). The
    comparisons may depend on each other in any way.

    Args:
        p_values: Of each member, in any order.
    """
    p = np.asarray(p_values, np.float64)
    adjusted = np.empty(len(p))
    order = np.argsort(p, kind="stable")
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return [float(value) for value in adjusted]


def holm_confidences(p_values: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """Return the confidence for the interval of each member, such that intervals and Holm's procedure agree.

    Holm tests the i-th smallest of m p-values at alpha / (m - i + 1) until one is not rejected; that member and all
    later ones stay at the level where it stopped. The interval of each member at one minus the level of its test
    lies wholly beyond the margin if, and only if, Holm rejects, given that its p-value belongs to that margin
    (the argument `margin` of the effects).

    Args:
        p_values: Of each member, in any order.
        alpha: Probability of one or more false rejections in the family.
    """
    p = np.asarray(p_values, np.float64)
    levels: NDArray[np.float64] = alpha / np.arange(len(p), 0, -1)
    order = np.argsort(p, kind="stable")
    kept = np.flatnonzero(p[order] > levels)
    if len(kept):
        levels[kept[0] :] = levels[kept[0]]
    confidences = np.empty(len(p))
    confidences[order] = 1.0 - levels
    return [float(value) for value in confidences]
