"""Intervals of means, and the summary of a case."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchfw.stats import mean_interval, min_samples, quantile, summarize


def _ar1(rho: float, traces: int, n: int) -> NDArray[np.float64]:
    noise = np.random.default_rng(21).standard_normal((n, traces))
    series = np.empty((n, traces))
    series[0] = noise[0]
    for i in range(1, n):
        series[i] = rho * series[i - 1] + math.sqrt(1 - rho * rho) * noise[i]
    return np.ascontiguousarray(series.T)


@pytest.mark.parametrize(("rho", "n"), [(0.0, 30), (0.0, 400), (0.5, 1000), (0.9, 8000)])
def test_intervals_of_means_cover_the_truth(rho: float, n: int) -> None:
    intervals = [mean_interval(100.0 + trace) for trace in _ar1(rho, 400, n)]
    assert np.mean([interval.low <= 100.0 <= interval.high for interval in intervals]) >= 0.92


def test_intervals_of_means_shrink_with_the_root_of_n() -> None:
    traces = _ar1(0.0, 60, 1600)
    short, long = (
        np.mean([mean_interval(100.0 + trace[:n]).relative_half_width for trace in traces]) for n in (400, 1600)
    )
    assert short / long == pytest.approx(2.0, rel=0.15)


def test_dependent_samples_are_averaged_until_they_are_few() -> None:
    (trace,) = _ar1(0.9, 1, 4096)
    assert mean_interval(trace).effective_n < 4096 / 4
    assert mean_interval(np.random.default_rng(1).permutation(trace)).effective_n == 4096


@pytest.mark.parametrize("samples", [[1.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
def test_too_few_averages_have_open_intervals(samples: list[float]) -> None:
    interval = mean_interval(np.array(samples))
    assert interval.value == pytest.approx(np.mean(samples))
    assert not interval.finite


def test_constant_samples_have_a_mean_without_doubt() -> None:
    interval = mean_interval(np.full(8, 3.0))
    assert (interval.low, interval.value, interval.high) == (3.0, 3.0, 3.0)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=100))
def test_the_mean_lies_in_its_interval(samples: list[float]) -> None:
    interval = mean_interval(np.array(samples))
    assert interval.value == pytest.approx(np.mean(samples))
    assert interval.low <= interval.value <= interval.high


# --- summary ----------------------------------------------------------------------------------------------------


def test_no_samples_have_no_summary() -> None:
    assert summarize(np.empty(0, np.int64)) is None


def test_one_sample() -> None:
    summary = summarize(np.array([5]))
    assert summary is not None
    assert (summary.n, summary.min, summary.mean, summary.max, summary.p50.value) == (1, 5, 5, 5, 5)
    assert [summary.std, summary.p90, summary.p95, summary.p99] == [None] * 4
    assert not summary.p50.finite


@pytest.mark.parametrize(("n", "known"), [(35, []), (36, ["p90"]), (71, ["p90"]), (72, ["p90", "p95"])])
def test_percentiles_need_as_many_samples_as_a_finite_interval(n: int, known: list[str]) -> None:
    summary = summarize(np.random.default_rng(2).integers(100, 10_000, n))
    assert summary is not None
    assert [name for name in ("p90", "p95", "p99") if getattr(summary, name) is not None] == known


def test_p99_is_none_unless_its_interval_is_finite() -> None:
    random = np.random.default_rng(3)
    few = summarize(random.integers(100, 10_000, min_samples(0.99) - 1))
    many = summarize(random.integers(100, 10_000, 2000))
    runs = np.repeat(1000 * random.permutation(40), 20)  # 800 samples, but 40 runs
    dependent = summarize(runs + np.tile(np.arange(20), 40))
    assert few is not None and many is not None and dependent is not None
    assert few.p99 is None
    assert many.p99 is not None and many.p99.finite
    assert dependent.p99 is None


def test_summary_against_numpy() -> None:
    samples = np.random.default_rng(4).integers(1000, 2000, 5000)
    summary = summarize(samples)
    assert summary is not None
    assert (summary.n, summary.min, summary.max) == (5000, samples.min(), samples.max())
    assert summary.mean == pytest.approx(np.mean(samples))
    assert summary.std == pytest.approx(np.std(samples, ddof=1))
    assert summary.p50.value == np.sort(samples)[2499]
    assert summary.p90 == quantile(samples, 0.9)
    assert summary.p99 is not None and summary.p99.value == np.sort(samples)[4949]


def test_spread_and_outliers() -> None:
    samples = np.concatenate([np.tile([90, 100, 110, 100], 250), [248, 249, 100_000]])
    summary = summarize(samples)
    assert summary is not None
    assert (summary.mad, summary.iqr, summary.p50.value) == (10.0, 10.0, 100.0)
    assert summary.robust_cv == pytest.approx(0.14826)
    assert summary.outlier_share == pytest.approx(2 / 1003), "only beyond 14.8 MAD, that is 248"
    assert summary.tau >= 1.0


def test_samples_without_spread_have_no_outliers_to_speak_of() -> None:
    summary = summarize(np.array([5] * 10 + [500]))
    assert summary is not None
    assert (summary.mad, summary.robust_cv, summary.outlier_share) == (0.0, 0.0, None)


def test_intervals_of_high_percentiles_are_finite_or_missing() -> None:
    random = np.random.default_rng(5)
    few, many = (summarize(random.integers(100, 10_000, n)) for n in (3000, 8000))
    assert few is not None and many is not None
    assert few.p999 is None
    for interval in (many.p90_interval, many.p95_interval, many.p99, many.p999):
        assert interval is not None and interval.finite
        assert interval.low < interval.value < interval.high
    assert many.p90_interval is not None and many.p90_interval.value == many.p90
    runs = np.repeat(1000 * random.permutation(20), 5)  # 100 samples, but 20 runs
    dependent = summarize(runs + np.tile(np.arange(5), 20))
    assert dependent is not None and dependent.p90 is not None and dependent.p90_interval is None
