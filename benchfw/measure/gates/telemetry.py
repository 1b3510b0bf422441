"""What is to be said of the telemetry: W12, W13."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.measure.gates.finding import Finding
from benchfw.stats import Effect, paired_effect
from benchfw.worker.pace import COST_SHARE, MIN_PERIOD_NS

MAX_COST = 0.005
"""Of the latency: the width that `standard` wants to know a median to."""


def partial(name: str, facts: Mapping[str, Any]) -> Finding | None:
    """W12: a sampler has ended early, or lost readings.

    Args:
        name: Of the sampler.
        facts: Of it, see `Telemetry`.
    """
    if facts["ended"]:
        return Finding("W12", None, None, f"the sampler {name} is not there for all of the run: {facts['ended']}")
    if facts["dropped"]:
        text = f"{facts['dropped']} readings of the sampler {name} were lost: the cohort took too long for its memory"
        return Finding("W12", facts["dropped"], 0, text)
    return None


def slowed(name: str, facts: Mapping[str, Any]) -> Finding | None:
    """W13: a sampler is read more seldom, because ten times per second cost more than 0.5 % of the time."""
    if facts["period_ns"] <= MIN_PERIOD_NS:
        return None
    read_ns = facts["read_ns"] or 0.0
    text = (
        f"a reading of the sampler {name} takes {read_ns / 1e6:.2g} ms, so that it is read every "
        f"{facts['period_ns'] / 1e9:g} s only; leave it out of `samplers` if you do not need it"
    )
    return Finding("W13", read_ns / MIN_PERIOD_NS, COST_SHARE, text)


def telemetry_cost(running: NDArray[np.float64], paused: NDArray[np.float64]) -> Effect | None:
    """Return the ratio of latencies with running samplers to those with paused ones; None without a whole pair.

    The cases of a round share what disturbs it, so that they are no independent witnesses: their logarithms of the
    ratio are averaged within each pair of rounds, and the pairs are what is counted (Hodges-Lehmann, an interval from
    six pairs on).

    Args:
        running: Median latency of each case in the round of each pair in which samplers ran, in ns, shape
            (pairs, cases); NaN where the case was not measured.
        paused: The same for the other round of the pair.
    """
    if not running.size:
        return None
    ratios = np.log(running) - np.log(paused)
    there = np.isfinite(ratios)
    counts = there.sum(axis=1)
    sums = np.where(there, ratios, 0.0).sum(axis=1)
    means = sums[counts > 0] / counts[counts > 0]
    return paired_effect(means) if len(means) else None


def costly(effect: Effect | None) -> Finding | None:
    """W13: samplers lengthen latencies by more than 0.5 %, beyond doubt."""
    if effect is None or effect.low - 1.0 <= MAX_COST:
        return None
    cost = effect.value - 1.0
    text = f"samplers lengthen latencies by {cost:.1%}; from now on they are read between rounds only"
    return Finding("W13", cost, MAX_COST, text)
