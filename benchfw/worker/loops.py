"""The timing loops, written out by hand.

Each variant is one function over preallocated lists. Inside a loop there is no branch, no allocation but the stamps
themselves, no attribute look-up and no hook: what stands there is what every user of a number pays for. A variant
for an asynchronous backend (launch, then wait for its event) is another function beside these.

Stamps: `starts[i]` before the first API call of iteration i, `ends[i]` once its outputs are known complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchfw.worker import clocks

MAX_BLOCK = 4096
"""Iterations of a block, at most: the length of the preallocated lists."""


def host_sync(launch: Callable[[], object], n: int, starts: list[int], ends: list[int]) -> None:
    """Time `n` launches of one slot of a backend whose launch returns completed outputs."""
    clock = clocks.now
    for i in range(n):
        starts[i] = clock()
        launch()
        ends[i] = clock()


def host_sync_sequence(launches: Sequence[Callable[[], object]], starts: list[int], ends: list[int]) -> None:
    """Time one launch of each slot in `launches`, in that order, of a synchronous backend."""
    clock = clocks.now
    i = 0
    for launch in launches:
        starts[i] = clock()
        launch()
        ends[i] = clock()
        i += 1


def lane(
    launches: Sequence[Callable[[], object]], tickets: Iterator[int], window: clocks.Window, span: list[int]
) -> None:
    """Run one lane of a window: launch what the next ticket names until there are none left. No stamps in between.

    Args:
        launches: The launches of this lane's own slots.
        tickets: Places in `launches`, shared by all lanes: whoever is free takes the next one, so that no lane ends
            long before the others. The iterator of a list hands each item out once, to whichever thread asks.
        window: Where the lanes wait for each other before the first one starts.
        span: Gets two stamps: before the first launch and after the last.
    """
    clock = clocks.now
    with window:
        span[0] = clock()
        for ticket in tickets:
            launches[ticket]()
        span[1] = clock()


def bare(launch: Callable[[], object], n: int) -> float:
    """Return nanoseconds per iteration of the loop that one writes by hand, as the yardstick of the above."""
    clock = clocks.now
    times = []
    begin = clock()
    for _ in range(n):
        start = clock()
        launch()
        times.append(clock() - start)
    return (clock() - begin) / n
