"""The clock that every stamp comes from."""

from __future__ import annotations

import time

now = time.perf_counter_ns
"""Nanoseconds of the one monotonic clock (`CLOCK_MONOTONIC`), shared by all processes of a host."""

sleep = time.sleep
"""Waits for some seconds of that clock."""


def describe() -> dict[str, object]:
    """Return how the clock is made.

    Raises:
        RuntimeError: It is not monotonic, so that no difference of two stamps could be trusted.
    """
    info = time.get_clock_info("perf_counter")
    if not info.monotonic or info.adjustable:
        raise RuntimeError(f"perf_counter is not a monotonic clock here: {info}")
    return {"implementation": info.implementation, "resolution_s": info.resolution}
