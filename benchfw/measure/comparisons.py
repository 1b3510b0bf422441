"""What `benchfw ab` decides: whether the candidate differs from the baseline, and when enough has been measured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchfw.measure.blocks import Block
from benchfw.measure.record import Record
from benchfw.measure.settings import Settings
from benchfw.scenario import Plan
from benchfw.scenario.arms import Pair
from benchfw.stats import ALPHA, Effect, clustered_effect, clustered_tail, decide, noise_floor, quantile, time_margin

ROUNDS = 12
"""Of each invocation: the three arms of one pair stand in every place four times."""

MIN_INVOCATIONS = 2
"""One process says nothing of the next one."""

QUANTILES = {"p50": 0.5, "p99": 0.99, "throughput": None}
"""Of the latency; None for the throughput."""
_GROWTH = 1.3
"""Invocations must have grown by this factor between looks."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One pair and one metric.

    Attributes:
        effect: The candidate over the baseline.
        control: The baseline over itself.
        threshold: Relative difference that counts, of times.
    """

    effect: Effect
    control: Effect
    threshold: float

    @property
    def floor(self) -> float:
        return noise_floor(self.control)

    @property
    def margin(self) -> float:
        """Below it a difference cannot be told from what the baseline differs from itself."""
        return max(self.threshold, self.floor)

    @property
    def verdict(self) -> str:
        """The verdict: a difference must exceed the noise floor too; equality holds within the threshold alone."""
        verdict = decide(self.effect, self.margin)
        if verdict == "equivalent" and decide(self.effect, self.threshold) != "equivalent":
            return "inconclusive"
        return verdict


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """What counts as a difference.

    Attributes:
        thresholds: Relative difference that counts, by metric: `p50`, `p99`.
        min_delta_ns: Absolute difference below which nothing counts.
    """

    thresholds: Mapping[str, float]
    min_delta_ns: float = 0.0

    def settings(self, settings: Settings) -> Settings:
        """Return settings in which arms take turns, in at least two processes each."""
        limits = {**settings.limits, "invocations": max(MIN_INVOCATIONS, settings.rule.invocations)}
        return replace(settings, interleave="all", limits=limits)

    def question(self, pairs: Sequence[Pair], settings: Settings, plan: Plan) -> Question:
        """Return the question of a run. Each cohort has its share of the budget, or what its cases may take."""
        cohorts = max(1, len(plan.cohorts))
        longest = settings.rule.max_time * max((len(cohort.cases) for cohort in plan.cohorts), default=1)
        return Question(
            pairs=pairs,
            thresholds=self.thresholds,
            min_delta_ns=self.min_delta_ns,
            invocations=settings.rule.invocations,
            limit_s=longest if settings.budget_s is None else settings.budget_s / cohorts,
        )


@dataclass
class Question:
    """What is asked of two arms.

    Attributes:
        pairs: What is compared with what.
        thresholds: Relative difference that counts, by metric: `p50`, `p99`.
        min_delta_ns: Absolute difference below which nothing counts.
        invocations: Processes per arm, at least.
        limit_s: Time for one cohort, at most, once there are so many.
    """

    pairs: Sequence[Pair]
    thresholds: Mapping[str, float]
    min_delta_ns: float
    invocations: int
    limit_s: float
    _looked_at: dict[str, int] = field(default_factory=dict)
    _begun: dict[str, float] = field(default_factory=dict)

    def settled(self, cohort_id: str, records: Mapping[str, Record], number: int) -> bool:
        """Say after `number` invocations whether a cohort needs no more of them."""
        begun = self._begun.setdefault(cohort_id, time.monotonic())
        if number < self.invocations:
            return False
        out_of_time = time.monotonic() - begun >= self.limit_s
        if not out_of_time and number < _GROWTH * self._looked_at.get(cohort_id, 0):
            return False
        self._looked_at[cohort_id] = number
        found = [row["verdict"] for row in self.rows(cohort_id, records) if row["role"] == "effect"]
        return out_of_time or "inconclusive" not in found

    def rows(self, cohort_id: str, records: Mapping[str, Record]) -> list[dict[str, Any]]:
        """Return the rows of `comparisons` of a cohort: of each pair and metric its effect and its control."""
        rows = []
        for pair in self.pairs:
            if pair.cohort_id != cohort_id:
                continue
            members = [records.get(name) for name in (pair.baseline, pair.control, pair.candidate)]
            if any(record is None or record.failure for record in members):
                continue
            baseline, control, candidate = (record for record in members if record is not None)
            for metric in self.thresholds:
                rows += self._rows(pair, metric, baseline, control, candidate)
        return rows

    def _rows(
        self, pair: Pair, metric: str, baseline: Record, control: Record, candidate: Record
    ) -> list[dict[str, Any]]:
        confidence = 1.0 - ALPHA / (len(self.pairs) * len(self.thresholds))
        q = QUANTILES[metric]
        level = _level(baseline, q)
        if level is None:
            return []
        limit = self.thresholds[metric]
        comparison = Comparison(
            effect=_effect(baseline, candidate, q, confidence),
            control=_effect(baseline, control, q, confidence),
            threshold=time_margin(limit) if q is None else max(limit, self.min_delta_ns / level),
        )
        labels = {"cohort": pair.cohort_id, "baseline": pair.baseline, "metric": metric, "confidence": confidence}
        return [
            {
                **labels,
                **_columns(comparison.effect),
                "case_id": pair.candidate,
                "role": "effect",
                "baseline_ns": level,
                "case_ns": _level(candidate, q),
                "margin": _finite(comparison.margin),
                "noise_floor": _finite(comparison.floor),
                "verdict": comparison.verdict,
                "reason": _reason(comparison),
            },
            {
                **labels,
                **_columns(comparison.control),
                "case_id": pair.control,
                "role": "control",
                "baseline_ns": level,
                "case_ns": _level(control, q),
                "noise_floor": _finite(comparison.floor),
            },
        ]


def _rounds(baseline: Record, other: Record, *, windows: bool) -> list[list[tuple[Block, Block]]]:
    """Return the blocks of both in every round in which both took their turn, by invocation.

    With `windows` it is what the throughput of each is made of: its windows, which every other round has, or the
    blocks of one whose depth is 1.
    """
    clusters = []
    for number, member in baseline.members.items():
        theirs = other.members.get(number)
        if theirs is None or {member.interleave, theirs.interleave} != {"all"}:
            continue
        ours, others = ((side.windows if windows else side.measured) for side in (member, theirs))
        by_round = {block.round: block for block in others}
        clusters.append([(block, by_round[block.round]) for block in ours if block.round in by_round])
    return [cluster for cluster in clusters if cluster]


def _effect(baseline: Record, other: Record, q: float | None, confidence: float) -> Effect:
    """Return how much longer the other one takes, by a quantile of its latency, or per inference of its throughput."""
    clusters = _rounds(baseline, other, windows=q is None)
    if not clusters:
        return Effect(value=float("nan"), low=0.0, high=float("inf"), n=0, p_value=1.0, confidence=confidence)
    if q is None or q == 0.5:
        time = _per_inference if q is None else _median
        return clustered_effect(
            [np.array([np.log(time(b) / time(a)) for a, b in cluster]) for cluster in clusters], confidence
        )
    ours, theirs = (
        [[pair[side].latencies.astype(np.float64) for pair in cluster] for cluster in clusters] for side in (0, 1)
    )
    return clustered_tail(ours, theirs, q, confidence)


def _median(block: Block) -> float:
    return float(np.median(block.latencies))


def _per_inference(block: Block) -> float:
    return block.duration_ns / (block.n - block.rewarm)


def _level(record: Record, q: float | None) -> float | None:
    """Return a quantile of all latencies of the rounds, or the median time per inference of all windows, in ns."""
    if q is None:
        times = [_per_inference(window) for member in record.all for window in member.windows]
        return float(np.median(times)) if times else None
    blocks = [block.latencies for member in record.all for block in member.measured]
    return quantile(np.concatenate(blocks), q) if blocks else None


def _columns(effect: Effect) -> dict[str, Any]:
    return {
        "n": effect.n,
        "ratio": effect.value,
        "ratio_low": effect.low if effect.finite else None,
        "ratio_high": effect.high if effect.finite else None,
        "p_value": effect.p_value,
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _reason(comparison: Comparison) -> str:
    effect, verdict = comparison.effect, comparison.verdict
    if not effect.finite:
        return f"{effect.n} rounds are too few for an interval"
    interval = f"[{effect.low - 1:+.2%}, {effect.high - 1:+.2%}]"
    limit = f"±{comparison.margin:.2%}"
    noise = ", which is how much the baseline may differ from itself" if comparison.floor > comparison.threshold else ""
    if verdict == "inconclusive":
        return f"{interval} is neither within ±{comparison.threshold:.2%} nor beyond {limit}{noise}"
    where = f"within ±{comparison.threshold:.2%}" if verdict == "equivalent" else f"beyond {limit}{noise}"
    return f"{interval} lies {where}"
