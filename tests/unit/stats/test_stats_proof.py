"""The statistics keep their promises: coverage, classes, false verdicts and power, on traces whose truth is known.

All figures are those of benchmarks/proof.md; 400 traces know a share of 0.95 to ± 0.02.
"""

from __future__ import annotations

import pytest

from benchfw.testing.traces import DRIFTS, SHAPES
from benchmarks import trials
from benchmarks.trials import MARGIN, two_sided, verdict_shares

TRACES = 400
COVERAGE = 0.92


@pytest.mark.parametrize(("name", "q"), trials.LENGTHS)
def test_intervals_of_quantiles_cover_the_truth(name: str, q: float) -> None:
    coverage, m = trials.quantile_coverage(name, q, TRACES)
    assert m >= 50 and m * (1 - q) >= 20, "the rule only promises something from there on"
    assert coverage >= COVERAGE


@pytest.mark.parametrize(("name", "q"), trials.LENGTHS)
def test_stopping_when_the_interval_is_narrow_does_not_spoil_it(name: str, q: float) -> None:
    coverage, _, converged = trials.stopped_coverage(name, q, TRACES)
    assert converged == 1.0
    assert coverage >= COVERAGE


@pytest.mark.parametrize(
    ("name", "least", "most"), [("lognormal, rho 0.9", 0.9, 1), ("two states, 30 % slow", 0.8, 0.92)]
)
def test_stopping_without_a_least_time(name: str, least: float, most: float) -> None:
    """The known limit: a trace that saw few slow samples has a narrow interval, and would stop for that reason."""
    coverage, _, _ = trials.stopped_coverage(name, 0.5, TRACES, early=True)
    assert least <= coverage <= most, "if this is better now, docs/concepts/statistics.md is out of date"


@pytest.mark.parametrize(("rho", "blocks"), [(0.0, 30), (0.9, 30), (0.99, 100)])
def test_means_of_blocks(rho: float, blocks: int) -> None:
    assert trials.mean_coverage(rho, blocks, TRACES) >= COVERAGE


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_invocations(count: int) -> None:
    assert trials.invocation_coverage(count, TRACES) >= COVERAGE


@pytest.mark.parametrize("tail", ["normal", "t"])
@pytest.mark.parametrize("rounds", [6, 20, 80])
def test_paired_effects(rounds: int, tail: str) -> None:
    assert trials.paired_coverage(rounds, tail, TRACES) >= COVERAGE


@pytest.mark.parametrize("count", [4, 5, 10])
def test_shifts(count: int) -> None:
    assert trials.shift_coverage(count, TRACES) >= COVERAGE


def test_ratios_of_tails() -> None:
    assert trials.tail_coverage(40, 200, per_round=60) >= 0.9


@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_courses_of_a_run_get_their_class(shape: str, rho: float) -> None:
    assert trials.classified(shape, rho, 200) >= (0.9 if "ramp" in shape else 0.95)


@pytest.mark.parametrize("drift", DRIFTS)
def test_equal_arms_in_turns_are_seldom_called_different(drift: str) -> None:
    found = trials.effects(drift, "in turns", 200, 0.0)
    assert two_sided(verdict_shares(found, MARGIN)) <= 0.05
    assert verdict_shares(found, MARGIN).get("equivalent", 0.0) >= 0.95
    assert two_sided(verdict_shares(found, 0.0)) <= 0.05 + 0.03, "5 %, and twice the error of 200 sessions"


@pytest.mark.parametrize(
    ("drift", "margin", "at_least"),
    [("slow random, 1 %", 0.0, 0.5), ("linear, 2 %", 0.0, 0.95), ("both", 0.0, 0.8), ("both", MARGIN, 0.25)],
)
def test_equal_arms_one_after_the_other_are_called_different(drift: str, margin: float, at_least: float) -> None:
    """Why benchfw takes turns."""
    assert two_sided(verdict_shares(trials.effects(drift, "A … A B … B", 200, 0.0), margin)) >= at_least


@pytest.mark.parametrize("drift", DRIFTS)
@pytest.mark.parametrize(
    ("effect", "margin", "least", "most"),
    [
        (0.005, 0.0, 0.95, 1.0),
        (0.005, MARGIN, 0.0, 0.0),
        (0.01, MARGIN, 0.0, 0.05),
        (0.02, MARGIN, 0.95, 1.0),
        (0.05, MARGIN, 1.0, 1.0),
    ],
)
def test_power_whatever_the_drift(drift: str, effect: float, margin: float, least: float, most: float) -> None:
    found = verdict_shares(trials.effects(drift, "in turns", 200, effect), margin)
    assert least <= found.get("regression", 0.0) <= most
    assert found.get("improvement", 0.0) == 0.0


@pytest.mark.parametrize(("members", "beyond"), [(5, 0), (5, 3), (20, 10)])
def test_families_are_seldom_wrong(members: int, beyond: int) -> None:
    false = trials.family_errors(members, beyond, 200)
    assert false["Holm"] <= 0.05 + 0.03
    assert false["no correction"] >= false["Holm"]


@pytest.mark.parametrize("drift", DRIFTS)
def test_noise_floors_bound_the_error_without_hiding_effects(drift: str) -> None:
    floors = trials.noise_floors(drift, 200)
    error = floors["95th percentile of the true error"]
    assert error <= floors["end of the A/A interval"] <= 2 * error
    assert floors["95th percentile over single rounds"] > 3 * error


@pytest.mark.parametrize("name", trials.MIXTURES)
def test_two_modes_are_seen_only_where_they_are(name: str) -> None:
    share = trials.bimodal(name, 5000, 50)
    assert share >= 0.95 if name.startswith("two states") else share == 0.0
