"""What two cases are compared by: the rounds in which they took turns, or their invocations. Never iterations alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchfw.analysis.pairs import Pair
from benchfw.analysis.runs import Floats, Place, Row, Run, positive
from benchfw.stats import (
    Effect,
    across_invocations,
    clustered_effect,
    clustered_tail,
    quantile,
    shift_effect,
)

MIN_INVOCATIONS = 5
"""Invocations of each side that a comparison between runs needs for an interval."""


@dataclass(frozen=True)
class Metric:
    """What is compared.

    Attributes:
        name: As on the command line.
        column: Its column in `cases` and `invocations`.
        more_is_better: Whether a larger value is the better one.
    """

    name: str
    column: str
    more_is_better: bool = False


METRICS = {
    "p50": Metric("p50", "latency_p50_ns"),
    "p99": Metric("p99", "latency_p99_ns"),
    "throughput": Metric("throughput", "throughput_samples_s", more_is_better=True),
}

Estimate = Callable[[float, float], Effect]
"""From a confidence and a margin to an effect."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """How much slower a case is than its baseline: above 1 is worse, whatever the metric.

    Attributes:
        slowdown: The ratio.
        level: What it was taken from: `round` or `invocation`.
        n, n_baseline: How many of them.
        lack: Why there is no interval; None if there may be one.
    """

    slowdown: float
    level: str
    n: int
    n_baseline: int
    lack: str | None = None
    _estimate: Estimate = field(repr=False)

    def effect(self, confidence: float, margin: float = 0.0) -> Effect:
        """Return the slowdown with its interval; margin as of the functions of `benchfw.stats`."""
        if self.lack is None:
            return self._estimate(confidence, margin)
        return Effect(value=self.slowdown, low=0.0, high=math.inf, n=self.n, p_value=1.0, confidence=confidence)


def value_of(row: Row | None, metric: Metric) -> float | None:
    """Return the number that the row of a case has, in nanoseconds or samples per second."""
    return positive((row or {}).get(metric.column))


def evidence(pair: Pair, metric: Metric) -> Evidence | str:
    """Return what a pair is compared by, or why there is nothing; both cases are there and `OK`."""
    assert pair.case is not None
    assert pair.baseline is not None
    ids = str(pair.baseline.get("case_id")), str(pair.case.get("case_id"))
    if pair.took_turns:
        found = _paired(pair.run, *ids, metric)
        if found is not None:
            return found
    if pair.of_arms:  # what the machine did between them would be taken for their difference
        return "the arms did not take turns: there was no memory for all of them at once, or a worker was lost"
    for row, where in ((pair.baseline, "baseline"), (pair.case, "case")):
        if value_of(row, metric) is None:
            return f"the {where} has no {metric.name}" + (": too few samples" if metric.name == "p99" else "")
    return _unpaired(pair, *ids, metric)


def control_effect(pair: Pair, metric: Metric, confidence: float) -> Effect | None:
    """Return how much the baseline differs from itself in the same rounds, where that was measured."""
    if pair.control is None or pair.baseline is None or pair.control.get("status") != "OK":
        return None
    ids = str(pair.baseline.get("case_id")), str(pair.control.get("case_id"))
    found = _paired(pair.run, *ids, metric)
    return found.effect(confidence) if found else None


def _paired(run: Run, baseline: str, case: str, metric: Metric) -> Evidence | None:
    """Compare two cases of one run by their common rounds; None if they have none."""
    if metric.name == "p99":
        return _paired_tails(run, baseline, case)
    value = run.rates if metric.more_is_better else run.medians
    a, b = value(baseline), value(case)
    common = sorted(a.keys() & b.keys())
    if not common:
        return None
    sign = -1.0 if metric.more_is_better else 1.0
    logs = _by_invocation(common, [sign * math.log(b[place] / a[place]) for place in common])

    def estimate(confidence: float, margin: float) -> Effect:
        return clustered_effect(logs, confidence, margin=margin)

    value_only = estimate(0.5, 0.0).value
    return _of(value_only, "round", len(common), len(common), estimate)


def _clusters(common: Sequence[Place]) -> list[list[Place]]:
    """Return the rounds of each invocation."""
    found: dict[object, list[Place]] = {}
    for place in common:
        found.setdefault(place[0], []).append(place)
    return list(found.values())


def _by_invocation(common: Sequence[Place], values: Sequence[float]) -> list[Floats]:
    known = dict(zip(common, values, strict=True))
    return [np.array([known[place] for place in places]) for places in _clusters(common)]


def _paired_tails(run: Run, baseline: str, case: str) -> Evidence | None:
    a, b = run.latencies(baseline), run.latencies(case)
    common = sorted(a.keys() & b.keys())
    if not common:
        return None
    ours, theirs = ([[arm[place] for place in places] for places in _clusters(common)] for arm in (a, b))

    def estimate(confidence: float, margin: float) -> Effect:
        return clustered_tail(ours, theirs, 0.99, confidence, margin=margin)

    tails = [quantile(np.concatenate([arm[place] for place in common]), 0.99) for arm in (a, b)]
    value = tails[1] / tails[0]
    return _of(value, "round", len(common), len(common), estimate)


def _unpaired(pair: Pair, baseline: str, case: str, metric: Metric) -> Evidence:
    """Compare two cases by their invocations."""
    a = pair.baseline_run.of_invocations(baseline, metric.column)
    b = pair.run.of_invocations(case, metric.column)
    if metric.more_is_better:
        ratio, arms = across_invocations(a).value / across_invocations(b).value, (b, a)
    else:
        ratio, arms = across_invocations(b).value / across_invocations(a).value, (a, b)
    few = min(len(a), len(b)) < MIN_INVOCATIONS

    def estimate(confidence: float, margin: float) -> Effect:
        return shift_effect(*arms, confidence, margin=margin)

    lack = f"{len(b)} and {len(a)} invocations, {MIN_INVOCATIONS} of each are needed" if few else None
    value = ratio if few else estimate(0.5, 0.0).value
    return _of(value, "invocation", len(b), len(a), estimate, lack)


def _of(slowdown: float, level: str, n: int, n_baseline: int, estimate: Estimate, lack: str | None = None) -> Evidence:
    return Evidence(slowdown=slowdown, level=level, n=n, n_baseline=n_baseline, lack=lack, _estimate=estimate)
