"""Findings, and the checks that make them. No check can end the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Level = Literal["OK", "WARN", "FAIL"]
DEADLINE_S = 20.0
"""A look at files takes milliseconds; a mount whose server is gone, or a driver that hangs, never answers."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        area: Group of things: `machine`, `backends`, …
        what: The thing.
        level: `OK`; `WARN` if numbers suffer or something is missing that may be wanted; `FAIL` if benchfw cannot work
            or cannot be believed.
        text: What was found.
        remedy: One line to do something about it; empty where there is nothing to do.
    """

    area: str
    what: str
    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """One look at the machine.

    Attributes:
        area, what: Of the findings; they also name the check if it fails.
        find: Makes findings.
        deadline_s: Seconds after which it is left alone in its thread; None: it runs in the caller's, with deadlines
            of its own.
        late: The finding if that happens; default: a warning.
        wrong: The level if it raises: `FAIL` where nothing else tells whether the thing works.
    """

    area: str
    what: str
    find: Callable[[], Iterable[Finding]]
    deadline_s: float | None = DEADLINE_S
    late: Finding | None = None
    wrong: Level = "WARN"


def examine(checks: Iterable[Check]) -> Iterator[Finding]:
    """Yield the findings of all checks in order; one that raises or hangs gives one that names it, mostly a warning."""
    for check in checks:
        yield from _outcome(check)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 3 if anything failed, else 0."""
    return 3 if any(finding.level == "FAIL" for finding in findings) else 0


def _outcome(check: Check) -> list[Finding]:
    found: list[Finding] = []
    if check.deadline_s is None:
        _run(check, found)
        return found
    thread = threading.Thread(target=_run, args=(check, found), name=f"doctor: {check.what}", daemon=True)
    thread.start()
    thread.join(check.deadline_s)
    if thread.is_alive():
        text = f"no answer within {check.deadline_s:.0f} s"
        late = Finding(check.area, check.what, "WARN", text, "a file system or a driver hangs: look at dmesg")
        return [check.late or late]
    return found


def _run(check: Check, found: list[Finding]) -> None:
    try:
        found.extend(check.find())
    except Exception as error:  # a check that is wrong about this machine
        text = f"this check failed: {type(error).__name__}: {error}"
        found.append(Finding(check.area, check.what, check.wrong, text, "please report this line"))
