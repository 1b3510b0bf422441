"""Gates: what makes a number worthless, and what a reader of it must know (docs/reference/warnings.md).

A gate that fails (V) raises, so that the case has no number. A finding (W) is a row of the table `warnings`.
"""

from __future__ import annotations

from benchfw.errors import Invalid
from benchfw.measure.gates.finding import Finding as Finding


class GateFailed(Invalid):
    """A validity gate: what was measured is not what it is said to be.

    Args:
        code: `V01`, ….
        message: One line with figures.
        value, threshold: What was measured, and the limit.
        hint: The remedy.
    """

    def __init__(
        self, code: str, message: str, *, value: float | None = None, threshold: float | None = None, hint: str
    ) -> None:
        super().__init__(f"{code}: {message}", hint=hint)
        self.code = code
        self.value = value
        self.threshold = threshold
