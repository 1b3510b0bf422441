"""Rounds that come in clusters: processes differ, and the interval has to say so."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchfw.stats import (
    across_invocations,
    clustered_effect,
    clustered_tail,
    decide,
    paired_effect,
    quantile,
    tail_effect,
    widened,
)

Clusters = list[NDArray[np.float64]]

LOGS = st.floats(-0.5, 0.5).map(lambda x: round(x, 6) + 1.23e-7)
CLUSTERS = st.lists(st.lists(LOGS, max_size=14), min_size=1, max_size=8).filter(any)


def arrays(clusters: list[list[float]]) -> Clusters:
    return [np.array(cluster) for cluster in clusters]


def of_invocations(clusters: Clusters) -> NDArray[np.float64]:
    return np.array([paired_effect(cluster).value for cluster in clusters])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(LOGS, min_size=1, max_size=20), st.integers(0, 3), st.sampled_from([0.9, 0.95, 0.999]))
def test_a_single_process_is_known_by_its_rounds_alone(rounds: list[float], empty: int, confidence: float) -> None:
    clusters = arrays([rounds] + [[]] * empty)
    assert clustered_effect(clusters, confidence, margin=0.01) == paired_effect(
        np.array(rounds), confidence, margin=0.01
    )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(CLUSTERS, st.sampled_from([0.8, 0.95, 0.999]))
def test_the_interval_holds_that_of_the_rounds_and_that_of_the_processes(
    drawn: list[list[float]], confidence: float
) -> None:
    clusters = [cluster for cluster in arrays(drawn) if len(cluster)]
    effect, rounds = clustered_effect(clusters, confidence), paired_effect(np.concatenate(clusters), confidence)
    assert (effect.value, effect.n, effect.confidence) == (rounds.value, rounds.n, confidence)
    if len(clusters) < 2:
        return
    across = across_invocations(of_invocations(clusters), confidence)
    assert effect.low == min(rounds.low, across.low)
    assert effect.high == max(rounds.high, across.high)
    assert effect.p_value >= rounds.p_value


@settings(max_examples=100, deadline=None, derandomize=True)
@given(CLUSTERS, st.sampled_from([0.0, 0.01, 0.1]))
def test_swapping_the_arms_inverts_the_interval(drawn: list[list[float]], margin: float) -> None:
    clusters = arrays(drawn)
    effect = clustered_effect(clusters, margin=margin)
    swapped = clustered_effect([-cluster for cluster in clusters], margin=margin)
    assert swapped.value == pytest.approx(1 / effect.value)
    assert swapped.p_value == pytest.approx(effect.p_value)
    assert swapped.finite == effect.finite
    if effect.finite:
        assert (swapped.low, swapped.high) == pytest.approx((1 / effect.high, 1 / effect.low))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    CLUSTERS,
    st.sampled_from([0.0, 0.3, -0.3]),
    st.sampled_from([0.5, 0.8, 0.95]),
    st.sampled_from([0.0, 0.01, 0.1]),
)
def test_p_values_agree_with_the_interval(
    drawn: list[list[float]], shift: float, confidence: float, margin: float
) -> None:
    effect = clustered_effect([cluster + shift for cluster in arrays(drawn)], confidence, margin=margin)
    claimed = decide(effect, margin) in ("regression", "improvement")
    assert claimed == (effect.p_value <= 1 - confidence)


def test_rounds_and_processes_that_disagree_about_the_direction_tell_nothing() -> None:
    """One long process is slower, the short ones are all faster: each alone is sure, together they contradict."""
    clusters = [np.full(400, 0.10), *(np.array([-0.11 - 1e-3 * k]) for k in range(20))]
    rounds, processes = paired_effect(np.concatenate(clusters)), across_invocations(of_invocations(clusters))
    assert rounds.low > 1.0 > processes.high
    effect = clustered_effect(clusters)
    assert decide(effect, 0.0) == "inconclusive"
    assert effect.p_value > 0.05


def test_processes_that_agree_to_the_last_digit() -> None:
    effect = clustered_effect([np.full(12, 0.05)] * 3)
    assert (effect.low, effect.high) == pytest.approx((math.exp(0.05), math.exp(0.05)))
    assert decide(effect, 0.01) == "regression"
    assert effect.p_value < 1e-6
    same = clustered_effect([np.zeros(12)] * 3)
    assert decide(same, 0.01) == "equivalent"
    assert same.p_value == 1.0


def test_two_processes_that_differ_widen_what_their_rounds_say() -> None:
    rounds = np.random.default_rng(4).normal(0.0, 1e-3, 24)
    clusters = [rounds[:12] - 0.03, rounds[12:] + 0.05]
    effect = clustered_effect(clusters)
    assert effect.low < 0.7 and effect.high > 1.4, "Student's t with one degree of freedom"
    assert decide(effect, 0.1) == "inconclusive"


def test_an_interval_that_is_open_stays_open() -> None:
    """Three rounds have no interval, however well the processes agree."""
    effect = clustered_effect([np.array([0.01]), np.array([0.0101]), np.array([0.0099])])
    assert not effect.finite
    assert (effect.low, effect.high) == (0.0, math.inf)


def test_what_is_wider_stays() -> None:
    wide = replace(paired_effect(np.linspace(0.0, 0.01, 20)), low=0.5, high=2.0, p_value=0.7)
    assert widened(wide, np.array([1.1, 1.11, 1.12])) == wide


# --- tails ------------------------------------------------------------------------------------------------------

Q = 0.9


def latencies(seed: int, factors: list[float], rounds: int = 20) -> list[Clusters]:
    """Draw the rounds of processes, each of which has a level of its own."""
    random = np.random.default_rng(seed)
    return [[factor * random.lognormal(0.0, 0.01, 30) for _ in range(rounds)] for factor in factors]


@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_the_tail_of_a_single_process_is_known_by_its_rounds_alone(margin: float) -> None:
    ours, theirs = latencies(1, [1.0]), latencies(2, [1.03])
    assert clustered_tail(ours, theirs, Q, 0.9, margin=margin) == tail_effect(
        ours[0], theirs[0], Q, confidence=0.9, margin=margin
    )


@pytest.mark.parametrize("margin", [0.0, 0.02])
@pytest.mark.parametrize("factors", [[1.03, 1.03, 1.03], [1.0, 1.05, 1.1]])
def test_the_interval_of_a_tail_holds_that_over_processes(factors: list[float], margin: float) -> None:
    ours, theirs = latencies(3, [1.0, 1.2, 0.9]), latencies(4, factors)
    pooled = [[quantile(np.concatenate(rounds), Q) for rounds in arm] for arm in (ours, theirs)]
    ratios = np.array(pooled[1]) / np.array(pooled[0])
    rounds = tail_effect(list(chain(*ours)), list(chain(*theirs)), Q, confidence=0.8, margin=margin)
    across = across_invocations(ratios, 0.8)
    effect = clustered_tail(ours, theirs, Q, 0.8, margin=margin)
    assert (effect.value, effect.n, effect.confidence) == (rounds.value, 60, 0.8)
    assert (effect.low, effect.high) == (min(rounds.low, across.low), max(rounds.high, across.high))
    assert effect == widened(rounds, ratios, margin=margin)


def test_a_tail_is_the_ratio_of_the_second_arm_to_the_first() -> None:
    ours = latencies(5, [1.0, 1.0, 1.0])
    theirs = [[1.1 * samples for samples in rounds] for rounds in ours]
    effect = clustered_tail(ours, theirs, Q, margin=0.01)
    assert (effect.low, effect.value, effect.high) == pytest.approx((1.1, 1.1, 1.1))
    assert decide(effect, 0.01) == "regression" and effect.p_value <= 0.05


@pytest.mark.parametrize("confidence", [0.95, 0.999, 1 - 0.05 / 500])
def test_a_tail_has_an_interval_at_the_level_of_a_large_family(confidence: float) -> None:
    ours, theirs = latencies(6, [1.0, 1.0, 1.0]), latencies(7, [1.5, 1.5, 1.5])
    effect = clustered_tail(ours, theirs, Q, confidence, margin=0.01)
    assert effect.finite
    one = clustered_tail(ours[:1], theirs[:1], Q, confidence, margin=0.01)
    assert one.p_value <= 1 - confidence, "all resamples are beyond the margin"


def test_tails_of_other_processes_are_refused() -> None:
    ours = latencies(8, [1.0, 1.0])
    with pytest.raises(ValueError, match="40 and 20 rounds"):
        clustered_tail(ours, ours[:1], Q)
    with pytest.raises(ValueError, match="zip"):
        clustered_tail(ours, [list(chain(*ours))], Q)


# --- simulation -------------------------------------------------------------------------------------------------

INVOCATIONS, ROUNDS, SESSIONS = 5, 12, 400


def sessions(between: float, seed: int, truth: float = 0.0) -> list[Clusters]:
    """Draw sessions: each process has a level of its own, and rounds around that."""
    random = np.random.default_rng(seed)
    levels = truth + between * random.standard_normal((SESSIONS, INVOCATIONS, 1))
    rounds = levels + 0.01 * random.standard_normal((SESSIONS, INVOCATIONS, ROUNDS))
    return [list(session) for session in rounds]


@pytest.mark.parametrize("between", [0.0, 0.003, 0.01, 0.03])
def test_the_truth_is_covered_however_much_processes_differ(between: float) -> None:
    covered = [(effect := clustered_effect(clusters)).low <= 1.0 <= effect.high for clusters in sessions(between, 11)]
    assert np.mean(covered) >= 0.93  # 95 %, and twice the error of 400 sessions


def test_rounds_alone_do_not_cover_it_where_processes_differ() -> None:
    """Why the interval is the hull: this one would call equal arms different in half of all sessions."""
    found = [paired_effect(np.concatenate(clusters)) for clusters in sessions(0.01, 12)]
    assert np.mean([effect.low <= 1.0 <= effect.high for effect in found]) < 0.7


def test_a_difference_is_found_where_processes_agree() -> None:
    found = [clustered_effect(clusters, margin=0.01) for clusters in sessions(0.001, 13, truth=math.log(1.03))]
    assert np.mean([decide(effect, 0.01) == "regression" for effect in found]) > 0.95
