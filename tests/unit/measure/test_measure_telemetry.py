"""The parent's end of the sampler process."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchfw.errors import MissingDependency
from benchfw.handover import hand_over
from benchfw.measure.host import cpu_time_ns
from benchfw.measure.telemetry import Telemetry
from benchfw.processes import state_of
from benchfw.spec.events import Event, Notice
from benchfw.spec.sampler import SamplerInfo
from benchfw.spec.stop import Stop
from benchfw.store.writer import row_faults
from benchfw.supervisor import Worker
from benchfw.worker.protocol import Message

COUNTER, KILLS = (SamplerInfo(name=name, factory=f"benchfw.testing.samplers:{name}") for name in ("Counter", "Kills"))


@pytest.fixture
def start(tmp_path: Path) -> Callable[[], Worker]:
    code = hand_over(tmp_path / "code", [COUNTER.factory])
    return lambda: Worker(python=sys.executable, code=code, log=tmp_path / "log")


def test_a_process_that_dies_ends_the_telemetry_and_nothing_else(start: Callable[[], Worker]) -> None:
    events: list[Event] = []
    stop = Stop()
    with Telemetry({"good": COUNTER, "bad": KILLS}, start, stop=stop, notify=events.append) as telemetry:
        worker = telemetry._process()
        assert worker is not None
        deadline = time.monotonic() + 20
        while worker.alive:
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
        self.hello = {"packages": {"there": "7.2"}}
        self.asked: list[str] = []
        self.closed = False

    def ask(self, kind: str, timeout: float, **values: Any) -> Message:
        self.asked.append(kind)
        return self.message

    def hold(self) -> None:
        self.asked.append("(held)")

    def resume(self) -> None:
        self.asked.append("(let go)")

    @contextlib.contextmanager
    def running(self) -> Iterator[Answers]:
        self.resume()
        yield self
        self.hold()

    def kill(self) -> None:
        self.close()

    def close(self) -> None:
        self.closed = True


GOOD = {"units": {"x": "MHz"}, "period_ns": 10**8, "dropped": 0, "fault": None}
TWO: dict[str, Any] = {
    "a/times": np.array([10, 30]),
    "a/costs": np.array([1, 2]),
    "a/counts": np.array([1, 1]),
    "a/fields": np.array([0, 0]),
    "a/values": np.array([0.5, np.nan]),
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
        ({"samplers": {"a": GOOD}}, TWO | {"a/values": np.zeros((3, 2))}),
        ({"samplers": {"a": GOOD}}, TWO | {"a/values": np.zeros(3)}),
        ({"samplers": {"a": GOOD}}, TWO | {"a/counts": np.array([1, -1])}),
        ({"samplers": {"a": GOOD}}, TWO | {"a/fields": np.array([0, 1])}),
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


def test_who_starts_telemetry_does_not_wait_for_it() -> None:
    go_on = threading.Event()
    process: Any = Answers({"samplers": {"a": GOOD}}, TWO)

    def start() -> Any:
        assert go_on.wait(20)
        return process

    with Telemetry({"a": COUNTER}, start) as telemetry:
        telemetry.watch("one", 1)
        telemetry.watch("two", 2)
        assert process.asked == []
        go_on.set()
        assert next(row["value"] for row in telemetry.take("batch1")) == 0.5
        telemetry.watch("two", 3)
        assert process.asked == ["sample_start", "sample_watch", "sample_take", "sample_watch"]
    assert process.asked[-1] == "sample_stop"


def test_pausing_lets_readings_end_before_the_process_is_stopped() -> None:
    process: Any = Answers({"samplers": {"a": GOOD}}, TWO)
    with Telemetry({"a": COUNTER}, lambda: process) as telemetry:
        assert telemetry.running is True
        process.asked.clear()
        telemetry.pause()
        telemetry.pause()
        assert telemetry.running is False
        telemetry.watch("one", 1)
        telemetry.resume()
        telemetry.resume()
        assert telemetry.running is True
        asked = list(process.asked)
        telemetry.pause()
    assert asked == ["sample_pause", "(held)", "(let go)", "sample_watch", "(held)", "(let go)", "sample_resume"]
    assert process.asked[-4:] == ["(held)", "(let go)", "sample_resume", "sample_stop"]


def test_a_real_process_that_is_paused_reads_nothing(start: Callable[[], Worker]) -> None:
    with Telemetry({"good": COUNTER}, start) as telemetry:
        telemetry.pause()
        telemetry.take("batch1")
        assert telemetry.process is not None
        deadline = time.monotonic() + 20
        while state_of(telemetry.process) != "T":
            assert time.monotonic() < deadline
        before = cpu_time_ns(telemetry.process)
        time.sleep(0.25)
        assert cpu_time_ns(telemetry.process) - before < 1_000_000
        assert telemetry.take("batch1") == []
        telemetry.resume()
        deadline = time.monotonic() + 20
        while not telemetry.take("batch1"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        ("not-there>=1", "b needs not-there>=1, which is not installed (pip install it)"),
        ("there>=8", "b needs there>=8, 7.2 is installed (pip install it)"),
    ],
)
def test_a_sampler_that_lacks_what_it_needs_is_left_out(requires: str, reason: str) -> None:
    lacking = SamplerInfo(name="b", factory="nowhere:B", requires=(requires,), install="pip install it")
    process: Any = Answers({"samplers": {"a": GOOD}}, TWO)
    events: list[Event] = []
    with Telemetry({"a": COUNTER, "b": lacking}, lambda: process, notify=events.append) as telemetry:
        for _ in range(2):
            assert {row["sampler"] for row in telemetry.take("batch1")} == {"a"}
    assert events == [Notice(f"warning: the sampler b is left out: {reason}")]
    assert telemetry.facts["b"]["ended"] == reason
    assert [finding.code for finding in telemetry.findings] == ["W12"]


def test_a_sampler_that_had_to_slow_down_is_said() -> None:
    process: Any = Answers(
        {"samplers": {"a": GOOD | {"period_ns": 4 * 10**8}}}, TWO | {"a/costs": np.array([10**6] * 2)}
    )
    with Telemetry({"a": COUNTER}, lambda: process) as telemetry:
        telemetry.take("batch1")
    (finding,) = telemetry.findings
    assert (finding.code, finding.value, finding.threshold) == ("W13", 0.01, 0.005)
    assert "takes 1 ms, so that it is read every 0.4 s only" in finding.message


def test_boundaries_are_read_also_while_the_process_is_paused() -> None:
    process: Any = Answers({"samplers": {"a": GOOD | {"facts": {"driver": "580"}}}}, TWO)
    with Telemetry({"a": COUNTER}, lambda: process, devices={"cuda:0", "cpu"}) as telemetry:
        telemetry.boundary()
        telemetry.pause()
        process.asked.clear()
        telemetry.boundary(dear=True)
        assert process.asked == ["(let go)", "sample_boundary", "(held)"]
        telemetry.resume()
        telemetry.take("batch1")
        assert telemetry.facts["a"]["facts"] == {"driver": "580"}
