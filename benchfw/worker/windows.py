"""What is run around launches beside latency blocks: windows of throughput, and the look behind the fence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchfw.worker import clocks, loops

Launch = Callable[[], object]
_REST_S = 0.01


def run(
    lanes: Sequence[Sequence[Launch]],
    order: Sequence[int],
    start_ns: int | None = None,
    enter: Callable[[int], None] = lambda place: None,
) -> tuple[int, int]:
    """Keep one inference outstanding per lane until all of `order` is done.

    A lane that fails before it has begun, as when `enter` raises, breaks the window: no other lane begins, none waits
    for it, and nothing is launched. One that fails in the midst of the window launches nothing more, and the others do
    the rest of `order`: what they do does not depend on when they learn of it, and a launch is never interrupted.

    Args:
        lanes: The launches of each lane's own slots; the first lane runs on this thread.
        order: Places in a lane, one per inference.
        start_ns: Stamp to begin at, for windows over several processes.
        enter: Called with the place of the lane in each thread but this one, before the window begins.

    Returns:
        The stamps before the first launch and after the last, over all lanes.

    Raises:
        BaseException: What the first lane to fail has raised, once every lane is over.
    """
    tickets = iter(list(order))
    window = clocks.window(len(lanes))
    spans = [[0, 0] for _ in lanes]
    errors: list[BaseException] = []

    def work(place: int) -> None:
        try:
            if place:
                enter(place)
            loops.lane(lanes[place], tickets, window, spans[place])
        except BaseException as error:  # it shall not end with its thread
            errors.append(error)
            if not spans[place][0]:
                window.abort()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(1, len(lanes))]
    for thread in threads:
        thread.start()
    if start_ns is not None:
        clocks.wait_until(start_ns)
    work(0)
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return min(span[0] for span in spans), max(span[1] for span in spans)


def look_behind(
    launch: Launch, outputs: Callable[[], Mapping[str, Any]], n: int, rest_s: float
) -> tuple[int, int, int]:
    """Return how long the outputs take right after a launch, once more, and after a rest: the shortest of `n`, in ns.

    A launch that returns before its outputs are complete makes the first look longer than that after a rest. One that
    leaves its work to whoever asks makes both longer than the second look, as does a cold cache, by much less.
    """
    first, again, rested = [], [], []
    for _ in range(n):
        launch()
        start = clocks.now()
        outputs()
        middle = clocks.now()
        outputs()
        first.append(middle - start)
        again.append(clocks.now() - middle)
    for _ in range(n):
        launch()
        clocks.sleep(max(_REST_S, rest_s))
        start = clocks.now()
        outputs()
        rested.append(clocks.now() - start)
    return min(first), min(again), min(rested)


def look_beyond(launch: Launch, fence: Launch, synchronize: Launch, n: int) -> tuple[int, int]:
    """Return how long waiting for the whole device takes after a launch and its fence, and on an idle device, in ns.

    Each is the shortest of `n`. A launch that enqueues on another stream than the one that is fenced makes the first
    longer.
    """
    behind, idle = [], []
    for _ in range(n):
        launch()
        fence()
        start = clocks.now()
        synchronize()
        middle = clocks.now()
        synchronize()
        behind.append(middle - start)
        idle.append(clocks.now() - middle)
    return min(behind), min(idle)
