"""Samplers in threads: deadlines, what is kept, and what goes wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from threading import Event
from typing import Any

import numpy as np
import pytest

from benchfw.errors import MissingDependency
from benchfw.spec.sampler import Sampler
from benchfw.testing.samplers import Absent, Babbles, Counter, Raises
from benchfw.worker import pace, sampling
from benchfw.worker.clocks import now
from benchfw.worker.sampling import Sampling

MS = 1_000_000


class Hangs(Counter):
    """Waits until the test lets it go on."""

    def __init__(self, go_on: Event) -> None:
        super().__init__()
        self.go_on = go_on

    def third(self) -> None:
        self.go_on.wait()


class Closing(Counter):
    closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def start() -> Iterator[Callable[..., Sampling]]:
    """Starts samplers with a period of 1 ms, and ends them after the test."""
    started: list[Sampling] = []

    def start(**samplers: Sampler) -> Sampling:
        makers = {name: lambda sampler=sampler: sampler for name, sampler in samplers.items()}
        started.append(Sampling(makers, MS))
        return started[-1]

    yield start
    for each in started:
        each.stop(5)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_readings_are_handed_over_once_in_their_order(start: Callable[..., Sampling]) -> None:
    before = now()
    counter = Counter()
    work = start(a=counter, b=Counter())
    until(lambda: counter.readings >= 5)
    states, first = work.take()
    until(lambda: counter.readings >= 10)
    work.stop(5)
    _, second = work.take()
    assert states["a"] == {
        "units": {"count": "readings", "now_and_then": "°C"},
        "period_ns": states["a"]["period_ns"],
        "dropped": 0,
        "facts": {},
        "fault": None,
    }
    assert set(first["a/counts"]) == {2}
    assert first["a/fields"].tolist() == [0, 1] * len(first["a/times"])
    values = np.concatenate([first["a/values"], second["a/values"]]).reshape(-1, 2)
    assert values[:, 0].tolist() == list(range(1, counter.readings + 1))
    assert np.isnan(values[:, 1]).tolist() == [n % 3 == 0 for n in range(1, counter.readings + 1)]
    times = np.concatenate([first["a/times"], second["a/times"]])
    assert np.all(np.diff(times) > 0)
    assert before < times[0] < times[-1] < now()
    assert len(first["a/costs"]) == len(first["a/times"])
    assert (first["a/costs"] > 0).all()
    assert {len(array) for array in work.take()[1].values()} == {0}


def test_deadlines_do_not_move_with_the_length_of_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of its own: what a reading takes is not added to the period, and a missed deadline is left out."""
    clock = 0
    costs = iter((30, 99, 0, 250, 10, 10, 10))

    class Slow(Counter):
        def sample(self) -> Mapping[str, float | None]:
            nonlocal clock
            clock += next(costs) * MS
            return super().sample()

    monkeypatch.setattr(sampling, "now", lambda: clock)
    monkeypatch.setattr(pace, "COST_SHARE", 1.0)  # the period stays
    reader = sampling._Reader("slow", Slow, 100 * MS)

    class Waits(Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal clock
            clock += round((timeout or 0) * 1e9)
            if clock >= 900 * MS:
                reader.stop()
            return False

    reader.wake = Waits()
    reader.run()
    readings, _ = reader.take()
    assert [reading.time_ns // MS for reading in readings] == [0, 100, 200, 300, 600, 700, 800]
    assert [reading.cost_ns // MS for reading in readings] == [30, 99, 0, 250, 10, 10, 10]
    assert reader.fault is None


@pytest.mark.parametrize(
    ("bad", "fault", "readings"),
    [
        (Absent(), "there is no such sensor here", 0),
        (Raises(), "OSError: [Errno 5] the sensor is gone", 2),
        (Babbles(), "sample() returned 'many' for 'count', which is no number", 2),
    ],
)
def test_one_that_fails_says_why_and_the_others_go_on(
    bad: Counter, fault: str, readings: int, start: Callable[..., Sampling]
) -> None:
    good = Counter()
    work = start(bad=bad, good=good)
    until(lambda: good.readings >= 10)
    taken = []
    until(lambda: taken.append(work.take()) or taken[-1][0]["bad"]["fault"])  # type: ignore[func-returns-value]
    assert taken[-1][0]["bad"]["fault"] == fault
    assert taken[-1][0]["good"]["fault"] is None
    assert sum(len(arrays["bad/times"]) for _, arrays in taken) == readings
    after = good.readings
    until(lambda: good.readings > after)


def test_one_that_hangs_keeps_nobody_waiting(start: Callable[..., Sampling], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "STUCK_NS", 5 * MS)
    go_on = Event()
    good = Counter()
    work = start(bad=Hangs(go_on), good=good)
    until(lambda: (work.take()[0]["bad"]["fault"] or "").startswith("sample() has not returned for "))
    after = good.readings
    until(lambda: good.readings > after)
    go_on.set()  # slow is not dead
    until(lambda: work.take()[0]["bad"]["fault"] is None)


@pytest.mark.parametrize("given", [{}, {1: "MHz"}, {"a": None}, ["a"], None, dict.fromkeys(map(str, range(2000)), "")])
def test_nonsense_for_units_ends_a_sampler(given: Any, start: Callable[..., Sampling]) -> None:
    class Odd(Counter):
        def open(self) -> Any:
            return given

    work = start(odd=Odd())
    until(lambda: work.take()[0]["odd"]["fault"])
    assert "open() returned" in work.take()[0]["odd"]["fault"]


@pytest.mark.parametrize(
    "given",
    [None, ["count"], {"count": 1, "now_and_then": 1, "more": 1}]
    + [{"count": wrong, "now_and_then": 1} for wrong in ("1", True, 10**400, [1.0], 1j)],
)
def test_nonsense_for_values_ends_a_sampler(given: Any, start: Callable[..., Sampling]) -> None:
    class Odd(Counter):
        def sample(self) -> Any:
            return given

    work = start(odd=Odd())
    until(lambda: work.take()[0]["odd"]["fault"])
    assert "sample() returned" in work.take()[0]["odd"]["fault"]


def test_what_nobody_takes_is_bounded_and_counted(
    start: Callable[..., Sampling], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "_MAX_VALUES", 8)  # four readings of two fields
    counter = Counter()
    work = start(a=counter)
    until(lambda: counter.readings >= 10)
    work.stop(5)
    states, arrays = work.take()
    last = counter.readings
    assert arrays["a/values"][::2].tolist() == [last - 3, last - 2, last - 1, last]
    assert states["a"]["dropped"] == last - 4


def test_samplers_are_closed_once_even_if_they_failed(start: Callable[..., Sampling]) -> None:
    class Failing(Closing, Raises):
        def close(self) -> None:
            super().close()
            raise RuntimeError("and cannot be closed")

    samplers = Closing(), Failing()
    work = start(good=samplers[0], bad=samplers[1])
    until(lambda: samplers[1].closed)
    work.stop(5)
    work.stop(5)
    assert [sampler.closed for sampler in samplers] == [1, 1]
    states, _ = work.take()
    assert states["good"]["fault"] is None
    assert states["bad"]["fault"] == "OSError: [Errno 5] the sensor is gone"  # what went wrong first


def test_one_that_cannot_be_made_says_so() -> None:
    def make() -> Sampler:
        raise MissingDependency("no such package")

    work = Sampling({"a": make}, MS)
    work.stop(5)
    assert work.take()[0] == {
        "a": {"units": {}, "period_ns": MS, "dropped": 0, "facts": {}, "fault": "no such package"}
    }


class Watches(Counter):
    """Gives a field per process, and its own fields every other time."""

    def watch(self, processes: Mapping[str, int]) -> Mapping[str, str]:
        self.processes = {f"pid:{label}": pid for label, pid in processes.items()}
        return dict.fromkeys(self.processes, "number")

    def sample(self) -> Mapping[str, float | None]:
        figures = super().sample()
        return {**getattr(self, "processes", {}), **(figures if self.readings % 2 else {})}


def test_fields_come_and_go_with_what_is_watched(start: Callable[..., Sampling]) -> None:
    sampler = Watches()
    work = start(a=sampler)
    seen: dict[str, list[float]] = {}

    def read(field: str, times: int) -> None:
        """Take what is read until a field has come so many times."""
        seen.clear()

        def enough() -> bool:
            states, arrays = work.take()
            assert arrays["a/counts"].sum() == len(arrays["a/values"])
            units = list(states["a"]["units"])
            for place, value in zip(arrays["a/fields"], arrays["a/values"]):
                seen.setdefault(units[place], []).append(value)
            assert states["a"]["fault"] is None
            return len(seen.get(field, ())) >= times

        until(enough)

    read("count", 2)
    assert set(seen) == {"count", "now_and_then"}
    assert (np.diff(seen["count"]) == 2).all(), "a field that is left out has no value"
    work.watch({"x": 7})
    read("pid:x", 3)
    assert set(seen["pid:x"]) == {7.0}
    work.watch({"y": 8})
    read("pid:y", 3)
    read("pid:y", 3)
    assert "pid:x" not in seen


def test_nothing_is_read_while_it_is_paused(start: Callable[..., Sampling]) -> None:
    counter = Counter()
    work = start(a=counter)
    until(lambda: counter.readings >= 2)
    for _ in range(3):
        work.pause(5)
        work.pause(5)
        before = counter.readings
        time.sleep(0.01)
        assert counter.readings == before
        work.resume()
        until(lambda before=before: counter.readings > before)  # type: ignore[misc]


class Counts(Counter):
    """Has a counter that is read between blocks only."""

    devices = ()

    def open(self) -> Mapping[str, str]:
        return {**super().open(), "energy": "J"}

    def boundary(self, *, dear: bool) -> Mapping[str, float | None]:
        return {"energy": 5.0} if dear else {}

    def facts(self) -> Mapping[str, Any]:
        return {"devices": list(self.devices), "readings": self.readings}


def test_boundaries_are_read_when_they_are_asked_for_also_while_paused() -> None:
    sampler = Counts()
    work = Sampling({"a": lambda: sampler, "b": Counter}, 10_000 * MS, ["cuda:0"])
    try:
        until(lambda: sampler.readings)
        work.pause(5)
        work.boundary(5, dear=True)
        work.boundary(5, dear=False)
        states, arrays = work.take()
        assert list(states["a"]["units"])[-1] == "energy"
        assert arrays["a/values"][arrays["a/fields"] == 2].tolist() == [5.0]
        assert arrays["a/counts"].tolist() == [2, 1], "what gives nothing is no reading"
        assert states["a"]["facts"] == {"devices": ["cuda:0"], "readings": 1}
        assert sampler.readings == 1
    finally:
        work.stop(5)
    work.boundary(0.01, dear=True)


def test_a_boundary_that_hangs_or_raises_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "STUCK_NS", 5 * MS)
    go_on = Event()

    class Waits(Counts):
        def boundary(self, *, dear: bool) -> Mapping[str, float | None]:
            assert go_on.wait(20)
            raise OSError(5, "the sensor is gone")

    work = Sampling({"a": Waits}, MS)
    until(lambda: work.take()[0]["a"]["units"])
    try:
        work.boundary(0.05, dear=True)
        assert "boundary() has not returned" in work.take()[0]["a"]["fault"]
        before = time.monotonic()
        work.boundary(20, dear=True)
        assert time.monotonic() - before < 5
    finally:
        go_on.set()
        work.stop(5)
    assert "the sensor is gone" in work.take()[0]["a"]["fault"]


def test_facts_that_cannot_be_sent_end_a_sampler(start: Callable[..., Sampling]) -> None:
    class Odd(Counter):
        def facts(self) -> Any:
            return {"what": object()}

    work = start(odd=Odd())
    until(lambda: work.take()[0]["odd"]["fault"])
    assert "not JSON serializable" in work.take()[0]["odd"]["fault"]


def test_pausing_waits_for_a_reading_but_not_for_ever(start: Callable[..., Sampling]) -> None:
    go_on = Event()
    hangs = Hangs(go_on)
    work = start(a=hangs)
    until(lambda: hangs.readings == 3)
    work.pause(0.01)
    go_on.set()
    work.pause(5)
    time.sleep(0.01)
    assert hangs.readings == 3


def test_the_period_of_a_sampler_that_costs_too_much_doubles() -> None:
    """The bound is 0.5 % of the period: 0.5 ms at 100 ms."""
    cheap, dear, spiky = (pace.Pace(100 * MS) for _ in range(3))
    for place in range(1000):
        assert not cheap.note(MS * 49 // 100)
        dear.note(MS * 3)
        assert not spiky.note(MS * 40 if place % 50 in (3, 7) else MS // 10), "two of 50 waited for a CPU"
    assert (cheap.period_ns, dear.period_ns, spiky.period_ns) == (100 * MS, 800 * MS, 100 * MS)
    noticed = [dear.note(200 * MS) for _ in range(1000)]
    assert dear.period_ns == pace.MAX_PERIOD_NS
    assert sum(noticed) == 4, "1.6, 3.2, 6.4 and 10 s"
    assert noticed.index(True) < 5, "what costs far too much is not tried 50 times"
