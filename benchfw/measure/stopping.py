"""When a case has enough data: fixed-width stopping (Chow and Robbins 1965), on precision, never on spread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchfw.measure.settings import Effort
from benchfw.stats import Interval, Steady, mean_interval, quantile_interval

LOOK_GROWTH = 1.3
"""Samples must have grown by this factor between looks: looking after every block would stop on luck."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a decision is made of: the steady part of what was measured, in time order.

    Attributes:
        latencies: In ns; of a random sequence the total time of each chunk.
        windows: Time per sample of each fenced window, in ns.
        blocks: Steady blocks.
        steady: What the segmentation found; None if there are too few blocks to say.
    """

    latencies: NDArray[np.int64]
    windows: NDArray[np.float64]
    blocks: int
    steady: Steady | None


@dataclass(frozen=True)
class Target:
    """A statistic whose interval must become narrow.

    Attributes:
        name: What it is, in a sentence.
        width: Half of the interval over the statistic, at most.
        q: Quantile of the latencies; None for the mean of the chunks of a random sequence.
        throughput: It is the throughput of the windows.
    """

    name: str
    width: float
    q: float | None = None
    throughput: bool = False

    def interval(self, evidence: Evidence) -> Interval:
        """Return the statistic and its interval."""
        if self.q is not None:
            return quantile_interval(evidence.latencies, self.q)
        return mean_interval(evidence.windows if self.throughput else evidence.latencies.astype(np.float64))

    def shortage(self, interval: Interval, effort: Effort) -> str:
        """Say what the sample lacks whatever its interval; empty if nothing."""
        if self.q is None:
            return ""
        m = interval.effective_n
        if m < effort.min_effective:
            return f"{m:.0f} independent samples, wanted {effort.min_effective:.0f}"
        if m * (1.0 - self.q) < effort.min_tail:
            return f"{m * (1.0 - self.q):.0f} independent samples beyond {self.name}, wanted {effort.min_tail:.0f}"
        return ""


def targets(effort: Effort, *, mixture: bool, throughput: bool = True) -> tuple[Target, ...]:
    """Return what must be known of a case; of the throughput only if it has one.

    The latencies of a mixture spread over its sizes, so that the interval of their median tells nothing about how
    well the mixture is known: its chunks do.
    """
    rate = (Target("the throughput", effort.throughput_width, throughput=True),) if throughput else ()
    if mixture:
        chunks = Target("the mean time of a whole chunk of the sequence", effort.throughput_width)
        return (chunks, *rate)
    median = Target("p50", effort.median_width, q=0.5)
    tail = () if effort.p99_width is None else (Target("p99", effort.p99_width, q=0.99),)
    return (median, *tail, *rate)


@dataclass
class Stopping:
    """The decisions about one case in one process.

    Attributes:
        effort: Limits and minima.
        targets: All must be met.
        done: The case takes part in no more decisions.
        converged: It met its targets.
        exhausted: It has had all the time or iterations that its effort allows.
        intervals: Interval of each target at the last look.
    """

    effort: Effort
    targets: tuple[Target, ...]
    done: bool = False
    converged: bool = False
    exhausted: bool = False
    intervals: list[Interval] = field(default_factory=list)
    _looked_at: int = 0
    _evidence: Evidence | None = None

    def look(self, n: int, blocks: int, measured_s: float, evidence: Callable[[], Evidence]) -> None:
        """Decide anew.

        Args:
            n: Number of iterations so far.
            blocks: Blocks that they came from, steady or not.
            measured_s: Time in these blocks, in seconds.
            evidence: Gives what the targets look at; called only if it matters.
        """
        self.exhausted = measured_s >= self.effort.max_time or n >= self.effort.max_iterations
        if self.done:
            return
        may_stop = blocks >= self.effort.min_blocks and (measured_s >= self.effort.min_time or self.exhausted)
        if not self.exhausted and (not may_stop or n < LOOK_GROWTH * self._looked_at):
            return
        self._looked_at = n
        self.assess(evidence())
        self.converged = may_stop and not any(self._lacks())
        self.done = self.converged or self.exhausted

    def assess(self, evidence: Evidence) -> None:
        """Compute the intervals of all targets."""
        self._evidence = evidence
        timed = len(evidence.windows) > 0 or not any(target.throughput for target in self.targets)
        some = len(evidence.latencies) > 0 and timed
        self.intervals = [target.interval(evidence) for target in self.targets] if some else []

    def conclude(self, evidence: Evidence, measured_s: float) -> None:
        """Judge all that was measured, at the end that time or the other cases of the rounds have set."""
        self.assess(evidence)
        enough = measured_s >= self.effort.min_time or self.exhausted
        self.converged = enough and not any(self._lacks())

    def _lacks(self) -> Iterator[str]:
        """Yield what is lacking: steady blocks, and what each target lacks."""
        evidence = self._evidence
        if evidence is None or not self.intervals:
            yield "too few blocks in the time given"
            return
        if evidence.blocks < self.effort.min_blocks:
            yield f"{evidence.blocks} steady blocks, wanted {self.effort.min_blocks}"
        elif evidence.steady is not None and evidence.steady.kind == "no_steady":
            yield "no steady state was reached"
        for target, interval in zip(self.targets, self.intervals, strict=True):
            lack = self._lack(target, interval)
            if lack:
                yield lack

    def _lack(self, target: Target, interval: Interval) -> str:
        width = interval.relative_half_width
        if not np.isfinite(width):
            return f"too few samples for an interval of {target.name}"
        if width > target.width:
            return f"interval of {target.name} is ±{width:.1%}, wanted ±{target.width:.2%}"
        return target.shortage(interval, self.effort)

    @property
    def widest(self) -> float | None:
        """Relative half-width of the target that is furthest from its aim; None before the first look."""
        return self.furthest[0] if self.intervals else None

    @property
    def furthest(self) -> tuple[float, float]:
        """Relative half-width and aim of the target that is furthest from it."""
        widths = [
            (interval.relative_half_width, target.width) for target, interval in zip(self.targets, self.intervals)
        ]
        return max(widths, key=lambda pair: pair[0] / pair[1], default=(float("inf"), self.targets[0].width))

    def why_not(self) -> str:
        """Say what kept the case from converging."""
        return "; ".join(self._lacks()) or "too few blocks in the time given"
