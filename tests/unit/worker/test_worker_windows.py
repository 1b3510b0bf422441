"""Windows of several lanes, and the look behind the fence."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.testing.virtual import VirtualClock
from benchfw.worker import clocks, windows


class Lanes:
    """Launches that note their lane, their place in it, their thread, and when they ran."""

    def __init__(self, count: int, slots: int, work: Callable[[int], object] = lambda lane: None) -> None:
        self.calls: list[tuple[int, int, int, int]] = []
        self._work = work
        self.launches = [[self._launch(lane, place) for place in range(slots)] for lane in range(count)]

    def _launch(self, lane: int, place: int) -> Callable[[], object]:
        def launch() -> None:
            self.calls.append((lane, place, threading.get_ident(), clocks.now()))
            self._work(lane)

        return launch


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.lists(st.integers(0, 4), max_size=60))
def test_every_inference_is_done_once_whoever_does_it(count: int, order: list[int]) -> None:
    lanes = Lanes(count, 5)
    before = clocks.now()
    start, end = windows.run(lanes.launches, order)
    after = clocks.now()
    assert Counter(place for _, place, _, _ in lanes.calls) == Counter(order)
    assert before <= start <= end <= after
    assert all(start <= when <= end for _, _, _, when in lanes.calls)
    threads = {lane: {call[2] for call in lanes.calls if call[0] == lane} for lane in range(count)}
    assert all(len(of_lane) <= 1 for of_lane in threads.values()), "a lane keeps to its thread"
    assert threads[0] <= {threading.get_ident()}


def test_one_lane_keeps_the_order() -> None:
    lanes = Lanes(1, 5)
    windows.run(lanes.launches, [4, 0, 0, 3, 1])
    assert [place for _, place, _, _ in lanes.calls] == [4, 0, 0, 3, 1]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_lanes_that_overlap_make_the_window_shorter(count: int, clock: VirtualClock) -> None:
    lanes = Lanes(count, 2, lambda lane: clock.advance(1_000_000))
    start, end = windows.run(lanes.launches, [0, 1] * 40)
    assert end - start == pytest.approx(80e6 / count, rel=0.01)
    assert set(Counter(lane for lane, *_ in lanes.calls).values()) == {80 // count}


def test_no_lane_ends_long_before_the_others(clock: VirtualClock) -> None:
    """The fast lane takes what the slow one cannot: the window is not as long as half of the work of the slow one."""
    lanes = Lanes(2, 1, lambda lane: clock.advance(1_000_000 if lane else 3_000_000))
    start, end = windows.run(lanes.launches, [0] * 40)
    assert end - start == pytest.approx(30e6, rel=0.05)


@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize("kind", [ValueError, MemoryError, SystemExit, KeyboardInterrupt])
def test_an_exception_in_a_lane_reaches_the_caller_and_hangs_nobody(bad: int, kind: type[BaseException]) -> None:
    raised = threading.Event()

    def work(lane: int) -> None:
        if lane == bad:
            raised.set()
            raise kind("on purpose")
        assert raised.wait(10)

    lanes = Lanes(3, 1, work)
    threads = threading.active_count()
    with pytest.raises(kind, match="on purpose"):
        windows.run(lanes.launches, [0] * 20)
    assert threading.active_count() == threads
    calls = Counter(lane for lane, *_ in lanes.calls)
    assert calls[bad] == 1
    assert sum(calls.values()) == 20, "the other lanes did the rest"


@pytest.fixture
def barriers(monkeypatch: pytest.MonkeyPatch) -> list[threading.Barrier]:
    """Barriers of the windows that the real clock makes, as they are made."""
    made: list[threading.Barrier] = []

    class Watched(clocks.Window):
        def __init__(self, parties: int) -> None:
            super().__init__(parties)
            made.append(self._barrier)

    monkeypatch.setattr(clocks, "window", Watched)
    return made


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_window_in_which_all_have_begun_is_not_broken(bad: int, barriers: list[threading.Barrier]) -> None:
    """A thread that wakes up late would find it broken, and not do its part."""
    raised = threading.Event()

    def work(lane: int) -> None:
        if lane == bad:
            raised.set()
            raise ValueError("on purpose")
        assert raised.wait(10)

    with pytest.raises(ValueError, match="on purpose"):
        windows.run(Lanes(3, 1, work).launches, [0] * 20)
    assert [barrier.broken for barrier in barriers] == [False]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("bad", [1, 2])
@pytest.mark.parametrize("kind", [ValueError, MemoryError, SystemExit])
def test_a_lane_that_cannot_enter_keeps_all_from_beginning(
    late: bool, bad: int, kind: type[BaseException], barriers: list[threading.Barrier]
) -> None:
    """Whether the others come later, or wait for it already."""

    def enter(place: int) -> None:
        if place == bad:
            while late and barriers[0].n_waiting < 2:
                time.sleep(0.001)
            raise kind("no room for another thread")

    lanes = Lanes(3, 1)
    threads = threading.active_count()
    with pytest.raises(kind, match="no room for another thread"):
        windows.run(lanes.launches, [0] * 20, enter=enter)
    assert threading.active_count() == threads
    assert lanes.calls == []
    assert [barrier.broken for barrier in barriers] == [True]


def test_a_lane_that_cannot_enter_hangs_nobody_in_virtual_time_either(clock: VirtualClock) -> None:
    def enter(place: int) -> None:
        if place == 2:
            raise ValueError("on purpose")

    lanes = Lanes(3, 1, lambda lane: clock.advance(1_000_000))
    with pytest.raises(ValueError, match="on purpose"):
        windows.run(lanes.launches, [0] * 20, enter=enter)
    assert lanes.calls == []
    start, end = windows.run(lanes.launches, [0] * 21, enter=lambda place: None)
    assert end - start == pytest.approx(7e6, rel=0.01), "the clock is fit for the next window"


def test_an_exception_in_a_lane_hangs_nobody_in_virtual_time_either(clock: VirtualClock) -> None:
    def work(lane: int) -> None:
        clock.advance(1_000_000)
        if lane:
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        windows.run(Lanes(3, 1, work).launches, [0] * 20)
    start, end = windows.run(Lanes(2, 1, lambda lane: clock.advance(1_000_000)).launches, [0] * 20)
    assert end - start == pytest.approx(10e6, rel=0.01), "the clock is fit for the next window"


def test_a_window_begins_when_it_is_told_to() -> None:
    lanes = Lanes(2, 1)
    at = clocks.now() + 20_000_000
    start, _ = windows.run(lanes.launches, [0] * 4, at)
    assert start >= at
    assert all(when >= at for *_, when in lanes.calls)


def test_clocks_of_several_processes_are_brought_together(clock: VirtualClock) -> None:
    for at in (clock.peek() + 10**9, clock.peek() - 10**9):
        start, end = windows.run(Lanes(2, 1, lambda lane: clock.advance(1_000_000)).launches, [0] * 4, at)
        assert start == pytest.approx(at, abs=100)
        assert end - start == pytest.approx(2e6, abs=1000)


# --- the fence --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left_ns", [0, 1_000, 5_000_000, 300_000_000])
def test_what_is_left_to_do_shows_in_the_outputs(left_ns: int, clock: VirtualClock) -> None:
    done_at = 0

    def launch() -> None:
        nonlocal done_at
        clock.advance(10_000)
        done_at = clock.peek() + left_ns

    def outputs() -> dict[str, object]:
        clock.advance(max(0, done_at - clock.peek()) + 50_000)
        return {}

    first, again, rested = windows.look_behind(launch, outputs, 3, 0.36)
    assert again == rested == pytest.approx(50_000, abs=200)
    assert first - again == pytest.approx(left_ns, abs=200)


def test_one_slow_look_does_not_matter(clock: VirtualClock) -> None:
    """The shortest look counts: what else happens on the machine only makes one longer."""
    slow = iter([9_000_000, 0, 0, 0, 9_000_000, 0, 9_000_000, 0, 0])

    def outputs() -> dict[str, object]:
        clock.advance(50_000 + next(slow))
        return {}

    first, again, rested = windows.look_behind(lambda: None, outputs, 3, 0.001)
    assert first == again == rested
