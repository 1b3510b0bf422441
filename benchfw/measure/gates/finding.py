"""What a gate has found."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """A row of the table `warnings`, without the case; in the order of the arguments of `Member.warn`.

    Attributes:
        code: As in docs/reference/warnings.md.
        value: What was measured.
        threshold: What it was compared with.
        message: What it is, and the remedy, in a line.
    """

    code: str
    value: float | None
    threshold: float | None
    message: str
