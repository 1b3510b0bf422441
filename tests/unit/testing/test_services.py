"""The service times of the fake backend are what its options promise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from benchfw.testing.options import FakeOptions
from benchfw.testing.services import LEAST, RING, Services, bend, correlated_normals, factors


def ring(**options: object) -> NDArray[np.float64]:
    return factors(FakeOptions.model_validate(options).model_dump())


def lag1(values: NDArray[np.float64]) -> float:
    """Return the lag-1 autocorrelation of a ring: its last value is followed by its first."""
    centred = values - values.mean()
    return float(np.dot(centred, np.roll(centred, 1)) / np.dot(centred, centred))


@pytest.mark.parametrize("distribution", ["normal", "lognormal", "ar1", "two-state", "pareto"])
def test_factors_depend_on_the_seed_alone(distribution: str) -> None:
    first = ring(distribution=distribution, seed=1)
    assert np.array_equal(first, ring(distribution=distribution, seed=1))
    assert not np.array_equal(first, ring(distribution=distribution, seed=2))
    assert not np.array_equal(
        ring(distribution=distribution, seed=-1), ring(distribution=distribution, seed=-1)
    )  # another one in each process


@pytest.mark.parametrize("distribution", ["normal", "lognormal", "ar1"])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("spread", [0.005, 0.02, 0.2])
def test_means_spreads_and_correlations_are_as_promised(distribution: str, rho: float, spread: float) -> None:
    values = ring(distribution=distribution, rho=rho, spread=spread, seed=3)
    wanted = rho if distribution == "ar1" else 0.0
    effective = len(values) * (1 - wanted) / (1 + wanted)
    assert values.mean() == pytest.approx(1, abs=5 * spread / np.sqrt(effective))
    assert values.std() == pytest.approx(spread, rel=0.05)
    assert lag1(values) == pytest.approx(wanted, abs=0.03)


@pytest.mark.parametrize("rho", [0.5, 0.9])
def test_an_ar1_ring_is_continuous_where_it_closes(rho: float) -> None:
    steps = []
    for seed in range(200):
        values = correlated_normals(np.random.default_rng(seed), 256, rho)
        steps.append(values[0] - rho * values[-1])
    assert np.std(steps) == pytest.approx(np.sqrt(1 - rho**2), rel=0.2)


def test_correlation_decays_geometrically() -> None:
    values = correlated_normals(np.random.default_rng(5), RING, 0.9)
    seen = [float(np.mean(values * np.roll(values, lag))) for lag in (1, 2, 5, 10)]
    assert seen == pytest.approx([0.9, 0.9**2, 0.9**5, 0.9**10], abs=0.05)


def test_two_states_have_their_levels_and_dwells() -> None:
    values = ring(distribution="two-state", spread=0.0, level=1.2, dwell=50.0)
    assert set(np.round(values, 12)) == {1.0, 1.2}
    dwells = len(values) / np.count_nonzero(np.diff(values))
    assert dwells == pytest.approx(50, rel=0.15)
    assert np.mean(values > 1.1) == pytest.approx(0.5, abs=0.05)


def test_pareto_tails_have_their_index_and_mean() -> None:
    values = ring(distribution="pareto", tail=3.0)
    assert values.mean() == pytest.approx(1, rel=0.03)
    assert values.min() == pytest.approx(2 / 3, rel=1e-3)
    highest = np.sort(values)[-2000:]
    hill = 1 / np.mean(np.log(highest / highest[0]))  # Hill's estimator
    assert hill == pytest.approx(3, rel=0.1)


def test_no_service_is_without_time() -> None:
    assert ring(distribution="normal", spread=1.0).min() == LEAST


def services(base_ns: int, seconds: list[float], **options: object) -> list[int]:
    """Return the service times of launches at these instants."""
    now_ns = [0]
    made = Services(FakeOptions.model_validate(options).model_dump(), lambda: now_ns[0]).of(base_ns)
    times = []
    for second in seconds:
        now_ns[0] = round((second + 7) * 1e9)  # a clock need not begin at 0
        times.append(made())
    return times


def test_drift_is_linear_in_time() -> None:
    assert services(1000, [0, 1, 2, 10], drift=0.02) == [1000, 1020, 1040, 1200]
    assert services(1000, [0, 100], drift=-0.02) == [1000, int(1000 * LEAST)]


def test_steps_come_at_their_call_or_second() -> None:
    assert services(1000, [0] * 4, step=0.5, step_at=2.0) == [1000, 1000, 1500, 1500]
    assert services(1000, [0, 1, 2, 3], step=-0.5, step_at=1.5, step_unit="seconds") == [1000, 1000, 500, 500]


def test_warm_up_decays_by_calls_or_seconds() -> None:
    assert services(10000, [0] * 3, warmup=0.5, warmup_fold=1.0) == [15000, 11839, 10676]
    assert services(10000, [0, 2, 4], warmup=0.5, warmup_fold=2.0, warmup_unit="seconds") == [15000, 11839, 10676]


def test_all_bends_multiply() -> None:
    options = FakeOptions(drift=0.1, step=0.2, step_at=5, warmup=0.3, warmup_fold=10.0).model_dump()
    assert bend(options, 10, 2.0) == pytest.approx(1.2 * 1.2 * (1 + 0.3 / np.e))


def test_slots_draw_from_one_stream() -> None:
    options = FakeOptions(distribution="lognormal", spread=0.1).model_dump()
    made = Services(options, lambda: 0)
    one, other = made.of(1_000_000), made.of(2_000_000)
    drawn = [one(), other(), one(), other()]
    wanted = factors(options)[:4] * [1e6, 2e6, 1e6, 2e6]
    assert drawn == [int(value) for value in wanted]


@pytest.mark.parametrize("wrong", [{"rho": 1.0}, {"tail": 1.0}, {"dwell": 0.0}, {"distribution": "weibull"}])
def test_options_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FakeOptions.model_validate(wrong)
