"""Two modes: positions, shares, and what is none; shares of right answers are in test_stats_proof."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchfw.stats import modes


def _mixture(gap: float, share: float, n: int = 10_000) -> NDArray[np.float64]:
    random = np.random.default_rng(9)
    return np.asarray(1e6 * np.where(random.random(n) < share, 1 + gap, 1.0) * np.exp(0.003 * random.normal(size=n)))


@pytest.mark.parametrize(("gap", "share"), [(0.025, 0.5), (0.05, 0.1), (1.0, 0.3), (0.05, 0.9)])
def test_positions_and_shares(gap: float, share: float) -> None:
    found = modes(_mixture(gap, share))
    assert found is not None
    assert found.positions == pytest.approx((1e6, 1e6 * (1 + gap)), rel=0.004)
    assert found.shares == pytest.approx((1 - share, share), abs=0.02)
    assert sum(found.shares) == pytest.approx(1.0)
    assert 0.0 <= found.valley <= 0.5


@pytest.mark.parametrize(("gap", "share"), [(0.015, 0.5), (0.1, 0.03), (0.1, 0.97), (0.0, 0.5)])
def test_what_does_not_matter(gap: float, share: float) -> None:
    assert modes(_mixture(gap, share)) is None


@pytest.mark.parametrize("step", [10, 25, 50, 100])
def test_coarse_clocks_have_one_mode(step: int) -> None:
    samples = 1000 * np.exp(0.03 * np.random.default_rng(1).normal(size=20_000))
    assert modes(np.round(samples / step) * step) is None


def test_constant_or_few_samples_have_one_mode() -> None:
    assert modes(np.full(1000, 5)) is None
    assert modes(np.repeat([1.0, 2.0], 20)) is None
    assert modes(np.empty(0)) is None


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 2000), min_size=100, max_size=400))
def test_any_samples(samples: list[int]) -> None:
    found = modes(np.array(samples))
    if found is not None:
        assert found.positions[0] * 1.02 <= found.positions[1]
        assert min(found.shares) >= 0.05
