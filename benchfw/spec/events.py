"""What a run tells while it works: the console shows it, plugins get it by `benchfw_on_event`.

Sent between blocks only, so that whoever listens disturbs no measurement; but a run waits for its listeners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True)
class RunStarted(Event):
    """A run has its folder: from now on it can be resumed.

    Attributes:
        run_id: Its id.
        folder: Path of its folder.
        scenario: Name of its scenario.
    """

    run_id: str
    folder: str
    scenario: str


@dataclass(frozen=True)
class Stage(Event):
    """Something that takes a while begins: resolving, exporting, compiling, loading, warming up."""

    text: str


@dataclass(frozen=True)
class Notice(Stage):
    """Something that the user should know, also one who wants to be told little."""


@dataclass(frozen=True)
class CohortStarted(Event):
    """A cohort begins: its number from 1, of how many, and how many of its cases can be measured."""

    index: int
    total: int
    cohort_id: str
    cases: int


@dataclass(frozen=True)
class RoundDone(Event):
    """A round is over.

    Attributes:
        round: Its number, from 1.
        left_s: Time that the cohort may still take; None without a budget.
        open: Cases that are not done yet.
        widest: Name of the open case with the widest interval, and half of that over its median.
    """

    round: int
    left_s: float | None
    open: int
    widest: tuple[str, float] | None


@dataclass(frozen=True)
class CaseDone(Event):
    """A case has its row of the table `cases`."""

    row: Mapping[str, Any]


@dataclass(frozen=True)
class RunFinished(Event):
    """A run has written its last row.

    Attributes:
        run_id: Its id.
        folder: Path of its folder.
        state: `finished`, `interrupted` or `failed`.
        statuses: How many cases ended with each status.
    """

    run_id: str
    folder: str
    state: str
    statuses: Mapping[str, int]
