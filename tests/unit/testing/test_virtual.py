"""Virtual time of one thread and of several."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from collections.abc import Callable

import pytest

from benchfw.testing.virtual import RealClock, VirtualClock
from benchfw.worker import clocks

LATENCY_NS = 1_000_000


def timed(depth: int, n: int, launch: Callable[[int], object]) -> tuple[int, list[int]]:
    """Run a window of `depth` threads over `n` launches; return its length in ns and who made each launch."""
    counter = itertools.count()
    window = clocks.window(depth)
    starts, ends = [0] * depth, [0] * depth
    order: list[int] = []

    def client(thread: int) -> None:
        with contextlib.suppress(ValueError), window:
            starts[thread] = clocks.now()
            while next(counter) < n:
                order.append(thread)
                launch(thread)
            ends[thread] = clocks.now()

    threads = [threading.Thread(target=client, args=(thread,)) for thread in range(depth)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(ends) - min(starts), order


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_services_of_several_threads_overlap(clock: VirtualClock, depth: int) -> None:
    before = clocks.now()
    length, order = timed(depth, 400, lambda thread: clock.advance(LATENCY_NS))
    assert length == pytest.approx(400 / depth * LATENCY_NS, rel=1e-3)
    assert order == [number % depth for number in range(400)]
    assert clocks.now() - before == pytest.approx(length, rel=1e-3)  # the window is over for everybody


@pytest.mark.parametrize("depth", [2, 4])
def test_services_that_hold_the_gil_do_not_overlap(clock: VirtualClock, depth: int) -> None:
    length, _ = timed(depth, 400, lambda thread: clock.advance_alone(LATENCY_NS))
    assert length == pytest.approx(400 * LATENCY_NS, rel=1e-3)


def test_the_thread_that_is_done_first_takes_the_next_launch(clock: VirtualClock) -> None:
    length, order = timed(2, 400, lambda thread: clock.advance(LATENCY_NS * (1 + 2 * thread)))
    assert order.count(0) == 300 and order.count(1) == 100
    assert length == pytest.approx(300 * LATENCY_NS, rel=0.01)


def test_windows_come_out_the_same_each_time(clock: VirtualClock) -> None:
    def window() -> tuple[int, list[int]]:
        return timed(3, 200, lambda thread: clock.advance(LATENCY_NS + 1000 * (thread * 7 % 5)))

    assert window() == window()


def test_a_thread_that_fails_leaves_the_window_to_the_others(clock: VirtualClock) -> None:
    hurt: list[int] = []

    def launch(thread: int) -> None:
        clock.advance(LATENCY_NS)
        if thread == 1 and not hurt:
            hurt.append(thread)
            raise ValueError("on purpose")

    _, order = timed(2, 100, launch)
    assert order.count(1) == 1 and order.count(0) == 99  # the launch that failed was one of the 100


def test_a_window_may_be_used_again(clock: VirtualClock) -> None:
    window = clocks.window(2)
    seen: list[int] = []

    def client() -> None:
        for _ in range(20):
            with window:
                begin = clocks.now()
                clock.advance(LATENCY_NS)
                seen.append(clocks.now() - begin)

    begin = clocks.now()
    threads = [threading.Thread(target=client) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {LATENCY_NS + VirtualClock.READING_NS}
    assert clocks.now() - begin == pytest.approx(20 * LATENCY_NS, rel=1e-3)


def test_sleep_lets_virtual_time_pass(clock: VirtualClock) -> None:
    begin = clocks.now()
    clocks.sleep(3600)
    assert clocks.now() - begin == 3600 * 10**9 + VirtualClock.READING_NS


def test_peeking_takes_no_time(clock: VirtualClock) -> None:
    assert clock.peek() == clock.peek()


@pytest.mark.quiet
def test_the_real_clock_lets_others_work_where_it_shall() -> None:
    real = RealClock()
    lengths = [timed(2, 20, lambda thread: real.advance(5_000_000))[0] for _ in range(3)]
    assert min(lengths) >= 50e6
    assert min(lengths) < 80e6, "what else runs here only makes them longer"
    # A thread takes the GIL after 5 ms, and what another one has begun by then goes on meanwhile: of services that are
    # short beside that, 100 ms take 90 at least. Those of 5 ms overlapped by chance.
    assert sys.getswitchinterval() == 0.005
    length, _ = timed(2, 200, lambda thread: real.advance_alone(500_000))
    assert length > 80e6
