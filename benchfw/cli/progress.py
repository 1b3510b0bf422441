"""Progress on stderr: one line that is redrawn on a terminal, plain lines elsewhere.

Everything here happens on events, which the conductor sends between blocks. Nothing redraws by itself: a thread
that did would take CPU time from what is being measured.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from benchfw.cli.text import printable, say
from benchfw.executors.log import listening, round_text
from benchfw.spec.events import CaseDone, CohortStarted, Event, Notice, RoundDone, Stage

_REDRAW_S = 0.2
_QUIET = frozenset({"OK", "SKIPPED", "INTERRUPTED"})
"""Statuses that are told at the end, together."""


@contextlib.contextmanager
def progress(verbosity: str | None = None) -> Iterator[Callable[[Event], None]]:
    """Give a function that shows events.

    Args:
        verbosity: `quiet` shows notices only, `verbose` the lines of the log instead.
    """
    if verbosity == "quiet":
        yield _show_notice
    elif verbosity == "verbose":
        with listening(_say_all):
            yield lambda event: None
    elif sys.stderr.isatty():
        with _Live() as live:
            yield live.show
    else:
        yield _Lines().show


def _show_notice(event: Event) -> None:
    if isinstance(event, Notice):
        say(event.text, lines=True)


def _say_all(lines: str) -> None:
    for line in lines.split("\n"):
        say(line)


class _Lines:
    """Plain lines, each with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def show(self, event: Event) -> None:
        if isinstance(event, Stage):
            self._print(f"  {event.text}")
        elif isinstance(event, CohortStarted):
            self._print(f"[{event.index}/{event.total}] {event.cohort_id}: {_cases(event.cases)}")
        elif isinstance(event, CaseDone) and event.row["status"] not in _QUIET:
            self._print(f"  {event.row['case_id']}: {event.row['status']}, {event.row['status_reason']}")

    def _print(self, text: str) -> None:
        say(f"{time.monotonic() - self._start:6.1f} s {text}", lines=True)


class _Live:
    """One line of rich, redrawn on events and at most five times a second."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True)
        self._live = Live("", console=self._console, auto_refresh=False, transient=True)
        self._start = time.monotonic()
        self._drawn = 0.0
        self._cohort = "preparing"

    def __enter__(self) -> _Live:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, event: Event) -> None:
        if isinstance(event, CohortStarted):
            self._cohort = f"[{event.index}/{event.total}] {event.cohort_id}"
            self._draw(_cases(event.cases))
        elif isinstance(event, Notice):
            self._print(event.text)
        elif isinstance(event, Stage):
            self._draw(event.text)
        elif isinstance(event, RoundDone):
            if time.monotonic() - self._drawn >= _REDRAW_S:
                self._draw(round_text(event))
        elif isinstance(event, CaseDone) and event.row["status"] not in _QUIET:
            row = event.row
            self._print(f"{row['case_id']}: {row['status']}, {row['status_reason']}")

    def _print(self, text: str) -> None:
        """Print above the line, to stay."""
        from rich.text import Text

        self._console.print(Text(printable(text, lines=True)))

    def _draw(self, text: str) -> None:
        from rich.text import Text

        self._drawn = time.monotonic()
        line = printable(f"{self._drawn - self._start:5.0f} s  {self._cohort}  {text}")
        self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)


def _cases(count: int) -> str:
    return f"{count} case{'' if count == 1 else 's'} to measure"
