"""The log of a run: one line per event, escaped, and never a reason to fail."""

from __future__ import annotations

import errno
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchfw.executors.log import LOGGER, NAME, EventLog, listening, log_event, log_start, log_warnings, run_log
from benchfw.spec.events import CaseDone, CohortStarted, Event, Notice, RoundDone, RunFinished, RunStarted, Stage

STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")


@dataclass(frozen=True)
class Unheard(Event):
    """An event that the log does not know by name."""

    what: str


def case(status: str, reason: str | None = None) -> CaseDone:
    return CaseDone({"case_id": "a/b", "status": status, "status_reason": reason, "verdict": "VALID"})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path


def lines(run: Path) -> list[str]:
    text = (run / "logs" / NAME).read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [STAMP.sub("", line, count=1) for line in text.splitlines()]


def unheeded(text: str) -> None:
    raise AssertionError(text)


def test_every_event_is_a_line(run: Path) -> None:
    machine: Mapping[str, Any] = {"system": "Linux", "cpus": 2}
    with run_log(run, unheeded):
        log_start(["benchfw", "run", "my file"], {"benchfw": "1", "python": "3", "packages": {"numpy": "2"}}, machine)
        log_event(RunStarted("id", "results/run=id", "net"))
        log_event(Stage("loading"))
        log_event(Notice("the cache goes with this process"))
        log_event(CohortStarted(1, 2, "batch1", 3))
        log_event(RoundDone(4, 1.5, 2, ("fake", 0.25)))
        for event in (case("OK"), case("SKIPPED", "no plugin"), case("CRASH", "signal 11"), Unheard("boo")):
            log_event(event)
        log_event(RunFinished("id", "results/run=id", "finished", {"OK": 1, "CRASH": 1}))
        log_warnings([{"code": "W01", "case_id": "a/b", "message": "not converged"}])
    assert lines(run) == [
        "INFO command benchfw run 'my file'",
        "INFO software benchfw 1, Python 3, numpy 2",
        "INFO machine system Linux, cpus 2",
        "INFO run id of net",
        "INFO loading",
        "WARNING the cache goes with this process",
        "INFO cohort 1 of 2, batch1: 3 to measure",
        "DEBUG round 4, 2 open, widest interval fake ±25.0%, at most 2 s left",
        "INFO case a/b: OK, VALID",
        "INFO case a/b: SKIPPED, no plugin",
        "ERROR case a/b: CRASH, signal 11",
        "INFO Unheard what=boo",
        "INFO finished, 1 OK, 1 CRASH",
        "WARNING W01 a/b: not converged",
    ]


def test_of_the_rounds_within_a_second_the_first_and_the_last_are_lines(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    tell = EventLog()
    with run_log(run, unheeded):
        for cohort in (1, 2):
            tell(CohortStarted(cohort, 2, "c", 1))
            for number in range(1, 16):
                now[0] += 0.125
                tell(RoundDone(number, None, 1, None))
            tell(case("OK"))
    rounds = [f"DEBUG round {number}, 1 open" for number in (1, 9, 15)]
    assert [line for line in lines(run) if "round" in line] == rounds * 2
    assert lines(run)[3:5] == [rounds[2], "INFO case a/b: OK, VALID"]


def test_an_attempt_appends_and_nothing_stays_behind(run: Path) -> None:
    handlers, level = list(LOGGER.handlers), LOGGER.level
    for number in range(2):
        with run_log(run, unheeded):
            LOGGER.info("attempt %d", number)
        LOGGER.error("between attempts")
    assert lines(run) == ["INFO attempt 0", "INFO attempt 1"]
    assert (LOGGER.handlers, LOGGER.level) == (handlers, level)


def test_nobody_elses_text_looks_like_a_line_of_ours_or_acts_on_a_terminal(run: Path) -> None:
    with run_log(run, unheeded):
        log_event(Stage("loading\x1b[2J\n2025-01-01T00:00:00.000Z ERROR forged\r\u2028\udc80ü"))
        try:
            raise ValueError("on \x07 purpose")
        except ValueError:
            LOGGER.exception("unexpected")
    first, second, *rest = lines(run)
    assert first == "INFO loading\\x1b[2J"
    assert second == "    2025-01-01T00:00:00.000Z ERROR forged"
    assert any("\\udc80ü" in line for line in rest)
    assert "    ValueError: on \\x07 purpose" in rest
    assert all(line.startswith(("    ", "ERROR unexpected")) for line in rest)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EPIPE])
def test_a_log_that_cannot_be_written_fails_nothing(
    run: Path, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with run_log(run, unheeded):
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fail)
            LOGGER.warning("lost")
        LOGGER.warning("kept")
    assert lines(run) == ["WARNING kept"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("there", ["folder", "pipe", "link"])
def test_what_is_no_file_is_not_written_to(run: Path, there: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / "logs" / NAME
    make: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),  # that nobody reads: opening it must not wait
        "link": lambda: path.symlink_to(run / "stolen"),
    }
    make[there]()
    told: list[str] = []
    with run_log(run, told.append):
        LOGGER.error("nobody listens")
    assert len(told) == 1
    assert f"{NAME} cannot be written" in told[0]
    assert not (run / "stolen").exists()
    assert capsys.readouterr() == ("", "")


def test_a_folder_of_logs_elsewhere_is_not_written_to(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (run / "logs").rmdir()
    (run / "logs").symlink_to(elsewhere)
    told: list[str] = []
    with run_log(run, told.append):
        LOGGER.error("nobody listens")
    assert told and not list(elsewhere.iterdir())


def test_several_listen() -> None:
    outer: list[str] = []
    inner: list[str] = []
    with listening(outer.append):
        with listening(inner.append):
            LOGGER.debug("both")
        LOGGER.debug("one")
        logging.getLogger("benchfw.child").debug("a child")
    assert [STAMP.sub("", line) for line in outer] == ["DEBUG both", "DEBUG one", "DEBUG a child"]
    assert len(inner) == 1
