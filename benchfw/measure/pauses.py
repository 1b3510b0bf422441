"""In which rounds samplers are paused, and what that shows of their cost."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from benchfw.measure.gates import Finding
from benchfw.measure.gates.telemetry import costly, telemetry_cost
from benchfw.measure.telemetry import Telemetry
from benchfw.stats import Effect

_BOUNDARY_S = 0.005
"""Between rounds, for one reading."""


class RoundMedian(NamedTuple):
    """A measured block, as far as it matters here.

    Attributes:
        case: Id of the case.
        invocation, round: Where it was measured.
        telemetry: Column of `blocks`: 1 if samplers ran, 0 if they were paused, None without samplers.
        median_ns: Median latency.
    """

    case: str
    invocation: int
    round: int
    telemetry: int | None
    median_ns: float


def paused_in(round_: int, seed: int) -> bool:
    """Say whether samplers are paused in a round.

    Rounds 2j and 2j+1 are a pair, one with samplers and one without, and it is drawn which comes first: of two pairs in
    a row one begins with samplers and one without, so that a drift cancels out. The draw has a generator of its own.
    A fixed alternation would not do: with two cases, rounds 2j and 2j+1 are the two rows of one Latin square, and rows
    could be aligned with pauses, so that a case would stand in front whenever samplers run, and its place would be
    taken for their cost. Since the draw does not know the order of cases, a place falls as often into a round with
    samplers as into one without, whatever the number of cases is.
    """
    pair = round_ // 2
    running_first = bool(np.random.default_rng([seed, 0x7E1E, pair // 2]).integers(2)) ^ bool(pair % 2)
    return (round_ % 2 == 0) != running_first


class Pauses:
    """Pauses the samplers of a run in half of the rounds of a cohort, and finds out what they cost.

    Args:
        telemetry: The samplers.
        seed: Of the run.

    Attributes:
        boundary: Samplers run between rounds only; set once they have been found to cost too much.
    """

    def __init__(self, telemetry: Telemetry, seed: int) -> None:
        self.boundary = False
        self._telemetry = telemetry
        self._seed = seed

    def begin(self, round_: int) -> int | None:
        """Pause the samplers before a round, or let them run; return the value of `blocks.telemetry`."""
        if self.boundary:
            self._telemetry.resume()
            time.sleep(_BOUNDARY_S)
        if self.boundary or paused_in(round_, self._seed):
            self._telemetry.pause()
        else:
            self._telemetry.resume()
        running = self._telemetry.running
        return None if running is None else int(running)

    def end(self) -> None:
        """Let the samplers run again after the last round."""
        self._telemetry.resume()

    def judge(self, blocks: Iterable[RoundMedian]) -> tuple[Effect | None, Finding | None]:
        """Return what samplers cost in a cohort, and W13 if that is too much; from then on they are paused in rounds.

        Args:
            blocks: All measured blocks of all cases of the cohort that did not fail.
        """
        effect = cost_of(blocks)
        finding = costly(effect)
        self.boundary |= finding is not None
        return effect, finding


def cost_of(blocks: Iterable[RoundMedian]) -> Effect | None:
    """Return the ratio of latencies with running samplers to those with paused ones; None if nothing shows it."""
    cases: dict[str, int] = {}
    pairs: dict[tuple[int, int], dict[int, dict[int, float]]] = {}
    for block in blocks:
        if block.telemetry is not None and block.round >= 0 and block.median_ns > 0:
            place = cases.setdefault(block.case, len(cases))
            pair = pairs.setdefault((block.invocation, block.round // 2), {0: {}, 1: {}})
            pair[block.telemetry][place] = block.median_ns
    medians = np.full((2, len(pairs), len(cases)), np.nan)
    for row, pair in enumerate(pairs.values()):
        for state, found in pair.items():
            for place, median in found.items():
                medians[state, row, place] = median
    return telemetry_cost(medians[1], medians[0])
