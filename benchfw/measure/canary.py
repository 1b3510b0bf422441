"""Looks at the canary of a worker: has the machine changed while it measured?"""

from __future__ import annotations

from collections.abc import Mapping

from benchfw.measure.gates import Finding

SHIFT = 0.01
"""Threshold of W21 (relative). On an idle machine looks agree much better: docs/concepts/measurement.md."""
_PARTS = {"roots_ns": "square roots", "product_ns": "matrix product", "copy_ns": "copy in memory"}


class Canaries:
    """The first and the last look at the canary of one worker: the one opens, the other closes its measurements.

    Attributes:
        opening, closing: Time of each part in ns, by name (`benchfw.worker.canary.Canary.whole`).
    """

    def __init__(self) -> None:
        self.opening: dict[str, int] = {}
        self.closing: dict[str, int] = {}

    def note(self, parts: Mapping[str, int]) -> None:
        """Note a look: the first one opens, the last one closes."""
        looked = {part: int(parts[part]) for part in _PARTS if parts.get(part, 0) > 0}
        if not self.opening:
            self.opening = looked
        else:
            self.closing = looked

    @property
    def shifts(self) -> dict[str, float]:
        """Relative change of each part from the first look to the last; 0.02 is 2 % slower."""
        return {part: self.closing[part] / time - 1.0 for part, time in self.opening.items() if part in self.closing}

    @property
    def shift(self) -> float | None:
        """The largest change, with its sign; None before the second look."""
        return max(self.shifts.values(), key=abs, default=None)

    def finding(self) -> Finding | None:
        """Return W21 if a part has changed by more than 1 %."""
        shifts = self.shifts
        part = max(shifts, key=lambda name: abs(shifts[name]), default=None)
        if part is None or abs(shifts[part]) <= SHIFT:
            return None
        what = "slower" if shifts[part] > 0 else "faster"
        others = ", ".join(f"{_PARTS[name]} {shift:+.1%}" for name, shift in shifts.items() if name != part)
        return Finding(
            "W21",
            abs(shifts[part]),
            SHIFT,
            f"the canary's {_PARTS[part]} became {abs(shifts[part]):.1%} {what} while its worker measured ({others}): "
            "the machine changed; keep other work and changes of the clock away, and measure again",
        )
