"""The clock that every stamp comes from."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

now = time.perf_counter_ns
"""Nanoseconds of the one monotonic clock (`CLOCK_MONOTONIC`), shared by all processes of a host."""

sleep: Callable[[float], object] = time.sleep
"""Seconds to let pass by the same clock."""


def _spin_until(ns: int) -> None:
    while now() < ns:
        pass


wait_until: Callable[[int], object] = _spin_until
"""Waits for a stamp of this clock; spinning, since a sleep would overshoot."""


class Window:
    """A stretch in which several threads are timed together. Each of them runs its part within `with window:`.

    All of them begin at once: entering waits for the others. It may be used again once all have left it.

    Args:
        parties: Number of threads.
    """

    def __init__(self, parties: int) -> None:
        self._barrier = threading.Barrier(parties)

    def __enter__(self) -> None:
        self._barrier.wait()

    def abort(self) -> None:
        """Let the others fail with `threading.BrokenBarrierError` instead of waiting for one that will not come."""
        self._barrier.abort()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


window: Callable[[int], Window] = Window
"""Makes a window for a number of threads. Like the functions above it is looked up when it is called: a test kit may
have put another clock in the place of this one."""


def describe() -> dict[str, object]:
    """Return how the clock is made.

    Raises:
        RuntimeError: It is not monotonic, so that no difference of two stamps could be trusted.
    """
    info = time.get_clock_info("perf_counter")
    if not info.monotonic or info.adjustable:
        raise RuntimeError(f"perf_counter is not a monotonic clock here: {info}")
    return {"implementation": info.implementation, "resolution_s": info.resolution}
