"""Statistics over processes; coverage is in test_stats_proof."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchfw.stats import across_invocations, variance_components


def test_the_value_is_the_geometric_mean_and_the_ends_are_symmetric_in_ratio() -> None:
    interval = across_invocations(np.array([1.0, 2.0, 4.0]))
    assert interval.value == pytest.approx(2.0)
    assert interval.high / interval.value == pytest.approx(interval.value / interval.low)
    assert interval.high == pytest.approx(2.0 * math.exp(4.302652729911275 * math.log(2) / math.sqrt(3)))
    assert interval.effective_n == 3


def test_one_invocation_has_an_open_interval() -> None:
    interval = across_invocations(np.array([7.0]))
    assert interval.value == pytest.approx(7.0)
    assert (interval.low, interval.high) == (-math.inf, math.inf)


@pytest.mark.parametrize(("within", "between"), [(0.02, 0.01), (0.02, 0.0), (0.005, 0.03)])
def test_variance_components_are_unbiased(within: float, between: float) -> None:
    """Their means over many pilots; clipping at 0 is left out by pilots of many processes."""
    random = np.random.default_rng(2)
    found = []
    for _ in range(200):
        levels = between * random.standard_normal(40)
        pilots = [1e6 * np.exp(level + within * random.standard_normal(random.integers(5, 30))) for level in levels]
        found.append(variance_components(pilots))
    assert np.mean([variance.within for variance in found]) == pytest.approx(within**2, rel=0.03)
    assert np.mean([variance.between for variance in found]) == pytest.approx(between**2, rel=0.05, abs=8e-6)


def test_means_alone_would_overstate_what_differs_between_processes() -> None:
    random = np.random.default_rng(3)
    pilots = [np.exp(0.02 * random.standard_normal(5)) for _ in range(400)]
    naive = float(np.var([np.log(pilot).mean() for pilot in pilots], ddof=1))
    assert variance_components(pilots).between < 0.3 * naive


@pytest.mark.parametrize("pilots", [[], [np.ones(5)], [np.ones(5), np.ones(1)]])
def test_variance_components_of_too_little(pilots: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="two processes"):
        variance_components(pilots)
