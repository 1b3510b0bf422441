"""Speed-ups with intervals, between runs or between cases of one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from benchfw.analysis.evidence import METRICS, Metric, evidence, value_of
from benchfw.analysis.pairs import Pair, across, within
from benchfw.analysis.runs import Row, Run, read_runs
from benchfw.errors import UsageError
from benchfw.stats import geometric_mean
from benchfw.store.export import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
COLUMNS = {
    "metric": "`p50` or `p99` of the latency, or `throughput`.",
    "run_id": "Run of the case.",
    "case_id": "The case.",
    "baseline_run_id": "Run of its baseline.",
    "baseline_case_id": "Its baseline; null if there is none.",
    "cohort": "Point of the sweep.",
    "name": "Name of the case's backend.",
    "precision": "Its precision.",
    "profile": "Its artifact: `static`, `dynamic` or `any`.",
    "batch": "Size of the axis `batch`.",
    "shape": "Sizes of all axes, as JSON.",
    "baseline_name": "Name of the baseline's backend.",
    "value": "What the case measured, in nanoseconds or samples per second.",
    "baseline_value": "What its baseline measured.",
    "speedup": "How many times as fast the case is: above 1 is faster, for every metric. Null if not compared.",
    "speedup_low": "Lower end of its 95 % interval; null if there is none.",
    "speedup_high": "Upper end of it.",
    "p_value": "Of the hypothesis that both are equally fast; null without an interval.",
    "level": "What it was taken from: `round` or `invocation`.",
    "n": "Rounds, or invocations of the case.",
    "n_baseline": "Rounds, or invocations of the baseline.",
    "accuracy": "Of the case's outputs: `pass`, `warn` or `fail`.",
    "rel_l2": "Their largest relative L2 distance to the reference.",
    "reference": "Name of the reference.",
    "status": "Of the case; null if it is missing.",
    "case_verdict": "Verdict of the case's measurement.",
    "verdict_reason": "Its reason.",
    "baseline_status": "Status of the baseline.",
    "baseline_case_verdict": "Verdict of the baseline's measurement.",
    "baseline_verdict_reason": "Its reason.",
    "differs": "Labels and facts that differ between the two.",
    "forced": "What would have forbidden the comparison, had nobody insisted; null otherwise.",
    "reason": "Why there is no speed-up, or no interval.",
}
"""Columns of what `compare` returns."""


def compare(
    source: Any,
    *,
    by: str | None = None,
    baseline: str | None = None,
    metric: str | Sequence[str] = tuple(METRICS),
    force: bool = False,
) -> pd.DataFrame:
    """Return the speed-up of every case over its baseline, one row per case and metric.

    Without `by`, a case is compared with the same case of another run, by the medians of invocations. With `by`, it
    is compared with the case of its own run and cohort that has the baseline's value, by the rounds in which both
    took turns. Cases that cannot be compared have a row with the reason.

    Args:
        source: What `benchfw.load` returns, its path, a frame of `cases`, a dict of frames by their tables, or a
            sequence of these. Iterations and blocks are read only if they are needed.
        by: A label that cases of one run differ in: name, backend, precision, profile, environment, threads, ….
        baseline: With `by` a value of that label, else a `run_id` or the beginning of one; by default the first.
        metric: `p50`, `p99`, `throughput`, or several of them.
        force: Compare in spite of unlike labels, machines and disturbed measurements; `forced` tells which.

    Returns:
        A frame with the columns of `benchfw.analysis.compare.COLUMNS`.

    Raises:
        UsageError: An argument names nothing, or there is nothing to compare with.
        ResultError: A run cannot be read.
    """
    import pandas as pd

    metrics = _metrics(metric)
    pairs = list(_pairs(read_runs(source), by, baseline))
    rows = [_row(pair, chosen, force=force) for chosen in metrics for pair in pairs]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def geometric_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the geometric mean of the speed-ups of a frame of `compare`, per metric and what is compared.

    Returns:
        A frame with `metric`, `run_id`, `name`, `precision` and `profile` of the cases (null where they vary, as
        between runs), `speedup`, and `cases` of `of`: how many are in the mean, and how many there are.
    """
    import pandas as pd

    between = bool((frame["run_id"] != frame["baseline_run_id"]).any())
    labels = ["metric", "run_id"] if between else ["metric", "run_id", "name", "precision", "profile"]
    rows = []
    for values, group in frame.groupby(labels, sort=False, dropna=False):
        known = [float(value) for value in group["speedup"] if value is not None and value > 0]
        mean = geometric_mean(known) if known else None
        rows.append(dict(zip(labels, values, strict=True)) | {"speedup": mean, "cases": len(known), "of": len(group)})
    return pd.DataFrame(
        rows, columns=["metric", "run_id", "name", "precision", "profile", "speedup", "cases", "of"]
    ).astype(dict.fromkeys(("name", "precision", "profile"), "object"))


def labels_of(pair: Pair) -> dict[str, Any]:
    """Return the columns that name a pair."""
    known, case, base = pair.known, pair.case or {}, pair.baseline or {}
    return {
        "run_id": pair.run.run_id,
        "case_id": known.get("case_id"),
        "baseline_run_id": pair.baseline_run.run_id,
        "baseline_case_id": base.get("case_id"),
        **{name: known.get(name) for name in ("cohort", "name", "precision", "profile", "batch", "shape")},
        "baseline_name": base.get("name"),
        **{name: case.get(name) for name in ("accuracy", "rel_l2", "reference", "status", "verdict_reason")},
        "case_verdict": case.get("verdict"),
        **{f"baseline_{name}": base.get(name) for name in ("status", "verdict_reason")},
        "baseline_case_verdict": base.get("verdict"),
        "differs": ", ".join(map(str, pair.differences)) or None,
    }


def forced_of(pair: Pair, *, force: bool) -> str | None:
    """Return what was passed over because somebody insists."""
    return (", ".join(pair.objections()) or None) if force and pair.case and pair.baseline else None


def find_baseline(runs: Sequence[Run], run_id: str | None) -> Run:
    """Return the run with an id or its beginning; the first one for None.

    Raises:
        UsageError: There is none, or more than one.
    """
    if run_id is None:
        return runs[0]
    found = [run for run in runs if run.run_id == run_id] or [run for run in runs if run.run_id.startswith(run_id)]
    if len(found) != 1:
        ids = ", ".join(run.run_id for run in runs)
        raise UsageError(f"the baseline {run_id!r:.80} is {len(found)} of the runs, not one", hint=f"there are: {ids}")
    return found[0]


def _pairs(runs: list[Run], by: str | None, baseline: str | None) -> Iterable[Pair]:
    if not runs:
        raise UsageError("there is no case in these results", hint="`benchfw run` measures some")
    if by is not None:
        return [pair for run in runs for pair in within(run, by, baseline)]
    if len(runs) == 1:
        raise UsageError("one run was given, and nothing to compare it with", hint="name another run, or --by backend")
    return across(runs, find_baseline(runs, baseline))


def _metrics(names: str | Sequence[str]) -> list[Metric]:
    wanted = [names] if isinstance(names, str) else list(names)
    for name in wanted:
        if name not in METRICS:
            raise UsageError(
                f"there is no metric {name!r:.80}{did_you_mean(str(name), METRICS)}", hint=f"of {', '.join(METRICS)}"
            )
    return [METRICS[name] for name in dict.fromkeys(wanted)]


def _row(pair: Pair, metric: Metric, *, force: bool) -> Row:
    found = pair.obstacle(force=force) or evidence(pair, metric)
    row = {
        "metric": metric.name,
        **labels_of(pair),
        "value": value_of(pair.case, metric),
        "baseline_value": value_of(pair.baseline, metric),
        "forced": forced_of(pair, force=force),
    }
    if isinstance(found, str):
        return row | {"reason": found}
    effect = found.effect(CONFIDENCE)
    known = math.isfinite(effect.half_width)
    return row | {
        "speedup": 1.0 / found.slowdown,
        "speedup_low": 1.0 / effect.high if known else None,
        "speedup_high": 1.0 / effect.low if known else None,
        "p_value": effect.p_value if known else None,
        "level": found.level,
        "n": found.n,
        "n_baseline": found.n_baseline,
        "reason": None if known else found.lack or f"{found.n} {found.level}s are too few for an interval",
    }
