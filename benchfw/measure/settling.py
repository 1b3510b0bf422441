"""When a machine has settled (G2): by looks 100 ms apart, and on a GPU by its SM clock as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

LOOKS = 5
SPREAD = 0.02
CLOCK_SPREAD = 0.01
HOPS = 0.05
"""A clock that a power limit holds hops for ever, by some steps of 15 MHz: that far, and its level is what counts."""
MIN_LOOKS = 10
"""Where the SM clock is read, so that is at least a second: a clock takes a few tenths of one to fall."""
LOW_CLOCK = 0.75
"""Of the clock that was asked for: one below that which nothing holds down is one that has not come up yet."""


class Clock(NamedTuple):
    """A reading of the SM clock of a GPU.

    Attributes:
        mhz: It.
        asked_mhz: What it would be without limits; None if that is not known.
        held: Something held it down, or somebody has set it.
    """

    mhz: float
    asked_mhz: float | None
    held: bool


class Unsettled(NamedTuple):
    """What has not settled: in words, its value, and what that may be at most."""

    what: str
    value: float
    threshold: float


@dataclass
class Settling:
    """The looks at one case while it warms up.

    Attributes:
        who: What a look is at, in words.
        spread: Most that the last looks may vary by.
        looks: One per 100 ms.
        clocks: Beside each of them the SM clock; None where it was not read.
    """

    who: str
    spread: float = SPREAD
    looks: list[int] = field(default_factory=list)
    clocks: list[Clock | None] = field(default_factory=list)

    def note(self, look: int, clock: Clock | None) -> None:
        """Add a look."""
        self.looks.append(look)
        self.clocks.append(clock)

    @property
    def settled(self) -> bool:
        """Enough looks agree, and so does the clock if it is read."""
        wanted = MIN_LOOKS if self._known else LOOKS
        return len(self.looks) >= wanted and self.telling >= LOOKS and not any(self.unsettled())

    @property
    def telling(self) -> int:
        """Number of looks that tell all: where the clock is read, those beside which it was."""
        return sum(clock is not None for clock in self.clocks) if self._known else len(self.looks)

    @property
    def level_mhz(self) -> float | None:
        """The SM clock of the last looks; None where it was not read."""
        read = [clock.mhz for clock in self.clocks[-LOOKS:] if clock is not None]
        return median(read) if read else None

    def unsettled(self) -> Iterator[Unsettled]:
        """Yield what has not settled, as far as the looks so far show."""
        spread = _spread(self.looks[-LOOKS:])
        if spread > self.spread:
            yield Unsettled(f"{self.who} still varied by {spread:.1%}", spread, self.spread)
        if self._known:
            yield from self._clock()

    @property
    def _known(self) -> bool:
        """The clock is read; one that was read for a while and is not any more is not waited for."""
        return any(clock is not None for clock in self.clocks[-LOOKS:])

    def _clock(self) -> Iterator[Unsettled]:
        read = [clock for clock in self.clocks if clock is not None]
        values = [clock.mhz for clock in read]
        spread = _spread(values[-LOOKS:])
        if len(values) >= 2 * LOOKS and spread <= HOPS:
            levels = [median(values[-LOOKS:]), median(values[-2 * LOOKS : -LOOKS])]
            spread = min(spread, _spread(levels))
        if spread > CLOCK_SPREAD:
            yield Unsettled(f"the SM clock still varied by {spread:.1%}", spread, CLOCK_SPREAD)
        mhz, asked, held = read[-1]
        if asked and mhz < LOW_CLOCK * asked and not held:
            text = f"the SM clock was {mhz:.0f} of {asked:.0f} MHz and nothing held it: the GPU idles in between"
            yield Unsettled(text, mhz / asked, LOW_CLOCK)


def _spread(values: Sequence[float]) -> float:
    """Return by how much the largest value exceeds the smallest."""
    return max(values) / min(values) - 1 if values and min(values) > 0 else 0.0
