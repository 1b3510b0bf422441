"""When a case has enough data: fixed-width stopping (Chow and Robbins 1965), on precision, never on spread."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchfw.measure.settings import Effort
from benchfw.stats import Interval, mean_interval, quantile_interval

LOOK_GROWTH = 1.3
"""Samples must have grown by this factor between looks: looking after every block would stop on luck."""

Samples = NDArray[np.int64]


class Target(ABC):
    """A statistic whose interval must become narrow.

    Attributes:
        name: What it is, in a sentence.
        width: Half of the interval over the statistic, at most.
    """

    name: str
    width: float

    @abstractmethod
    def interval(self, samples: Samples) -> Interval:
        """Return the statistic and its interval."""

    @abstractmethod
    def shortage(self, interval: Interval, effort: Effort) -> str:
        """Say what the sample lacks whatever its interval; empty if nothing."""


@dataclass(frozen=True)
class Quantile(Target):
    """The q-quantile of latencies: for a case of one shape."""

    q: float
    width: float

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"p{self.q * 100:g}"

    def interval(self, samples: Samples) -> Interval:
        return quantile_interval(samples, self.q)

    def shortage(self, interval: Interval, effort: Effort) -> str:
        m = interval.effective_n
        if m < effort.min_effective:
            return f"{m:.0f} independent samples, wanted {effort.min_effective:.0f}"
        if m * (1.0 - self.q) < effort.min_tail:
            return f"{m * (1.0 - self.q):.0f} independent samples beyond {self.name}, wanted {effort.min_tail:.0f}"
        return ""


@dataclass(frozen=True)
class Mean(Target):
    """The mean time of a whole chunk of a random sequence, which is its throughput.

    The latencies of a mixture spread over its sizes, so that the interval of their median tells nothing about how
    well the mixture is known.
    """

    width: float
    name: str = "the mean time of a whole chunk of the sequence"

    def interval(self, samples: Samples) -> Interval:
        return mean_interval(samples.astype(np.float64))

    def shortage(self, interval: Interval, effort: Effort) -> str:
        return ""


@dataclass
class Stopping:
    """The decisions about one case.

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

    def look(self, n: int, blocks: int, measured_s: float, samples: Callable[[], Samples]) -> None:
        """Decide anew.

        Args:
            n: Number of iterations so far.
            blocks: Blocks that they came from.
            measured_s: Time in these blocks, in seconds.
            samples: Gives what the targets look at, in time order; called only if it matters.
        """
        self.exhausted = measured_s >= self.effort.max_time or n >= self.effort.max_iterations
        if self.done:
            return
        may_stop = self._may_stop(blocks, measured_s)
        if not self.exhausted and (not may_stop or n < LOOK_GROWTH * self._looked_at):
            return
        self._looked_at = n
        self.assess(samples())
        self.converged = may_stop and not any(self._lacks())
        self.done = self.converged or self.exhausted

    def assess(self, samples: Samples) -> None:
        """Compute the intervals of all targets."""
        self.intervals = [target.interval(samples) for target in self.targets]

    def conclude(self, samples: Samples, blocks: int, measured_s: float) -> None:
        """Judge all that was measured, at the end that time or the other cases of the rounds have set."""
        self.assess(samples)
        self.converged = self._may_stop(blocks, measured_s) and not any(self._lacks())

    def _may_stop(self, blocks: int, measured_s: float) -> bool:
        return blocks >= self.effort.min_blocks and (measured_s >= self.effort.min_time or self.exhausted)

    def _lacks(self) -> list[str]:
        """Return what each target lacks; an empty text for one that is met."""
        return [self._lack(target, interval) for target, interval in zip(self.targets, self.intervals, strict=True)]

    def _lack(self, target: Target, interval: Interval) -> str:
        width = interval.relative_half_width
        if not np.isfinite(width):
            return f"too few samples for an interval of {target.name}"
        if width > target.width:
            return f"interval of {target.name} is ±{width:.1%}, wanted ±{target.width:.2%}"
        return target.shortage(interval, self.effort)

    @property
    def widest(self) -> float | None:
        """Widest relative half-width at the last look; None before the first."""
        return max((interval.relative_half_width for interval in self.intervals), default=None)

    def why_not(self) -> str:
        """Say what kept the case from converging."""
        return "; ".join(filter(None, self._lacks() if self.intervals else [])) or "too few blocks in the time given"
