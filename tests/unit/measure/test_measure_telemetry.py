"""The parent's end of the sampler process."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchfw.errors import MissingDependency
from benchfw.measure.telemetry import Telemetry
from benchfw.spec.events import Event, Notice
from benchfw.spec.stop import Stop
from benchfw.store.writer import row_faults
from benchfw.supervisor import Worker, hand_over
from benchfw.worker.protocol import Message

COUNTER, KILLS = (f"benchfw.testing.samplers:{name}" for name in ("Counter", "Kills"))


@pytest.fixture
def start(tmp_path: Path) -> Callable[[], Worker]:
    code = hand_over(tmp_path / "code", [COUNTER])
    return lambda: Worker(python=sys.executable, code=code, log=tmp_path / "log")


def test_a_process_that_dies_ends_the_telemetry_and_nothing_else(start: Callable[[], Worker]) -> None:
    events: list[Event] = []
    stop = Stop()
    with Telemetry({"good": COUNTER, "bad": KILLS}, start, stop=stop, notify=events.append) as telemetry:
        assert telemetry._worker is not None
        deadline = time.monotonic() + 20
        while telemetry._worker.alive:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert telemetry.take("batch1") == telemetry.take("batch2") == []
    (event,) = events
    assert isinstance(event, Notice)
    assert event.text.startswith("warning: there is no more telemetry: ")
    assert "SIGKILL" in event.text
    assert all("SIGKILL" in facts["ended"] for facts in telemetry.facts.values())


def test_a_wish_to_stop_takes_away_neither_the_process_nor_what_was_read(start: Callable[[], Worker]) -> None:
    stop = Stop()
    stop.reason = "interrupted by a test"
    with Telemetry({"good": COUNTER}, start, stop=stop) as telemetry:
        rows: list[dict[str, Any]] = []
        deadline = time.monotonic() + 20
        while len(rows) < 2:
            assert time.monotonic() < deadline
            rows += telemetry.take("batch1")
    assert [row["field"] for row in rows[:2]] == ["count", "now_and_then"]
    assert row_faults("telemetry", rows) == {}
    assert telemetry.facts["good"]["ended"] is None


def test_a_process_that_does_not_start_is_told_of_once() -> None:
    def start() -> Worker:
        raise MissingDependency("the interpreter does not start")

    events: list[Event] = []
    with Telemetry({"a": COUNTER, "b": COUNTER}, start, notify=events.append) as telemetry:
        assert telemetry.take("batch1") == []
    assert events == [Notice("warning: there is no more telemetry: the interpreter does not start")]
    assert {facts["ended"] for facts in telemetry.facts.values()} == {"the interpreter does not start"}


def test_without_samplers_there_is_no_process() -> None:
    def start() -> Worker:
        raise AssertionError

    with Telemetry({}, start) as telemetry:
        assert telemetry.take("batch1") == []
    assert telemetry.facts == {}


class Answers:
    """A process that says what a test wants."""

    def __init__(self, values: dict[str, Any], arrays: dict[str, Any]) -> None:
        self.message = Message("ok", values, arrays)
        self.closed = False

    def ask(self, kind: str, timeout: float, **values: Any) -> Message:
        return self.message

    def close(self) -> None:
        self.closed = True


GOOD = {"units": {"x": "MHz"}, "dropped": 0, "fault": None}
TWO: dict[str, Any] = {
    "a/times": np.array([10, 30]),
    "a/costs": np.array([1, 2]),
    "a/values": np.array([[0.5], [np.nan]]),
}


def test_readings_of_several_samplers_are_sorted_by_time() -> None:
    arrays = TWO | {key.replace("a/", "b/"): value for key, value in TWO.items()} | {"b/times": np.array([20, 40])}
    process: Any = Answers({"samplers": {"a": GOOD, "b": GOOD}}, arrays)
    with Telemetry({"a": COUNTER, "b": COUNTER}, lambda: process) as telemetry:
        rows = telemetry.take("batch1")
    assert [(row["time_ns"], row["sampler"], row["read_ns"]) for row in rows] == [
        (10, "a", 1),
        (20, "b", 1),
        (30, "a", 2),
        (40, "b", 2),
    ]
    assert process.closed


@pytest.mark.parametrize(
    ("values", "arrays"),
    [
        ({}, TWO),
        ({"samplers": {}}, TWO),
        ({"samplers": {"a": None}}, TWO),
        ({"samplers": {"a": GOOD | {"dropped": "many"}}}, TWO),
        ({"samplers": {"a": GOOD}}, {}),
        ({"samplers": {"a": GOOD}}, TWO | {"a/costs": np.array([1])}),
        ({"samplers": {"a": GOOD}}, TWO | {"a/values": np.zeros((2, 2))}),
        ({"samplers": {"a": GOOD}}, TWO | {"a/values": np.zeros(2)}),
    ],
)
def test_an_answer_that_makes_no_sense_ends_the_telemetry(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    process: Any = Answers(values, arrays)
    events: list[Event] = []
    with Telemetry({"a": COUNTER}, lambda: process, notify=events.append) as telemetry:
        telemetry.take("batch1")
        assert process.closed
    assert len(events) == 1
    assert "not what was agreed" in telemetry.facts["a"]["ended"]
