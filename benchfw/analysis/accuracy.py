"""Many comparisons of one output, with different inputs, as one line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchfw.spec.accuracy import worst

METRICS: Mapping[str, Any] = {
    "max_abs_err": max,
    "mean_abs_err": max,
    "p99_abs_err": max,
    "mean_rel_err": max,
    "rel_l2": max,
    "cosine": min,
    "snr_db": min,
    "outside_share": max,
    "nonfinite": max,
    "top1_agreement": min,
    "top5_agreement": min,
}
"""Metrics of the table `accuracy`, and which of two values is the worse one."""


def summarize(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one line per output of rows of the table `accuracy`, of one case.

    `worst` and `mean` hold each metric over the inputs; None where no input has it (the ranking of an output that is no
    classification), not-a-number where an input's is none. `reason` is that of the worst input, by verdict and then
    relative L2.
    """
    lines = []
    for output in dict.fromkeys(row["output"] for row in rows):
        of_output = [row for row in rows if row["output"] == output]
        verdict = worst([row["verdict"] for row in of_output])
        values = {name: [row[name] for row in of_output if row[name] is not None] for name in METRICS}
        decisive = max((row for row in of_output if row["verdict"] == verdict), key=_distance)
        lines.append(
            {
                "output": output,
                "inputs": len(of_output),
                "failed": sum(row["verdict"] == "fail" for row in of_output),
                "verdict": verdict,
                "reason": decisive["reason"],
                "input_set": decisive["input_set"],
                "worst": {name: _extreme(values[name], METRICS[name]) for name in METRICS},
                "mean": {
                    name: math.fsum(values[name]) / len(values[name]) if values[name] else None for name in METRICS
                },
            }
        )
    return lines


def _extreme(values: Iterable[float], choose: Any) -> float | None:
    values = list(values)
    if any(math.isnan(value) for value in values):
        return math.nan
    return choose(values, default=None)  # type: ignore[no-any-return]


def _distance(row: Mapping[str, Any]) -> float:
    return math.inf if math.isnan(row["rel_l2"]) else float(row["rel_l2"])
