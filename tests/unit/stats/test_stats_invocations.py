"""Statistics over processes; coverage is in test_stats_proof."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchfw.stats import across_builds, across_invocations, build_components, variance_components


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
    between = variance_components(pilots).between
    assert between is not None and between < 0.3 * naive


@pytest.mark.parametrize("pilots", [[], [np.ones(5)], [np.ones(5), np.ones(1)]])
def test_variance_components_of_too_little(pilots: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="two processes"):
        variance_components(pilots)


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize(("within", "between", "of_builds"), [(0.02, 0.01, 0.03), (0.02, 0.01, 0.0), (0.01, 0.0, 0.02)])
def test_components_of_builds_are_unbiased(within: float, between: float, of_builds: float, processes: int) -> None:
    random = np.random.default_rng(5)
    found = []
    for _ in range(100):
        builds = []
        for build in of_builds * random.standard_normal(40):
            levels = build + between * random.standard_normal(processes)
            builds.append([1e6 * np.exp(level + within * random.standard_normal(10)) for level in levels])
        found.append(build_components(builds))
    assert np.mean([variance.within for variance in found]) == pytest.approx(within**2, rel=0.03)
    assert np.mean([variance.between or 0.0 for variance in found]) == pytest.approx(between**2, rel=0.05, abs=8e-6)
    assert np.mean([variance.builds or 0.0 for variance in found]) == pytest.approx(of_builds**2, rel=0.06, abs=1.5e-5)


def test_builds_of_one_process_each_take_the_difference_of_processes_with_them() -> None:
    random = np.random.default_rng(6)
    samples = [np.exp(level + 0.01 * random.standard_normal(20)) for level in 0.05 * random.standard_normal(30)]
    found, flat = build_components([[of_process] for of_process in samples]), variance_components(samples)
    assert (found.within, found.between, found.builds) == (flat.within, None, flat.between)


@pytest.mark.parametrize("builds", [[], [[np.ones(5), np.ones(5)]], [[np.ones(5)], []], [[np.ones(1)], [np.ones(5)]]])
def test_components_of_too_few_builds(builds: list[list[np.ndarray]]) -> None:
    with pytest.raises(ValueError, match="at least two"):
        build_components(builds)


def test_processes_of_one_build_count_as_one() -> None:
    """What is known of the next build does not grow with the processes of the same ones."""
    few, many = ([np.full(count, median) for median in (1.0, 1.1, 1.2)] for count in (1, 50))
    assert across_builds(many) == across_builds(few)
    assert across_builds(few).value == pytest.approx((1.0 * 1.1 * 1.2) ** (1 / 3))
    assert across_builds(many).low < across_invocations(np.concatenate(many)).low
