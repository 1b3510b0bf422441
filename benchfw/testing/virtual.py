"""Clocks of the fake backend: one that jumps, and the real one."""

from __future__ import annotations

import threading
import time
from threading import get_ident
from types import TracebackType

from benchfw.worker import clocks

_SLEEPS_NS = 200_000
"""A real service that is longer than this sleeps until so much of it is left: sleeping overshoots."""


class VirtualClock:
    """Time that passes only where somebody says so: a run of seconds takes as long as its arithmetic.

    There is one time for all threads, but within a `window` each thread has a time of its own. The one that is
    furthest behind runs, the others wait: so services overlap, and who is first done takes the next one, always in the
    same order. A window ends at the time of the last thread that leaves it.
    """

    READING_NS = 25

    def __init__(self) -> None:
        self._now_ns = time.perf_counter_ns()
        self._lanes: dict[int, int] = {}  # time of each thread of a window, in the order in which the threads were made
        self._turns: dict[int, threading.Lock] = {}
        self._busy_until_ns = 0

    def install(self) -> None:
        """Put it in place of the clock of this process, for good."""
        clocks.now = self.now
        clocks.sleep = self.sleep
        clocks.window = self.window

    def now(self) -> int:
        """Return nanoseconds; reading takes a little, as with a real clock."""
        if self._lanes and (me := get_ident()) in self._lanes:
            self._lanes[me] += self.READING_NS
            return self._lanes[me]
        self._now_ns += self.READING_NS
        return self._now_ns

    def peek(self) -> int:
        """Return nanoseconds, for whose reading nobody pays."""
        return self._lanes.get(get_ident(), self._now_ns) if self._lanes else self._now_ns

    def advance(self, ns: int) -> None:
        """Let time pass, for the calling thread."""
        if self._lanes and (me := get_ident()) in self._lanes:
            self._lanes[me] += ns
            self._yield(me)
        else:
            self._now_ns += ns

    def advance_alone(self, ns: int) -> None:
        """Let time pass in which no other thread may do the same: what holds the GIL."""
        if self._lanes and (me := get_ident()) in self._lanes:
            self._busy_until_ns = max(self._busy_until_ns, self._lanes[me]) + ns
            self._lanes[me] = self._busy_until_ns
            self._yield(me)
        else:
            self._now_ns += ns

    def sleep(self, seconds: float) -> None:
        """Let seconds pass, for the calling thread."""
        self.advance(round(seconds * 1e9))

    def window(self, parties: int) -> VirtualWindow:
        """Return a window in virtual time; see `benchfw.worker.clocks.Window`."""
        return VirtualWindow(self, parties)

    def _begin(self, threads: set[int]) -> None:
        """Give each of these threads its own time, from now on, and the first of them its turn."""
        order = [thread.ident for thread in threading.enumerate() if thread.ident in threads]
        self._turns = {ident: threading.Lock() for ident in order if ident is not None}
        for turn in self._turns.values():
            turn.acquire()  # whose turn it is finds it released
        self._lanes = dict.fromkeys(self._turns, self._now_ns)
        self._busy_until_ns = self._now_ns
        self._turns[self._next()].release()

    def _wait(self, me: int) -> None:
        self._turns[me].acquire()

    def _leave(self, me: int) -> None:
        self._now_ns = max(self._now_ns, self._lanes.pop(me))
        if self._lanes:
            self._turns[self._next()].release()

    def _yield(self, me: int) -> None:
        """Let the thread run that is furthest behind."""
        other = self._next()
        if other != me:
            turn = self._turns[me]
            self._turns[other].release()
            turn.acquire()

    def _next(self) -> int:
        lanes = self._lanes
        return min(lanes, key=lanes.__getitem__)


class VirtualWindow(clocks.Window):
    """A window whose threads each have a virtual time of their own."""

    def __init__(self, clock: VirtualClock, parties: int) -> None:
        super().__init__(parties)
        self._clock = clock
        self._inside: set[int] = set()
        self._barrier = threading.Barrier(parties, action=self._begin)

    def __enter__(self) -> None:
        self._inside.add(get_ident())
        super().__enter__()
        self._clock._wait(get_ident())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clock._leave(get_ident())

    def _begin(self) -> None:
        threads, self._inside = self._inside, set()
        self._clock._begin(threads)


class RealClock:
    """The clock of this machine: a service takes the time that it takes."""

    def install(self) -> None:
        """It is in place already."""

    peek = staticmethod(time.perf_counter_ns)

    def advance(self, ns: int) -> None:
        """Wait without the GIL: sleep, then let others have it again and again."""
        end = time.perf_counter_ns() + ns
        if ns > _SLEEPS_NS:
            time.sleep((ns - _SLEEPS_NS) / 1e9)
        while time.perf_counter_ns() < end:
            time.sleep(0)

    def advance_alone(self, ns: int) -> None:
        """Spin, with the GIL."""
        end = time.perf_counter_ns() + ns
        while time.perf_counter_ns() < end:
            pass
