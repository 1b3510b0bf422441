"""The timing loops, written out by hand.

Each variant is one function over preallocated lists. Inside a loop there is no branch, no allocation but the stamps
themselves, no attribute look-up and no hook: what stands there is what every user of a number pays for.

Stamps: `starts[i]` before the first API call of iteration i, `enqueued[i]` after the last asynchronous one has
returned, `ends[i]` once its outputs are known complete.

The loops named `stream_…` are for backends that enqueue their work on a stream. `record(event, stream)` notes in an
event when the stream gets there; `fence()` returns once the stream has done all that was enqueued. Both look at no
errors: who calls a loop does so afterwards.

What a loop does between two inferences, outside of their stamps, is part of what it iterates over: see `flushed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from benchfw.worker import clocks

_T = TypeVar("_T")

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


def flushed(inferences: Iterable[_T], flush: Callable[[], object], fence: Callable[[], object]) -> Iterator[_T]:
    """Yield what a loop launches; before each, flush the cache of the device and wait until that is done.

    A loop takes its first stamp once it has the next inference: nothing of the flush is in its times, and no loop has
    to be written twice.
    """
    for inference in inferences:
        flush()
        fence()
        yield inference


def stream_latency(
    launches: Iterable[Callable[[], object]],
    fence: Callable[[], object],
    starts: list[int],
    enqueued: list[int],
    ends: list[int],
) -> None:
    """Time `launches`, one after the other, each until the stream is done with it."""
    clock = clocks.now
    i = 0
    for launch in launches:
        starts[i] = clock()
        launch()
        enqueued[i] = clock()
        fence()
        ends[i] = clock()
        i += 1


def stream_events(
    launches: Iterable[Callable[[], object]],
    events: Iterable[tuple[Any, Any]],
    record: Callable[[Any, Any], object],
    stream: Any,
    fence: Callable[[], object],
    starts: list[int],
    enqueued: list[int],
    ends: list[int],
) -> None:
    """Time `launches` likewise, with an event before and after each; `events` has as many pairs."""
    clock = clocks.now
    i = 0
    for launch, (before, after) in zip(launches, events):
        starts[i] = clock()
        record(before, stream)
        launch()
        record(after, stream)
        enqueued[i] = clock()
        fence()
        ends[i] = clock()
        i += 1


def stream_events_copies(
    calls: Iterable[tuple[Callable[[], object], Callable[[], object], Callable[[], object]]],
    events: Iterable[tuple[Any, Any, Any, Any]],
    record: Callable[[Any, Any], object],
    stream: Any,
    fence: Callable[[], object],
    starts: list[int],
    enqueued: list[int],
    ends: list[int],
) -> None:
    """Time copies in, launch and copies out of each inference, with events around each of the three."""
    clock = clocks.now
    i = 0
    for (copy_in, launch, copy_out), (first, second, third, fourth) in zip(calls, events):
        starts[i] = clock()
        record(first, stream)
        copy_in()
        record(second, stream)
        launch()
        record(third, stream)
        copy_out()
        record(fourth, stream)
        enqueued[i] = clock()
        fence()
        ends[i] = clock()
        i += 1


def stream_window(
    launches: Sequence[Callable[[], object]],
    events: Iterable[Any],
    record: Callable[[Any, Any], object],
    wait: Callable[[Any], object],
    stream: Any,
    fence: Callable[[], object],
    span: list[int],
) -> None:
    """Keep as many launches outstanding as there are different events. No stamps in between.

    Args:
        launches: One per inference; neighbours within the depth have slots of their own.
        events: As many, going round the depth's own: each is waited for before its slot is launched again. All of them
            were recorded beforehand, so that the first waits return at once.
        span: Gets two stamps: before the first launch, and once the stream has done the last.
    """
    clock = clocks.now
    span[0] = clock()
    for launch, event in zip(launches, events):
        wait(event)
        launch()
        record(event, stream)
    fence()
    span[1] = clock()


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
