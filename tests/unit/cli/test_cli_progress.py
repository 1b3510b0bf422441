"""Progress on stderr."""

from __future__ import annotations

import re

import pytest

from benchfw.cli.progress import progress
from benchfw.executors.log import log_event
from benchfw.spec.events import CaseDone, CohortStarted, Notice, RoundDone, Stage

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


def test_quiet_tells_only_what_must_be_known(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("quiet") as notify:
        for event in (*EVENTS, Notice("two runs\nat once")):
            notify(event)
    assert capsys.readouterr() == ("", "two runs\n    at once\n")


def test_verbose_tells_every_line_of_the_log_and_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("verbose") as notify:
        for event in EVENTS:
            log_event(event)
            notify(event)
    log_event(EVENTS[0])
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line.split(" ", 1) for line in err.splitlines()]
    assert len(lines) == len(EVENTS)
    assert all(re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}Z", stamp) for stamp, _ in lines)
    assert lines[0][1] == "INFO resolving null:net"
    assert lines[3][1].startswith("DEBUG round 1, 3 open")
