"""The timing loops and the inputs of workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchfw.worker import clocks, inputs, loops

UNTOUCHED = -1


def _lists(length: int) -> tuple[list[int], list[int]]:
    return [UNTOUCHED] * length, [UNTOUCHED] * length


def _assert_in_order(starts: list[int], ends: list[int]) -> None:
    stamps = [stamp for pair in zip(starts, ends, strict=True) for stamp in pair]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_host_sync_stamps_each_launch_and_no_more(n: int) -> None:
    calls: list[int] = []
    starts, ends = _lists(10)
    before = clocks.now()
    loops.host_sync(lambda: calls.append(clocks.now()), n, starts, ends)
    after = clocks.now()
    assert len(calls) == n
    _assert_in_order(starts[:n], ends[:n])
    assert all(start <= call <= end for start, call, end in zip(starts, calls, ends))
    assert all(before <= stamp <= after for stamp in starts[:n] + ends[:n])
    assert set(starts[n:]) | set(ends[n:]) == {UNTOUCHED}


def test_host_sync_times_the_launch() -> None:
    starts, ends = _lists(3)
    loops.host_sync(lambda: time.sleep(0.01), 3, starts, ends)
    assert all(end - start >= 10_000_000 for start, end in zip(starts, ends))


def test_a_sequence_is_launched_in_its_order() -> None:
    seen: list[int] = []

    def slot(number: int) -> Callable[[], object]:
        return lambda: seen.append(number)

    order = [2, 0, 0, 1, 2]
    slots = [slot(number) for number in range(3)]
    starts, ends = _lists(6)
    loops.host_sync_sequence([slots[number] for number in order], starts, ends)
    assert seen == order
    _assert_in_order(starts[:5], ends[:5])
    assert starts[5] == ends[5] == UNTOUCHED


def test_an_error_of_a_launch_is_not_swallowed() -> None:
    starts, ends = _lists(3)
    with pytest.raises(ZeroDivisionError):
        loops.host_sync(lambda: 1 // 0, 3, starts, ends)
    with pytest.raises(ZeroDivisionError):
        loops.host_sync_sequence([lambda: 1 // 0], starts, ends)


def test_the_bare_loop_takes_at_least_what_it_launches() -> None:
    calls: list[None] = []
    assert loops.bare(lambda: calls.append(None), 50) > 0
    assert len(calls) == 50
    assert loops.bare(lambda: time.sleep(0.002), 5) >= 2_000_000


def test_the_clock_is_monotonic() -> None:
    stamps = [clocks.now() for _ in range(1000)]
    assert stamps == sorted(stamps)
    assert clocks.describe()["implementation"]


def test_inputs_are_mapped_read_only(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(tmp_path / "x.npy", array)
    read = inputs.read({"x": str(tmp_path / "x.npy")})
    np.testing.assert_array_equal(read["x"], array)
    with pytest.raises(ValueError):
        read["x"][0, 0] = 1.0


def test_inputs_with_pickles_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError):
        inputs.read({"x": str(tmp_path / "x.npy")})


# --- on a stream ------------------------------------------------------------------------------------------------


class Tape:
    """Notes what is called, in order."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def note(self, text: str) -> Callable[[], object]:
        return lambda: self.calls.append(text)

    def record(self, event: str, stream: str) -> None:
        self.calls.append(f"{event} on {stream}")

    def wait(self, event: str) -> None:
        self.calls.append(f"wait {event}")


def test_a_stream_is_fenced_after_each_launch() -> None:
    tape, starts, ends = Tape(), *_lists(3)
    enqueued = [UNTOUCHED] * 3
    loops.stream_latency([tape.note("a"), tape.note("b")], tape.note("fence"), starts, enqueued, ends)
    assert tape.calls == ["a", "fence", "b", "fence"]
    stamps = [stamp for row in zip(starts[:2], enqueued[:2], ends[:2], strict=True) for stamp in row]
    assert stamps == sorted(stamps)
    assert starts[2] == enqueued[2] == ends[2] == UNTOUCHED


def test_events_lie_around_the_launch_alone() -> None:
    tape, starts, ends = Tape(), *_lists(2)
    events = [("e0", "e1"), ("e2", "e3")]
    launches = [tape.note("a"), tape.note("b")]
    loops.stream_events(launches, events, tape.record, "s", tape.note("fence"), starts, [0, 0], ends)
    assert tape.calls == ["e0 on s", "a", "e1 on s", "fence", "e2 on s", "b", "e3 on s", "fence"]
    _assert_in_order(starts, ends)


def test_events_lie_around_copies_and_launch() -> None:
    tape, starts, ends = Tape(), *_lists(1)
    calls = [(tape.note("in"), tape.note("run"), tape.note("out"))]
    loops.stream_events_copies(
        calls, [("e0", "e1", "e2", "e3")], tape.record, "s", tape.note("fence"), starts, [0], ends
    )
    assert tape.calls == ["e0 on s", "in", "e1 on s", "run", "e2 on s", "out", "e3 on s", "fence"]


def test_a_cache_is_flushed_outside_of_the_stamps() -> None:
    """Each loop has its first stamp after the flush is done: what it calls in between takes 10 ms."""
    tape = Tape()

    def flush() -> None:
        tape.calls.append("flush")
        time.sleep(0.01)

    fence, rest = tape.note("fence"), ([0, 0], [0, 0], [0, 0])
    loops.stream_latency(loops.flushed([tape.note("a"), tape.note("b")], flush, fence), fence, *rest)
    assert tape.calls == ["flush", "fence", "a", "fence", "flush", "fence", "b", "fence"]
    _assert_shorter(rest, 10_000_000)
    tape.calls.clear()
    events, rest = [("e0", "e1"), ("e2", "e3")], ([0, 0], [0, 0], [0, 0])
    loops.stream_events(loops.flushed([tape.note("a")] * 2, flush, fence), events, tape.record, "s", fence, *rest)
    assert tape.calls == [
        *("flush", "fence", "e0 on s", "a", "e1 on s", "fence"),
        *("flush", "fence", "e2 on s", "a", "e3 on s", "fence"),
    ]
    _assert_shorter(rest, 10_000_000)


def _assert_shorter(stamps: tuple[list[int], list[int], list[int]], ns: int) -> None:
    starts, _, ends = stamps
    assert starts[1] - starts[0] >= ns > max(end - start for start, end in zip(starts, ends))


def test_a_window_waits_for_the_slot_before_it_is_launched_again() -> None:
    tape, span = Tape(), [0, 0]
    launches = [tape.note(name) for name in "abc"]
    loops.stream_window(launches, ["e0", "e1", "e0"], tape.record, tape.wait, "s", tape.note("fence"), span)
    assert tape.calls == [
        *("wait e0", "a", "e0 on s", "wait e1", "b", "e1 on s"),
        *("wait e0", "c", "e0 on s", "fence"),
    ]
    assert 0 < span[0] <= span[1]


def test_the_loops_of_a_stream_cost_less_than_their_budget() -> None:
    """2 µs per iteration beside the calls to the device: here these do nothing."""
    n = 2000

    def nothing(*arguments: object) -> None:
        pass

    starts, ends = _lists(n)
    enqueued = [0] * n
    rows = [(None, None)] * n
    loops.stream_latency([nothing] * n, nothing, starts, enqueued, ends)
    assert np.median(np.diff(starts)) < 2000
    loops.stream_events([nothing] * n, rows, nothing, None, nothing, starts, enqueued, ends)
    assert np.median(np.diff(starts)) < 2000
