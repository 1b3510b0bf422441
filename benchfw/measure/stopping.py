"""When a case has enough data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchfw.measure.settings import Effort
from benchfw.stats import Interval, quantile_interval

LOOK_GROWTH = 1.3
"""Samples must have grown by this factor between looks: looking after every block would stop on luck."""


@dataclass
class Stopping:
    """Fixed-width stopping of one case (Chow and Robbins 1965): stop on precision, never on spread.

    Attributes:
        effort: The rule.
        done: The case takes part in no more decisions.
        converged: It met its targets.
        exhausted: It has had all the time or iterations that its effort allows.
        intervals: Interval of each target at the last look.
    """

    effort: Effort
    done: bool = False
    converged: bool = False
    exhausted: bool = False
    intervals: dict[float, Interval] = field(default_factory=dict)
    _looked_at: int = 0

    def look(self, n: int, blocks: int, measured_s: float, samples: Callable[[], NDArray[np.int64]]) -> None:
        """Decide anew.

        Args:
            n: Number of samples so far.
            blocks: Blocks that they came from.
            measured_s: Time in these blocks, in seconds.
            samples: Gives them, in time order; called only if it matters.
        """
        self.exhausted = measured_s >= self.effort.max_s or n >= self.effort.max_n
        if self.done:
            return
        may_stop = blocks >= self.effort.min_blocks and (measured_s >= self.effort.min_s or self.exhausted)
        if not self.exhausted and (not may_stop or n < LOOK_GROWTH * self._looked_at):
            return
        self.assess(samples())
        self.converged = may_stop and self._met()
        self.done = self.converged or self.exhausted

    def assess(self, samples: NDArray[np.int64]) -> None:
        """Compute the intervals of all targets."""
        self._looked_at = len(samples)
        self.intervals = {target.q: quantile_interval(samples, target.q) for target in self.effort.targets}

    def _met(self) -> bool:
        for target in self.effort.targets:
            interval = self.intervals[target.q]
            m = interval.effective_n
            enough = m >= self.effort.min_effective and m * (1.0 - target.q) >= self.effort.min_tail
            if not enough or interval.relative_half_width > target.width:
                return False
        return True

    @property
    def widest(self) -> float | None:
        """Widest relative half-width at the last look; None before the first."""
        return max((interval.relative_half_width for interval in self.intervals.values()), default=None)

    def why_not(self) -> str:
        """Say what kept the case from converging."""
        parts = []
        for target in self.effort.targets:
            interval = self.intervals.get(target.q)
            if interval is None:
                continue
            name = f"p{target.q * 100:g}"
            width = interval.relative_half_width
            if not width <= target.width:
                parts.append(f"interval of {name} is ±{width:.1%}, wanted ±{target.width:.2%}")
            elif interval.effective_n < self.effort.min_effective:
                parts.append(f"{interval.effective_n:.0f} independent samples, wanted {self.effort.min_effective:.0f}")
        return "; ".join(parts) or "too few blocks in the time given"
