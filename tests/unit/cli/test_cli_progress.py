"""Progress on stderr."""

from __future__ import annotations

import pytest

from benchfw.cli.progress import progress
from benchfw.measure.events import CaseDone, CohortStarted, RoundDone, Stage

EVENTS = (
    Stage("resolving null:net"),
    CohortStarted(1, 2, "batch1", 1),
    CohortStarted(2, 2, "batch4", 3),
    RoundDone(1, None, 3, ("fake", 0.05)),
    CaseDone({"case_id": "a", "status": "OK", "status_reason": None}),
    CaseDone({"case_id": "b", "status": "SKIPPED", "status_reason": "no plugin"}),
    CaseDone({"case_id": "c", "status": "CRASH", "status_reason": "signal 11"}),
)


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as notify:
        for event in EVENTS:
            notify(event)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(" s ", 1)[1] for line in err.splitlines()] == [
        "  resolving null:net",
        "[1/2] batch1: 1 case to measure",
        "[2/2] batch4: 3 cases to measure",
        "  c: CRASH, signal 11",
    ]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("quiet") as notify:
        for event in EVENTS:
            notify(event)
    assert capsys.readouterr() == ("", "")
