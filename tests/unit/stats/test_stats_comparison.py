"""Effects, verdicts and families; coverage, false verdicts and power are in test_stats_proof."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.stats import (
    Effect,
    decide,
    geometric_mean,
    holm,
    holm_confidences,
    noise_floor,
    paired_effect,
    quantile,
    shift_effect,
    tail_effect,
    time_margin,
)
from benchfw.stats.comparison import resampled_quantiles
from benchfw.stats.ranks import mann_whitney, signed_rank, walsh_ranked

RATIOS = st.lists(st.floats(-0.5, 0.5).map(lambda x: round(x, 6)), min_size=1, max_size=30)
MEDIANS = st.lists(st.integers(50, 200).map(float), min_size=1, max_size=9)


def _effect(low: float, high: float, p_value: float = 1.0) -> Effect:
    return Effect(
        value=math.sqrt(max(low, 0.1) * min(high, 10)), low=low, high=high, n=20, p_value=p_value, confidence=0.95
    )


# --- null distributions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 4, 9])
def test_signed_ranks_against_all_signs(n: int) -> None:
    sums = [sum(np.flatnonzero(signs) + 1) for signs in itertools.product([0, 1], repeat=n)]
    for count in range(n * (n + 1) // 2 + 1):
        assert signed_rank(n).at_most(count) == pytest.approx(np.mean(np.array(sums) <= count))


@pytest.mark.parametrize(("a", "b"), [(1, 1), (3, 5), (5, 3), (4, 4)])
def test_mann_whitney_against_all_orders(a: int, b: int) -> None:
    counts = [
        sum(position - place for place, position in enumerate(places))
        for places in itertools.combinations(range(a + b), a)
    ]
    for count in range(a * b + 1):
        assert mann_whitney(a, b).at_most(count) == pytest.approx(np.mean(np.array(counts) <= count))


def test_beyond_the_exact_sizes_the_normal_distribution_takes_over_smoothly() -> None:
    for tail in (0.1, 0.025, 0.001):
        exact, normal = signed_rank(50).skipped(tail) / (50 * 51), signed_rank(51).skipped(tail) / (51 * 52)
        assert normal == pytest.approx(exact, abs=0.004)
        exact, normal = mann_whitney(28, 28).skipped(tail) / 28**2, mann_whitney(29, 29).skipped(tail) / 29**2
        assert normal == pytest.approx(exact, abs=0.006)


def test_averages_by_counting_are_those_by_forming_them() -> None:
    ordered = np.sort(np.random.default_rng(1).normal(size=1001))
    direct = np.sort(np.add.outer(ordered, ordered)[np.triu_indices(1001)] / 2)
    ranks = [1, 1000, 250_000, len(direct)]
    assert walsh_ranked(ordered, ranks) == pytest.approx([direct[rank - 1] for rank in ranks], rel=1e-12)


# --- paired -----------------------------------------------------------------------------------------------------


def test_a_paired_effect_by_hand() -> None:
    """Five rounds have no 95 % interval, six have that of the extremes."""
    assert not paired_effect(np.arange(5.0)).finite
    effect = paired_effect(np.log([1.01, 1.02, 1.03, 1.04, 1.05, 1.06]))
    assert (effect.low, effect.high) == pytest.approx((1.01, 1.06))
    assert effect.p_value == pytest.approx(2 / 2**6)
    assert effect.value == pytest.approx(1.035, abs=1e-3)
    assert effect.percent == pytest.approx(3.5, abs=0.1)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(RATIOS, st.floats(-0.5, 0.5).map(lambda x: round(x, 6)))
def test_paired_effects_are_equivariant(ratios: list[float], shift: float) -> None:
    x = np.array(ratios)
    effect, shifted, swapped = paired_effect(x), paired_effect(x + shift), paired_effect(-x)
    assert shifted.value == pytest.approx(effect.value * math.exp(shift))
    assert shifted.low == pytest.approx(effect.low * math.exp(shift))
    assert shifted.high == pytest.approx(effect.high * math.exp(shift))
    assert swapped.value == pytest.approx(1 / effect.value)
    assert swapped.p_value == pytest.approx(effect.p_value)
    assert effect.low <= effect.value * (1 + 1e-12) and effect.value <= effect.high * (1 + 1e-12)
    if effect.finite:
        assert swapped.low == pytest.approx(1 / effect.high)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(RATIOS, st.floats(0.5, 0.999), st.sampled_from([0.0, 0.01, 0.1]))
def test_p_values_agree_with_paired_intervals(ratios: list[float], confidence: float, margin: float) -> None:
    effect = paired_effect(np.array(ratios) + 0.1234567, confidence, margin=margin)
    claimed = decide(effect, margin) in ("regression", "improvement")
    assert claimed == (effect.p_value <= 1 - confidence)


def test_many_rounds_are_quick() -> None:
    ratios = np.random.default_rng(2).normal(0.01, 0.01, 20_000)
    begin = time.process_time()
    effect = paired_effect(ratios)
    assert time.process_time() - begin < 3.0  # about 0.2 s
    assert effect.low < math.exp(0.01) < effect.high and effect.half_width < 2e-4


# --- shift ------------------------------------------------------------------------------------------------------


def test_shifts_need_enough_invocations() -> None:
    arms = np.arange(1.0, 4.0), np.arange(10.0, 13.0)
    assert not shift_effect(*arms).finite
    assert shift_effect(np.arange(1.0, 5.0), np.arange(10.0, 14.0)).finite
    assert not shift_effect(np.arange(1.0, 5.0), np.arange(10.0, 14.0), 0.99).finite
    assert shift_effect(*arms).p_value == pytest.approx(2 / 20)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(MEDIANS, MEDIANS, st.floats(0.5, 2.0))
def test_shifts_are_equivariant(a: list[float], b: list[float], factor: float) -> None:
    effect, scaled = shift_effect(np.array(a), np.array(b)), shift_effect(np.array(a), factor * np.array(b))
    swapped = shift_effect(np.array(b), np.array(a))
    assert scaled.value == pytest.approx(factor * effect.value)
    assert swapped.value == pytest.approx(1 / effect.value)
    assert swapped.p_value == pytest.approx(effect.p_value)
    assert effect.n == min(len(a), len(b))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(MEDIANS, MEDIANS, st.floats(0.5, 0.999), st.sampled_from([0.0, 0.01, 0.1]))
def test_p_values_agree_with_shifts(a: list[float], b: list[float], confidence: float, margin: float) -> None:
    effect = shift_effect(np.array(a), 1.000321 * np.array(b), confidence, margin=margin)
    claimed = decide(effect, margin) in ("regression", "improvement")
    assert claimed == (effect.p_value <= 1 - confidence)


# --- tails ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.001, 0.5, 0.99, 0.999])
def test_resampled_quantiles_are_those_of_the_drawn_rounds(q: float) -> None:
    random = np.random.default_rng(3)
    rounds = [np.round(random.lognormal(0, 0.02, random.integers(1, 60)), 2) for _ in range(12)]
    weights = random.multinomial(12, np.full(12, 1 / 12), 100)
    wanted = [quantile(np.concatenate([rounds[i] for i in np.repeat(np.arange(12), row)]), q) for row in weights]
    assert resampled_quantiles(rounds, weights, q).tolist() == wanted


def test_tails_keep_what_a_round_does_to_both_arms() -> None:
    random = np.random.default_rng(4)
    a = [level * random.lognormal(0, 0.01, 200) for level in random.lognormal(0, 0.2, 30)]
    effect = tail_effect(a, [1.05 * samples for samples in a], 0.99)
    assert (effect.low, effect.value, effect.high) == pytest.approx((1.05, 1.05, 1.05))
    assert effect == tail_effect(a, [1.05 * samples for samples in a], 0.99)
    assert effect.p_value == pytest.approx(2 / 2001)


@pytest.mark.parametrize(("rounds", "per_round", "q"), [(19, 200, 0.5), (30, 60, 0.99), (5, 5, 0.5)])
def test_tails_of_too_little_are_open(rounds: int, per_round: int, q: float) -> None:
    random = np.random.default_rng(5)
    a, b = (list(random.lognormal(0, 0.01, (rounds, per_round))) for _ in range(2))
    effect = tail_effect(a, b, q)
    assert not effect.finite and (effect.low, effect.high, effect.p_value) == (0.0, math.inf, 1.0)


def test_tails_need_resamples_for_their_confidence() -> None:
    arm = list(np.random.default_rng(6).lognormal(0, 0.01, (20, 200)))
    assert tail_effect(arm, arm, 0.9, confidence=0.999).low > 0
    assert not tail_effect(arm, arm, 0.9, confidence=0.9999).finite


def test_tails_of_unequal_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1 rounds"):
        tail_effect([np.ones(3), np.ones(3)], [np.ones(3)], 0.99)


@pytest.mark.parametrize(("loss", "margin"), [(0.0, 0.0), (0.05, 1 / 19), (0.2, 0.25), (0.5, 1.0)])
def test_a_loss_of_throughput_is_an_increase_of_time(loss: float, margin: float) -> None:
    assert time_margin(loss) == pytest.approx(margin)


def test_tails_of_many_samples_are_quick() -> None:
    a, b = (list(np.random.default_rng(seed).lognormal(0, 0.02, (200, 1000))) for seed in (7, 8))
    begin = time.process_time()
    assert tail_effect(a, b, 0.99).finite
    assert time.process_time() - begin < 3.0  # about 0.3 s


# --- verdicts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.011, 1.02, "regression"),
        (1.009, 1.02, "inconclusive"),
        (0.97, 0.99, "improvement"),
        (0.97, 0.995, "inconclusive"),
        (0.995, 1.009, "equivalent"),
        (1.001, 1.009, "equivalent"),
        (0.98, 1.02, "inconclusive"),
        (0.0, math.inf, "inconclusive"),
    ],
)
def test_verdicts(low: float, high: float, verdict: str) -> None:
    assert decide(_effect(low, high), 0.01) == verdict


@settings(max_examples=200, deadline=None, derandomize=True)
@given(RATIOS, st.sampled_from([0.0, 0.005, 0.01, 0.1]))
def test_swapping_the_arms_swaps_the_verdict(ratios: list[float], margin: float) -> None:
    swap = {"regression": "improvement", "improvement": "regression"}
    verdict = decide(paired_effect(np.array(ratios) + 1.234e-7), margin)
    assert decide(paired_effect(-np.array(ratios) - 1.234e-7), margin) == swap.get(verdict, verdict)


def test_noise_floor_is_the_far_end_of_the_interval() -> None:
    assert noise_floor(_effect(0.98, 1.01)) == pytest.approx(1 / 0.98 - 1)
    assert noise_floor(_effect(0.999, 1.01)) == pytest.approx(0.01)
    assert noise_floor(_effect(0.0, math.inf)) == math.inf


def test_geometric_mean() -> None:
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert geometric_mean([paired_effect(np.log([2.0])), 8.0]) == pytest.approx(4.0)
    with pytest.raises(ValueError, match="no ratios"):
        geometric_mean([])


# --- families ---------------------------------------------------------------------------------------------------

P_VALUES = st.lists(st.floats(0.0, 1.0), max_size=12)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == [] and holm_confidences([]) == []
    assert holm_confidences([0.01, 0.04, 0.03]) == pytest.approx([1 - 0.05 / 3, 0.975, 0.975])
    assert holm_confidences([0.001, 0.002]) == pytest.approx([0.975, 0.95])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(P_VALUES)
def test_holm_lies_between_no_correction_and_bonferroni_in_any_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= a <= min(1.0, p * len(p_values)) for p, a in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=lambda i: (i * 7919) % 13)
    assert holm([p_values[i] for i in order]) == [adjusted[i] for i in order]
    by_p = sorted(zip(p_values, adjusted, strict=True))
    assert [a for _, a in by_p] == sorted(adjusted)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(P_VALUES)
def test_confidences_agree_with_holm(p_values: list[float]) -> None:
    rejected = [adjusted <= 0.05 for adjusted in holm(p_values)]
    confidences = holm_confidences(p_values, 0.05)
    assert [p <= 1 - c for p, c in zip(p_values, confidences, strict=True)] == rejected
    assert all(0.95 <= c <= 1 - 0.05 / len(p_values) + 1e-12 for c in confidences)
