"""The log of a run, `logs/benchfw.log` in its folder: one line per event, and what the parent knows of failures.

Lines are written where events are sent, between blocks only. A log that cannot be written is no reason to lose a run.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchfw.spec.events import CaseDone, CohortStarted, Event, Notice, RoundDone, RunFinished, RunStarted, Stage
from benchfw.store.files import is_inside, printable

NAME = "benchfw.log"
LOGGER = logging.getLogger("benchfw")
LOGGER.addHandler(logging.NullHandler())  # or `logging` itself would print warnings where nobody listens

_MAX_LINE = 10_000
_ROUND_S = 1.0


class LogFormatter(logging.Formatter):
    """Time in UTC, level, message; what a terminal would act on is escaped, and only records begin at a margin."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(printable(line, _MAX_LINE) for line in super().format(record).splitlines())


class QuietHandler(logging.Handler):
    """Gives each line of the log to a function, whose errors end nothing and are told nobody.

    `logging` itself would print them on stderr, once per line.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__(logging.DEBUG)
        self._write = write
        self.setFormatter(LogFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            self._write(self.format(record))


@contextlib.contextmanager
def listening(write: Callable[[str], object]) -> Iterator[None]:
    """Give every line of the log to `write` for the length of a `with` block."""
    handler, level = QuietHandler(write), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


@contextlib.contextmanager
def run_log(run: Path, notify: Callable[[str], None]) -> Iterator[None]:
    """Append the log to the file of a run for the length of a `with` block, as far as it can be written.

    Args:
        run: Folder of the run.
        notify: Told if there can be no log.
    """
    try:
        file = _open(run)
    except OSError as error:
        notify(f"the run has no log: {run / 'logs' / NAME} cannot be written ({error.strerror})")
        yield
        return
    try:
        with listening(lambda line: os.write(file, f"{line}\n".encode("utf-8", "backslashreplace"))):
            yield
    finally:
        with contextlib.suppress(OSError):  # file systems that tell only now that the disk is full
            os.close(file)


class EventLog:
    """Writes events as lines: of the rounds of a cohort one per second, and the last."""

    def __init__(self) -> None:
        self._next_round = 0.0
        self._held: RoundDone | None = None

    def __call__(self, event: Event) -> None:
        """Write an event, or keep a round in mind until it is seen whether another one follows at once."""
        if isinstance(event, RoundDone) and time.monotonic() < self._next_round:
            self._held = event
            return
        if not isinstance(event, RoundDone) and self._held is not None:
            log_event(self._held)
        self._held = None
        log_event(event)
        if isinstance(event, RoundDone):
            self._next_round = time.monotonic() + _ROUND_S
        elif isinstance(event, CohortStarted):
            self._next_round = 0.0


def log_event(event: Event) -> None:
    """Write an event as a line, whatever it is."""
    if isinstance(event, RunStarted):
        LOGGER.info("run %s of %s", event.run_id, event.scenario)
    elif isinstance(event, Stage):
        LOGGER.log(logging.WARNING if isinstance(event, Notice) else logging.INFO, "%s", event.text)
    elif isinstance(event, CohortStarted):
        LOGGER.info("cohort %d of %d, %s: %d to measure", event.index, event.total, event.cohort_id, event.cases)
    elif isinstance(event, CaseDone):
        _log_case(event.row)
    elif isinstance(event, RunFinished):
        LOGGER.info("%s", ", ".join([event.state, *(f"{count} {name}" for name, count in event.statuses.items())]))
    elif isinstance(event, RoundDone):
        LOGGER.debug("%s", round_text(event))
    else:
        LOGGER.info("%s", " ".join([type(event).__name__, *_values(event)]))


def round_text(event: RoundDone) -> str:
    """Say in words how far a cohort is."""
    parts = [f"round {event.round}", f"{event.open} open"]
    if event.widest is not None:
        parts.append(f"widest interval {event.widest[0]} ±{event.widest[1]:.1%}")
    if event.left_s is not None:
        parts.append(f"at most {max(0, event.left_s):.0f} s left")
    return ", ".join(parts)


def log_start(command: list[str], software: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
    """Write what was asked for, with which versions, on which machine."""
    versions = {"benchfw": software["benchfw"], "Python": software["python"], **software["packages"]}
    LOGGER.info("command %s", shlex.join(command))
    LOGGER.info("software %s", ", ".join(f"{name} {version}" for name, version in versions.items()))
    LOGGER.info("machine %s", ", ".join(f"{key} {value}" for key, value in machine.items()))


def log_warnings(rows: Any) -> None:
    """Write the rows of the table `warnings` of a cohort."""
    for row in rows:
        LOGGER.warning("%s %s: %s", row.get("code"), row.get("case_id"), row.get("message"))


def _open(run: Path) -> int:
    folder = run / "logs"
    if not is_inside(run, folder):
        raise OSError(errno.EPERM, "its folder leads out of that of the run")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.open(folder / NAME, flags, 0o666)


def _log_case(row: Mapping[str, Any]) -> None:
    status, case = row.get("status"), row.get("case_id")
    if status == "OK":
        LOGGER.info("case %s: OK, %s", case, row.get("verdict"))
        return
    level = logging.INFO if status in ("SKIPPED", "UNSUPPORTED", "INTERRUPTED") else logging.ERROR
    LOGGER.log(level, "case %s: %s, %s", case, status, row.get("status_reason"))


def _values(event: Event) -> Iterator[str]:
    for field in fields(event):
        yield f"{field.name}={getattr(event, field.name)}"
