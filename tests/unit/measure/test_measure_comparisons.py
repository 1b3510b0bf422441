"""What `benchfw ab` decides while it measures: verdicts, their rows, and when enough has been measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchfw.errors import WorkerCrashed
from benchfw.measure import comparisons
from benchfw.measure.comparisons import ROUNDS, Comparison, Criteria, Question
from benchfw.measure.record import Record
from benchfw.measure.settings import Settings
from benchfw.scenario.arms import Pair
from benchfw.scenario.plan import Cohort, Plan
from benchfw.stats import Effect

LEVEL_NS = 1e6
PAIR = Pair(cohort_id="batch4", baseline="a", control="control", candidate="b")


def question(*pairs: Pair, invocations: int = 2, limit_s: float = 1e9, **thresholds: float) -> Question:
    return Question(
        pairs=pairs or [PAIR],
        thresholds=thresholds or {"p50": 0.01},
        min_delta_ns=0.0,
        invocations=invocations,
        limit_s=limit_s,
    )


class Arms:
    """Makes the records of arms that take turns: what a round does to one of them, it does to all."""

    def __init__(self, members: Any, *, rounds: int = ROUNDS, n: int = 8) -> None:
        self.members = members
        self.rounds = rounds
        self.n = n

    def record(
        self, factor: float | Sequence[float], seed: int, *, noise: float = 1e-3, invocations: int = 2
    ) -> Record:
        factors = np.broadcast_to(factor, invocations)
        made = []
        for number in range(invocations):
            common = np.random.default_rng([7, number]).normal(0.0, 0.05, self.rounds)
            own = np.random.default_rng([seed, number]).normal(0.0, noise, self.rounds)
            levels = LEVEL_NS * factors[number] * np.exp(common + own)
            made.append(self.members.measured(levels.tolist(), number=number, spread=0.0, n=self.n))
        return self.members.record(*made)  # type: ignore[no-any-return]

    def of(
        self, candidate: float | Sequence[float], control: float | Sequence[float] = 1.0, **more: Any
    ) -> dict[str, Record]:
        factors = {"a": 1.0, "control": control, "b": candidate}
        return {name: self.record(factor, seed, **more) for seed, (name, factor) in enumerate(factors.items())}


@pytest.fixture
def arms(members: Any) -> Arms:
    return Arms(members)


def rows_of(asked: Question, records: Mapping[str, Record], cohort: str = "batch4") -> list[dict[str, Any]]:
    return asked.rows(cohort, records)


def verdict(asked: Question, records: Mapping[str, Record]) -> str:
    effect, control = rows_of(asked, records)
    assert (effect["role"], control["role"]) == ("effect", "control")
    return str(effect["verdict"])


# --- verdicts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(1.0, "equivalent"), (1.05, "regression"), (1 / 1.05, "improvement"), (1.01, "inconclusive")],
)
def test_a_difference_is_told_from_noise(arms: Arms, factor: float, expected: str) -> None:
    asked, records = question(), arms.of(factor)
    effect, control = rows_of(asked, records)
    assert effect["verdict"] == expected
    assert (effect["case_id"], effect["baseline"], effect["cohort"], effect["metric"]) == ("b", "a", "batch4", "p50")
    assert (control["case_id"], control["baseline"]) == ("control", "a")
    assert "verdict" not in control
    assert effect["n"] == control["n"] == 2 * ROUNDS
    assert effect["ratio"] == pytest.approx(factor, rel=2e-3)
    assert effect["ratio_low"] < effect["ratio"] < effect["ratio_high"]
    assert effect["case_ns"] / effect["baseline_ns"] == pytest.approx(factor, rel=0.02)
    assert effect["noise_floor"] == control["noise_floor"] > 0
    assert effect["margin"] == max(0.01, effect["noise_floor"])


def effect_of(low: float, high: float) -> Effect:
    return Effect(value=(low * high) ** 0.5, low=low, high=high, n=24, p_value=0.0, confidence=0.95)


QUIET, NOISY = effect_of(0.998, 1.002), effect_of(0.96, 1.04)


@pytest.mark.parametrize(
    ("effect", "control", "expected"),
    [
        (effect_of(1.02, 1.03), QUIET, "regression"),
        (effect_of(1.02, 1.03), NOISY, "inconclusive"),
        (effect_of(0.97, 0.98), NOISY, "inconclusive"),
        (effect_of(1.02, 1.05), NOISY, "inconclusive"),
        (effect_of(1.05, 1.06), NOISY, "regression"),
        (effect_of(0.94, 0.95), NOISY, "improvement"),
        (effect_of(0.998, 1.002), NOISY, "equivalent"),
        (effect_of(0.998, 1.02), NOISY, "inconclusive"),
        (effect_of(0.998, 1.02), QUIET, "inconclusive"),
        (effect_of(1.05, 1.06), effect_of(0.0, np.inf), "inconclusive"),
        (effect_of(0.998, 1.002), effect_of(0.0, np.inf), "equivalent"),
    ],
)
def test_a_difference_must_lie_beyond_the_noise_and_equality_within_the_threshold(
    effect: Effect, control: Effect, expected: str
) -> None:
    found = Comparison(effect=effect, control=control, threshold=0.01)
    assert found.verdict == expected


def test_a_baseline_that_differs_from_itself_is_no_measure(arms: Arms) -> None:
    """4 % slower is told from 1 %, but here the baseline is 5 % slower than itself."""
    (effect, _) = rows_of(question(), arms.of(1.04, control=1.05))
    assert effect["verdict"] == "inconclusive"
    assert effect["noise_floor"] > 0.04
    assert "the baseline may differ from itself" in effect["reason"]
    assert verdict(question(), arms.of(1.12, control=1.05)) == "regression"


def test_processes_that_differ_are_no_regression(arms: Arms) -> None:
    """Each process is 4 % or 0 % slower: rounds alone would be sure of it."""
    records = arms.of([1.04, 1.0, 1.05, 1.01], invocations=4)
    (effect, _) = rows_of(question(), records)
    assert effect["verdict"] == "inconclusive"
    assert effect["ratio_low"] < 1.01 < effect["ratio"]


def test_too_few_rounds_have_no_interval(members: Any) -> None:
    records = Arms(members, rounds=2).of(1.05)
    (effect, control) = rows_of(question(), records)
    assert (effect["verdict"], effect["ratio_low"], effect["ratio_high"]) == ("inconclusive", None, None)
    assert effect["reason"] == "4 rounds are too few for an interval"
    assert effect["noise_floor"] is None and effect["margin"] is None
    assert control["ratio_low"] is None


def test_what_is_less_than_the_least_difference_does_not_count(arms: Arms) -> None:
    asked = question()
    asked.min_delta_ns = 0.1 * LEVEL_NS
    assert verdict(asked, arms.of(1.05)) == "equivalent"
    assert verdict(asked, arms.of(1.15)) == "regression"


def test_tails_are_decided_over_whole_rounds(members: Any) -> None:
    made = Arms(members, n=120)
    asked = question(p99=0.03)
    assert verdict(asked, made.of(1.0)) == "equivalent"
    assert verdict(asked, made.of(1.10)) == "regression"
    effect, _ = rows_of(asked, made.of(1.10))
    assert effect["metric"] == "p99"
    assert effect["ratio"] == pytest.approx(1.10, rel=0.02)


def test_throughput_is_decided_by_the_time_per_inference(arms: Arms) -> None:
    """5 % less of it take 1 / 0.95 of the time, so 5.26 % more."""
    asked = question(throughput=0.05)
    effect, control = rows_of(asked, arms.of(1.10))
    assert (effect["metric"], effect["verdict"], control["role"]) == ("throughput", "regression", "control")
    assert effect["ratio"] == pytest.approx(1.10, rel=2e-3)
    assert verdict(asked, arms.of(1 / 1.10)) == "improvement"
    assert verdict(asked, arms.of(1.0515, noise=1e-5)) == "equivalent"
    assert verdict(asked, arms.of(1.0540, noise=1e-5)) == "regression"


def windowed(made: Record, members: Any, per_inference_ns: float, *, rounds: range = range(0, ROUNDS, 2)) -> Record:
    """Give a record windows of two inferences at once in some of its rounds; longer ones hold more inferences."""
    for member in made.all:
        member.depth = 2
        for round_ in rounds:
            n = 10 + round_
            member.blocks.append(members.window(round(n * per_inference_ns), n, round_=round_))
    return made


def test_throughput_at_a_depth_is_decided_by_the_windows(arms: Arms, members: Any) -> None:
    """By the blocks, the candidate is 10 % slower; by what the throughput is made of, it is 10 % faster."""
    records = arms.of(1.10)
    for name, factor in (("a", 1.0), ("control", 1.0), ("b", 1 / 1.10)):
        windowed(records[name], members, 0.5 * LEVEL_NS * factor)
    asked = question(p50=0.01, throughput=0.05)
    rows = {(row["metric"], row["role"]): row for row in rows_of(asked, records)}
    assert [rows[metric, "effect"]["verdict"] for metric in asked.thresholds] == ["regression", "improvement"]
    assert [rows["throughput", role]["n"] for role in ("effect", "control")] == [ROUNDS, ROUNDS], "6 of each process"
    assert rows["throughput", "effect"]["ratio"] == pytest.approx(1 / 1.10)
    levels = [rows["throughput", "effect"][side] for side in ("case_ns", "baseline_ns")]
    assert levels[0] / levels[1] == pytest.approx(1 / 1.10), "the time per inference, not the latency"
    assert rows["throughput", "control"]["ratio"] == pytest.approx(1.0)


@pytest.mark.parametrize(("deep", "ratio"), [(("a", "control"), 2.0), (("b",), 0.5)])
def test_arms_of_different_depths_are_compared_by_the_throughput_of_each(
    arms: Arms, members: Any, deep: tuple[str, ...], ratio: float
) -> None:
    records = arms.of(1.0)
    for name in deep:
        windowed(records[name], members, 0.5 * LEVEL_NS)
    effect, _ = rows_of(question(throughput=0.05), records)
    assert effect["n"] == ROUNDS, "of each process the 6 rounds in which both have one"
    assert effect["ratio"] == pytest.approx(ratio, rel=0.1)
    assert effect["verdict"] == ("regression" if ratio > 1 else "improvement")


def test_windows_of_different_rounds_are_not_compared(arms: Arms, members: Any) -> None:
    records = arms.of(1.0)
    for name in ("a", "control"):
        windowed(records[name], members, LEVEL_NS)
    windowed(records["b"], members, LEVEL_NS, rounds=range(1, ROUNDS, 2))
    effect, _ = rows_of(question(throughput=0.05), records)
    assert (effect["n"], effect["verdict"]) == (0, "inconclusive")


def test_arms_that_did_not_take_turns_are_not_compared(arms: Arms) -> None:
    """Where there was no memory for all of them at once, what the machine did meanwhile is in the ratio."""
    records = arms.of(1.05)
    records["b"].members[0].interleave = "session"
    (effect, control) = rows_of(question(), records)
    assert (effect["n"], control["n"]) == (ROUNDS, 2 * ROUNDS)
    for record in records.values():
        for member in record.all:
            member.interleave = "session"
    (effect, _) = rows_of(question(), records)
    assert (effect["n"], effect["verdict"]) == (0, "inconclusive")


def test_tails_of_a_large_family_have_an_interval(members: Any) -> None:
    """Its confidence is beyond what 2000 resamples know."""
    made = Arms(members, n=120)
    pairs = [PAIR, *(Pair(cohort_id="other", baseline="x", control="y", candidate="z"),) * 99]
    asked = question(*pairs, p99=0.03)
    effect, control = rows_of(asked, made.of(1.10, invocations=4))
    assert effect["confidence"] == 1 - 0.05 / 100
    assert effect["ratio_low"] is not None and control["ratio_low"] is not None
    assert effect["verdict"] == "regression"


def test_several_metrics_and_pairs_share_the_error(arms: Arms) -> None:
    second = Pair(cohort_id="batch8", baseline="x", control="y", candidate="z")
    asked = question(PAIR, second, p50=0.01, p99=0.05)
    rows = rows_of(asked, arms.of(1.0))
    assert [(row["metric"], row["role"]) for row in rows] == [
        (metric, role) for metric in ("p50", "p99") for role in ("effect", "control")
    ]
    assert {row["confidence"] for row in rows} == {1 - 0.05 / 4}
    assert rows_of(asked, arms.of(1.0), "batch8") == []


# --- failures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ["a", "control", "b"])
def test_an_arm_that_failed_is_compared_with_nothing(arms: Arms, arm: str) -> None:
    asked, records = question(), arms.of(1.05)
    records[arm].last.fail(WorkerCrashed("signal 11"))
    assert rows_of(asked, records) == []
    assert asked.settled("batch4", records, 2), "more of it would tell nothing"


def test_an_arm_that_was_not_measured_is_compared_with_nothing(arms: Arms) -> None:
    records = arms.of(1.05)
    del records["b"]
    assert rows_of(question(), records) == []


def test_rounds_that_only_one_arm_has_do_not_count(arms: Arms) -> None:
    """A case that was measured again in rounds of its own has nothing beside it there."""
    records = arms.of(1.05)
    for block in records["b"].members[0].measured:
        block.round += ROUNDS
    (effect, control) = rows_of(question(), records)
    assert (effect["n"], control["n"]) == (ROUNDS, 2 * ROUNDS)
    for block in records["b"].members[1].measured:
        block.round += ROUNDS
    (effect, _) = rows_of(question(), records)
    assert (effect["n"], effect["verdict"]) == (0, "inconclusive")


# --- enough -----------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(comparisons, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


def test_there_are_as_many_invocations_as_were_asked_for(arms: Arms, clock: Clock) -> None:
    asked, decided = question(invocations=4, limit_s=10.0), arms.of(1.05, invocations=4)
    assert not asked.settled("batch4", {}, 0)
    clock.now += 1000.0  # the time is over, but so few say nothing of the next process
    assert [asked.settled("batch4", decided, number) for number in (1, 2, 3)] == [False] * 3
    assert asked.settled("batch4", decided, 4)


def test_invocations_grow_by_a_third_between_looks(arms: Arms, clock: Clock) -> None:
    """Whoever looks after each one finds a difference in the end, where there is none."""
    asked, open_, decided = question(invocations=5), arms.of(1.01), arms.of(1.05)
    assert not asked.settled("batch4", open_, 5)
    assert not asked.settled("batch4", decided, 6), "it is not looked at"
    assert not asked.settled("batch4", open_, 7)
    assert [asked.settled("batch4", decided, number) for number in (8, 9)] == [False, False]
    assert asked.settled("batch4", decided, 10)


def test_what_is_undecided_ends_with_its_time(arms: Arms, clock: Clock) -> None:
    asked, open_ = question(limit_s=60.0), arms.of(1.01)
    assert not asked.settled("batch4", {}, 0)
    clock.now += 59.0
    assert not asked.settled("batch4", open_, 2)
    clock.now += 2.0
    assert asked.settled("batch4", open_, 3)


def test_each_cohort_has_a_time_of_its_own(arms: Arms, clock: Clock) -> None:
    other = Pair(cohort_id="batch8", baseline="a", control="control", candidate="b")
    asked, open_ = question(PAIR, other, limit_s=60.0), arms.of(1.01)
    asked.settled("batch4", {}, 0)
    clock.now += 61.0
    assert asked.settled("batch4", open_, 2)
    assert not asked.settled("batch8", {}, 0)
    assert not asked.settled("batch8", open_, 2)


def test_one_undecided_pair_is_enough_to_go_on(arms: Arms, clock: Clock) -> None:
    other = Pair(cohort_id="batch4", baseline="x", control="y", candidate="z")
    asked = question(PAIR, other)
    names = dict(zip(("a", "control", "b"), ("x", "y", "z"), strict=True))
    records = arms.of(1.05) | {names[name]: record for name, record in arms.of(1.01).items()}
    assert not asked.settled("batch4", records, 2)


def settings(*, budget_s: float | None = None, **limits: Any) -> Settings:
    return Settings(effort="quick", budget_s=budget_s, interleave="all", threads=1, seed=0, limits=limits)


def test_arms_take_turns_in_two_processes_at_least() -> None:
    made = Criteria(thresholds={"p50": 0.01}).settings(replace(settings(invocations=1), interleave="off"))
    assert (made.interleave, made.rule.invocations) == ("all", 2)
    more = Criteria(thresholds={"p50": 0.01}).settings(settings(invocations=7, max_time=3.0))
    assert (more.rule.invocations, more.rule.max_time) == (7, 3.0)


def test_the_budget_is_shared_by_the_cohorts(members: Any) -> None:
    case = members.case(members.FIXED)
    plan = Plan(cohorts=tuple(Cohort(cohort_id=name, cases=(case,) * 3) for name in ("batch4", "batch8")))
    criteria = Criteria(thresholds={"p50": 0.02, "p99": 0.1}, min_delta_ns=5.0)
    asked = criteria.question([PAIR], settings(budget_s=60.0, invocations=7), plan)
    assert (asked.limit_s, asked.invocations, asked.min_delta_ns) == (30.0, 7, 5.0)
    assert asked.thresholds == {"p50": 0.02, "p99": 0.1}
    assert criteria.question([PAIR], settings(max_time=4.0, invocations=7), plan).limit_s == 12.0
