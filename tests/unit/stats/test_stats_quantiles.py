"""Quantiles, autocorrelation times and intervals, on samples whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtri

from benchfw.stats import Interval, autocorrelation_time, min_samples, quantile, quantile_interval

CV = 0.02


def _ar1(random: np.random.Generator, rho: float, traces: int, n: int) -> NDArray[np.float64]:
    """Return stationary AR(1) traces with unit variance, one per row."""
    noise = random.standard_normal((n, traces))
    series = np.empty((n, traces))
    series[0] = noise[0]
    step = math.sqrt(1.0 - rho * rho)
    for i in range(1, n):
        series[i] = rho * series[i - 1] + step * noise[i]
    return np.ascontiguousarray(series.T)


def _latencies(rho: float, traces: int, n: int, seed: int = 0) -> NDArray[np.float64]:
    """Return lognormal latencies with a coefficient of variation of 2 %, correlated like AR(1)."""
    return np.asarray(1e6 * np.exp(CV * _ar1(np.random.default_rng(seed), rho, traces, n)))


def _truth(q: float) -> float:
    return float(1e6 * np.exp(CV * ndtri(q)))


# --- quantile ---------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 1000))
def test_quantile_is_the_order_statistic_of_rank_ceil_qn(samples: list[int], permille: int) -> None:
    rank = -(-permille * len(samples) // 1000)  # exact, in integers
    assert quantile(np.array(samples), permille / 1000) == sorted(samples)[rank - 1]


def test_quantile_does_not_change_its_samples() -> None:
    samples = np.array([3, 1, 2])
    quantile(samples, 0.5)
    assert samples.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("q", "confidence", "n"),
    [(0.99, 0.95, 368), (0.999, 0.95, 3688), (0.5, 0.95, 6), (0.9, 0.95, 36), (0.95, 0.95, 72), (0.01, 0.95, 368)],
)
def test_smallest_samples_with_a_finite_interval(q: float, confidence: float, n: int) -> None:
    assert min_samples(q, confidence) == n


@pytest.mark.parametrize("q", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("missing", [0, 1])
def test_min_samples_is_where_intervals_of_independent_samples_become_finite(q: float, missing: int) -> None:
    n = min_samples(q) - missing
    shuffled = (np.random.default_rng(seed).permutation(n) for seed in range(200))
    intervals = [quantile_interval(samples, q) for samples in shuffled]
    independent = [interval for interval in intervals if interval.effective_n == n]
    assert independent
    assert {interval.finite for interval in independent} == {not missing}


# --- autocorrelation time ---------------------------------------------------------------------------------------


def test_white_noise_has_an_autocorrelation_time_of_one() -> None:
    taus = [autocorrelation_time(trace) for trace in _ar1(np.random.default_rng(3), 0.0, 40, 5000)]
    assert np.mean(taus) == pytest.approx(1.0, abs=0.1)
    assert min(taus) >= 1.0


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.9])
def test_autocorrelation_time_of_ar1(rho: float) -> None:
    taus = [autocorrelation_time(trace) for trace in _ar1(np.random.default_rng(4), rho, 40, 20_000)]
    assert np.mean(taus) == pytest.approx((1 + rho) / (1 - rho), rel=0.1)


def test_autocorrelation_time_is_never_below_one_nor_above_n() -> None:
    alternating = np.tile([0.0, 1.0], 500)
    assert autocorrelation_time(alternating) == 1.0
    ramp = np.repeat([0.0, 1.0], 500)
    assert 100 < autocorrelation_time(ramp) <= 1000
    assert autocorrelation_time(np.ones(100)) == 1.0
    assert autocorrelation_time(np.array([0.0, 1.0])) == 1.0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_autocorrelation_time_of_any_indicator(indicator: list[bool]) -> None:
    assert 1.0 <= autocorrelation_time(np.array(indicator)) <= max(1, len(indicator))


# --- intervals --------------------------------------------------------------------------------------------------


def test_independent_ranks_would_not_cover_dependent_samples() -> None:
    """Shows that the coverage above is not won by wide intervals: shuffling hides the dependence."""
    random = np.random.default_rng(5)
    intervals = [quantile_interval(random.permutation(trace), 0.5) for trace in _latencies(0.9, 200, 3000, seed=11)]
    assert np.mean([interval.low <= _truth(0.5) <= interval.high for interval in intervals]) < 0.7


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_intervals_shrink_with_the_root_of_n(rho: float) -> None:
    traces = _latencies(rho, 60, 16_000, seed=12)
    widths = {
        n: float(np.mean([quantile_interval(trace[:n], 0.5).relative_half_width for trace in traces]))
        for n in (1000, 4000, 16_000)
    }
    assert widths[1000] / widths[4000] == pytest.approx(2.0, rel=0.15)
    assert widths[4000] / widths[16_000] == pytest.approx(2.0, rel=0.15)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=300), st.sampled_from([0.01, 0.5, 0.9, 0.99]))
def test_intervals_are_ordered_and_made_of_samples(samples: list[int], q: float) -> None:
    interval = quantile_interval(np.array(samples), q)
    assert interval.low <= interval.value <= interval.high
    assert interval.value in samples
    assert interval.low in samples or interval.low == -math.inf
    assert interval.high in samples or interval.high == math.inf
    assert 1.0 <= interval.effective_n <= len(samples)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 1000), min_size=6, max_size=200), st.floats(0.05, 0.95))
def test_more_confidence_is_never_narrower(samples: list[int], q: float) -> None:
    narrow, wide = (quantile_interval(np.array(samples), q, confidence) for confidence in (0.8, 0.99))
    assert wide.low <= narrow.low and narrow.high <= wide.high


@pytest.mark.parametrize(("n", "q"), [(1, 0.5), (5, 0.5), (100, 0.99), (367, 0.99)])
def test_too_small_samples_have_open_intervals(n: int, q: float) -> None:
    interval = quantile_interval(np.arange(1, n + 1), q)
    assert not interval.finite
    assert interval.relative_half_width == math.inf


def test_relative_half_width() -> None:
    assert Interval(value=10.0, low=9.0, high=12.0, effective_n=50).relative_half_width == pytest.approx(0.15)
    assert Interval(value=0.0, low=-1.0, high=1.0, effective_n=50).relative_half_width == math.inf
    assert Interval(value=1.0, low=-math.inf, high=2.0, effective_n=3).relative_half_width == math.inf


def test_constant_samples_are_known_exactly() -> None:
    interval = quantile_interval(np.full(100, 7), 0.5)
    assert (interval.value, interval.low, interval.high, interval.effective_n) == (7, 7, 7, 100)
