"""The gate: has anything become slower than it may? One family of hypotheses, declared before a number is looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchfw.analysis.compare import forced_of, labels_of
from benchfw.analysis.evidence import METRICS, MIN_INVOCATIONS, Evidence, Metric, control_effect, evidence, value_of
from benchfw.analysis.pairs import NOT_MEASURED, Pair, across, arms
from benchfw.analysis.runs import Row, one_run
from benchfw.analysis.thresholds import check_duration_ns, check_fail_on
from benchfw.errors import UsageError
from benchfw.stats import ALPHA, Effect, decide, holm, holm_confidences, noise_floor, time_margin

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = ("REGRESSION", "INCONCLUSIVE", "NOT_COMPARABLE", "IMPROVED", "PASS")
"""All verdicts, those that matter most first."""

COLUMNS = {
    "verdict": "`PASS`, `REGRESSION`, `IMPROVED`, `INCONCLUSIVE` or `NOT_COMPARABLE`.",
    "reason": "Why, in a sentence.",
    "metric": "`p50` or `p99` of the latency, or `throughput`.",
    "in_family": "Whether the verdict counts; cases that the baseline did not measure are shown and do not.",
    "run_id": "Run of the case.",
    "case_id": "The case.",
    "baseline_run_id": "Run of its baseline.",
    "baseline_case_id": "Its baseline; null for a new case.",
    "cohort": "Point of the sweep.",
    "name": "Name of the case's backend.",
    "precision": "Its precision.",
    "profile": "Its artifact: `static`, `dynamic` or `any`.",
    "batch": "Size of the axis `batch`.",
    "shape": "Sizes of all axes, as JSON.",
    "value": "What the case measured, in nanoseconds or samples per second.",
    "baseline_value": "What its baseline measured.",
    "change": "Relative change of the metric; 0.02 is 2 % more latency, or 2 % more throughput.",
    "change_low": "Lower end of its interval; null if there is none.",
    "change_high": "Upper end of it.",
    "limit": "Change beyond which it is a regression; negative for a throughput.",
    "limit_from": "Where the limit comes from: `fail-on`, `min-delta` or `noise floor`.",
    "noise_floor": "Relative difference that the baseline may have to itself; null where that was not measured.",
    "confidence": "Of the interval; all intervals of the family hold together with 95 %.",
    "p_value": "Of the hypothesis that the change is within the limit.",
    "p_adjusted": "The same for the whole family, by Holm.",
    "level": "What it was taken from: `round` or `invocation`.",
    "n": "Rounds, or invocations of the case.",
    "n_baseline": "Rounds, or invocations of the baseline.",
    "accuracy": "Of the case's outputs: `pass`, `warn` or `fail`.",
    "rel_l2": "Their largest relative L2 distance to the reference.",
    "status": "Of the case; null if it is missing.",
    "case_verdict": "Verdict of the case's measurement.",
    "verdict_reason": "Its reason.",
    "baseline_status": "Status of the baseline.",
    "baseline_case_verdict": "Verdict of the baseline's measurement.",
    "baseline_verdict_reason": "Its reason.",
    "differs": "Labels and facts that differ between the two.",
    "forced": "What would have forbidden the comparison, had nobody insisted; null otherwise.",
}
"""Columns of what `gate` returns."""


@dataclass(frozen=True, kw_only=True)
class _Question:
    """One member of the family: may this metric of this case have become so much worse?"""

    pair: Pair
    metric: Metric
    found: Evidence | str
    margin: float
    margin_from: str
    allowed: float
    floor: float | None
    lacking: bool


def gate(
    current: Any,
    baseline: Any = None,
    *,
    fail_on: Mapping[str, float],
    min_delta_ns: float = 0.0,
    force: bool = False,
) -> pd.DataFrame:
    """Return a verdict for every case of the baseline and every metric, and for cases outside of the family.

    `REGRESSION` if the interval of the change lies wholly beyond the limit, `IMPROVED` if it lies wholly beyond it on
    the other side. The limit is the largest of what `fail_on` says, `min_delta_ns` over the baseline's latency, and the
    noise floor where a control was measured. `PASS` if the interval lies below the limit without that floor: noise is
    no reason to pass. Else `INCONCLUSIVE`.
    Holm's procedure over the family keeps the probability of one or more false regressions at 5 % or below.

    Args:
        current: One run: what `benchfw.load` returns for its folder, the folder, or frames as for `compare`.
        baseline: The run to compare with; None for the arms of a run of `benchfw ab`.
        fail_on: Relative change that fails each metric, as in `{"p50": 0.03}`.
        min_delta_ns: Changes of latency up to this many nanoseconds do not fail.
        force: Compare in spite of unlike labels, machines and disturbed measurements; `forced` tells which.

    Returns:
        A frame with the columns of `benchfw.analysis.gate.COLUMNS`; those of the family first.

    Raises:
        UsageError: An argument is not as described, or there is nothing to gate.
        ResultError: A run cannot be read.
    """
    import pandas as pd

    limits, least = check_fail_on(fail_on), check_duration_ns(min_delta_ns)
    pairs = list(_pairs(current, baseline))
    metrics = [METRICS[name] for name in limits]
    family = [(pair, metric) for pair in pairs for metric in metrics if _counts(pair)]
    others = [(pair, metric) for pair in pairs for metric in metrics if not _counts(pair)]
    if not family:
        raise UsageError("the baseline has no measured case", hint="`benchfw show RUN` tells why")
    asked = [_question(pair, metric, limits[metric.name], least, force=force) for pair, metric in family]
    p_values = [_p_value(question, len(family)) for question in asked]
    decided = zip(asked, p_values, holm(p_values), holm_confidences(p_values, ALPHA), strict=True)
    rows = [_row(question, p, adjusted, confidence, len(family)) for question, p, adjusted, confidence in decided]
    rows += [_outsider(pair, metric) for pair, metric in others]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def exit_code(frame: pd.DataFrame) -> int:
    """Return 1 if anything regressed, 4 if anything is inconclusive or not comparable, else 0."""
    verdicts = set(frame.loc[frame["in_family"].astype(bool), "verdict"])
    if "REGRESSION" in verdicts:
        return 1
    return 4 if verdicts & {"INCONCLUSIVE", "NOT_COMPARABLE"} else 0


def invocations_needed(family: int, alpha: float = ALPHA) -> int:
    """Return the invocations of each side with which one member of a family can be decided at all.

    The smallest p-value of a two-sided Mann-Whitney test of K against K is 2 / binomial(2K, K); it must reach
    alpha / family, the level of Holm's first step.
    """
    count = MIN_INVOCATIONS
    while 2.0 / math.comb(2 * count, count) > alpha / family:
        count += 1
    return count


def _pairs(current: Any, baseline: Any) -> Iterator[Pair]:
    run = one_run(current, "the run to be gated")
    if baseline is not None:
        base = one_run(baseline, "the baseline")
        if base.run_id == run.run_id:
            raise UsageError(f"{run.run_id} is its own baseline", hint="--baseline names another run")
        return across([run], base)
    if not run.has_arms:
        raise UsageError(
            f"{run.run_id} has no arms to compare", hint="name a baseline: --baseline RUN, or gate a run of benchfw ab"
        )
    return arms(run)


def _counts(pair: Pair) -> bool:
    return pair.baseline is not None and pair.baseline.get("status") not in NOT_MEASURED


def _question(pair: Pair, metric: Metric, limit: float, least: float, *, force: bool) -> _Question:
    """Settle the limit, without a look at how the case compares."""
    margins = {"fail-on": time_margin(limit) if metric.more_is_better else limit}
    value = value_of(pair.baseline, metric)
    if value is not None and not metric.more_is_better:
        margins["min-delta"] = least / value
    allowed, floor = max(margins.values()), None
    obstacle = pair.obstacle(force=force)
    if obstacle is None:
        control = control_effect(pair, metric, 1.0 - ALPHA)
        floor = noise_floor(control) if control else math.inf if pair.of_arms else None
        if floor is not None:  # infinite where the control failed or says nothing: then nothing is certain
            margins["noise floor"] = floor
    where = max(margins, key=lambda name: margins[name])
    found = obstacle or evidence(pair, metric)
    lacking = obstacle is None and isinstance(found, str)  # there are numbers, but too few for this one
    return _Question(
        pair=pair,
        metric=metric,
        found=found,
        margin=margins[where],
        margin_from=where,
        allowed=allowed,
        floor=floor,
        lacking=lacking,
    )


def _p_value(question: _Question, family: int) -> float:
    found = question.found
    return 1.0 if isinstance(found, str) else found.effect(1.0 - ALPHA / family, question.margin).p_value


def _row(question: _Question, p_value: float, adjusted: float, confidence: float, family: int) -> Row:
    pair, metric, found = question.pair, question.metric, question.found
    row = _labels(pair, metric) | {
        "in_family": True,
        "limit": _change(1.0 + (question.margin if math.isfinite(question.margin) else question.allowed), metric),
        "limit_from": question.margin_from,
        "noise_floor": question.floor if question.floor is not None and math.isfinite(question.floor) else None,
        "confidence": confidence,
        "p_value": p_value,
        "p_adjusted": adjusted,
        "forced": forced_of(pair, force=True) if not isinstance(found, str) else None,
    }
    if isinstance(found, str):
        verdict = "INCONCLUSIVE" if question.lacking else "NOT_COMPARABLE"
        return row | {"verdict": verdict, "reason": found}
    effect = found.effect(confidence, question.margin)
    ends = sorted((_change(effect.low, metric), _change(effect.high, metric))) if effect.finite else [None, None]
    verdict = _verdict(effect, question)
    return row | {
        "verdict": verdict,
        "reason": _reason(verdict, found, effect, question, family),
        "change": _change(found.slowdown, metric),
        "change_low": ends[0],
        "change_high": ends[1],
        "level": found.level,
        "n": found.n,
        "n_baseline": found.n_baseline,
    }


def _verdict(effect: Effect, question: _Question) -> str:
    """Return the verdict: a change must exceed the noise floor too, but what passes is within what is allowed."""
    decided = decide(effect, question.margin)
    if decided == "regression":
        return "REGRESSION"
    if decided == "improvement":
        return "IMPROVED"
    return "PASS" if effect.high < 1.0 + question.allowed else "INCONCLUSIVE"


def _reason(verdict: str, found: Evidence, effect: Effect, question: _Question, family: int) -> str:
    if math.isinf(question.margin) and verdict == "INCONCLUSIVE":
        return "how much the baseline differs from itself is not known: its control failed, or has too few rounds"
    limit = f"{100 * _change(1.0 + question.margin, question.metric):+.3g} % ({question.margin_from})"
    if verdict != "INCONCLUSIVE":
        side = {"REGRESSION": "beyond", "PASS": "within", "IMPROVED": "better than the opposite of"}[verdict]
        return f"the interval lies {side} the limit of {limit}"
    if effect.finite and effect.high < 1.0 + question.margin:
        allowed = f"{100 * _change(1.0 + question.allowed, question.metric):+.3g} %"
        return f"the interval is not within {allowed}, and a change up to {limit} may be noise"
    if effect.finite:
        return f"the interval holds the limit of {limit}: more {found.level}s make it narrower"
    if found.level == "round":
        return f"{found.n} rounds are too few for an interval in a family of {family}: measure for longer"
    wanted = invocations_needed(family)
    return (
        f"{found.n} and {found.n_baseline} invocations are too few for a family of {family}: {wanted} of each run "
        f"decide it (--set measure.invocations={wanted})"
    )


def _outsider(pair: Pair, metric: Metric) -> Row:
    """Return the row of a case that nothing was promised for: new, or not measured in the baseline either."""
    base = pair.baseline
    reason = (
        f"new: the baseline {pair.baseline_run.run_id} has no such case"
        if base is None
        else f"the baseline is {base.get('status')}: {base.get('status_reason') or 'no reason'}"
    )
    return _labels(pair, metric) | {"verdict": "NOT_COMPARABLE", "reason": reason, "in_family": False}


def _labels(pair: Pair, metric: Metric) -> dict[str, Any]:
    return labels_of(pair) | {
        "metric": metric.name,
        "value": value_of(pair.case, metric),
        "baseline_value": value_of(pair.baseline, metric),
    }


def _change(slowdown: float, metric: Metric) -> float:
    """Return a slowdown as the relative change of a metric."""
    return 1.0 / slowdown - 1.0 if metric.more_is_better else slowdown - 1.0
