"""How one loaded artifact is timed: on the host's clock alone, or on a stream of a device as well."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import Unsupported
from benchfw.spec.backend import Backend, Bound
from benchfw.worker import clocks, loops, windows
from benchfw.worker.devices import Device
from benchfw.worker.quiet import quiet

Arrays = dict[str, NDArray[Any]]
Launch = Callable[[], object]
_T = TypeVar("_T")
_RUNS_BEFORE_CAPTURE = 2


@dataclass(frozen=True, kw_only=True)
class Mode:
    """Labels of a case on a device that decide what is timed.

    Attributes:
        io_scope: `device`: from device memory to device memory; `pinned`: from page-locked memory of the host and back.
        graph: Launches are replayed from a CUDA graph.
        sync: The host spins until outputs are complete, or blocks, which lets its CPU sleep.
        cache: What inputs and weights meet in the last-level cache: `rotate` goes round several sets of inputs, `warm`
            repeats one, `flush` empties the cache of the device before each launch.
    """

    io_scope: Literal["host", "device", "pinned"] = "host"
    graph: Literal["off", "on"] = "off"
    sync: Literal["spin", "blocking"] = "blocking"
    cache: Literal["rotate", "warm", "flush"] = "rotate"


@dataclass
class Run:
    """What a block or a window has given.

    Attributes:
        collections: Garbage collections within; none, if all is well.
        arrays: Stamps in ns, int64: `starts`, `ends`, on a stream `enqueued`; `spans`, float32, of instrumented blocks.
    """

    collections: int
    arrays: Arrays = field(default_factory=dict)


class Timing(ABC):
    """Times the slots of one instance of a backend. `bound` holds them by their numbers."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.bound: dict[int, Bound] = {}
        self._starts, self._enqueued, self._ends = ([0] * loops.MAX_BLOCK for _ in range(3))

    def bind(self, slot: int, bound: Bound) -> None:
        """Take what the backend has bound to a slot."""
        self.bound[slot] = bound

    @abstractmethod
    def block(self, slots: Sequence[int], *, events: bool) -> Run:
        """Run one launch of each of `slots`, in that order; with `events`, instrumented."""

    @abstractmethod
    def window(self, lanes: Sequence[Sequence[int]], order: Sequence[int], start_ns: int | None) -> Run:
        """Keep one inference per lane outstanding; `order` names places in the lanes' slots."""

    @abstractmethod
    def look_behind(self, slot: int, n: int, rest_s: float) -> dict[str, int]:
        """Look whether launches are complete when they are said to be; see the gate V02."""

    def capture(self, slot: int) -> None:
        """Capture the launch of a slot into a graph, which is launched in its place from now on.

        Raises:
            Unsupported: It cannot be captured.
        """
        raise Unsupported("launches that return completed outputs cannot be captured into a CUDA graph")

    def outputs(self, slot: int) -> Mapping[str, Any]:
        """Return the outputs of the last launch of a slot."""
        return self.bound[slot].outputs()

    def close(self) -> None:
        """Let go of the slots, before the backend is closed."""
        self.bound.clear()


class HostTiming(Timing):
    """Of launches that return completed outputs."""

    def block(self, slots: Sequence[int], *, events: bool) -> Run:
        n, launches = len(slots), [self.bound[slot].launch for slot in slots]
        if len(set(slots)) == 1:
            run = Run(quiet(lambda: loops.host_sync(launches[0], n, self._starts, self._ends)))
        else:
            run = Run(quiet(lambda: loops.host_sync_sequence(launches, self._starts, self._ends)))
        run.arrays = _stamps(starts=self._starts[:n], ends=self._ends[:n])
        return run

    def window(self, lanes: Sequence[Sequence[int]], order: Sequence[int], start_ns: int | None) -> Run:
        launches = [[self.bound[slot].launch for slot in lane] for lane in lanes]

        def enter(place: int) -> None:
            self.backend.enter_thread()
            launches[place][0]()  # frameworks make pools for a thread that is new to them

        spans: list[tuple[int, int]] = []
        run = Run(quiet(lambda: spans.append(windows.run(launches, order, start_ns, enter))))
        run.arrays = _stamps(starts=[spans[0][0]], ends=[spans[0][1]])
        return run

    def look_behind(self, slot: int, n: int, rest_s: float) -> dict[str, int]:
        bound = self.bound[slot]
        first, again, rested = windows.look_behind(bound.launch, bound.outputs, n, rest_s)
        return {"first_ns": first, "again_ns": again, "rested_ns": rested}


class StreamTiming(Timing):
    """Of launches that only enqueue, on the stream of an asynchronous backend.

    Args:
        backend: The backend.
        device: Where it runs.
        stream: Its stream.
        mode: What is timed.
    """

    def __init__(self, backend: Backend, device: Device, stream: int, mode: Mode) -> None:
        super().__init__(backend)
        self._device = device
        self._mode = mode
        self._clock = device.clock(stream, blocking=mode.sync == "blocking")
        self._flush = device.flusher(self._clock) if mode.cache == "flush" else None
        self._launches: dict[int, Launch] = {}
        self._whole: dict[int, Launch] = {}

    def bind(self, slot: int, bound: Bound) -> None:
        """Take a slot.

        Raises:
            Unsupported: It cannot be copied to and from page-locked memory, as the case wants.
        """
        super().bind(slot, bound)
        self._device.synchronize()
        if self._mode.io_scope == "pinned" and (bound.copy_in is None or bound.copy_out is None):
            raise Unsupported("the backend does not copy from and to page-locked memory", hint='io_scope = ["device"]')
        self._set(slot, bound.launch)

    def capture(self, slot: int) -> None:
        bound = self.bound[slot]
        for _ in range(_RUNS_BEFORE_CAPTURE):
            bound.launch()
        self._device.synchronize()
        replay = self.backend.capture(bound) or self._clock.capture(bound.launch)
        self._set(slot, replay)
        self._whole[slot]()
        self._device.synchronize()

    def _set(self, slot: int, launch: Launch) -> None:
        """Note what is launched for a slot: by itself, and with its copies if they are part of the inference."""
        self._launches[slot] = self._whole[slot] = launch
        copy_in, copy_out = self.bound[slot].copy_in, self.bound[slot].copy_out
        if self._mode.io_scope == "pinned" and copy_in is not None and copy_out is not None:
            self._whole[slot] = _in_turn(copy_in, launch, copy_out)

    def block(self, slots: Sequence[int], *, events: bool) -> Run:
        run, n = self._instrumented(slots) if events else self._plain(slots), len(slots)
        self._device.synchronize()
        run.arrays |= _stamps(starts=self._starts[:n], enqueued=self._enqueued[:n], ends=self._ends[:n])
        return run

    def _plain(self, slots: Sequence[int]) -> Run:
        launches, fence = self._apart([self._whole[slot] for slot in slots]), self._clock.fence
        return Run(quiet(lambda: loops.stream_latency(launches, fence, self._starts, self._enqueued, self._ends)))

    def _instrumented(self, slots: Sequence[int]) -> Run:
        clock, n = self._clock, len(slots)
        rest = (clock.record, clock.stream, clock.fence, self._starts, self._enqueued, self._ends)
        launches = [self._launches[slot] for slot in slots]
        if self._mode.io_scope == "pinned":
            rows = _rows(clock.events(4 * n), 4)
            bound = [self.bound[slot] for slot in slots]
            calls: Any = self._apart([(each.copy_in, launch, each.copy_out) for each, launch in zip(bound, launches)])
            run = Run(quiet(lambda: loops.stream_events_copies(calls, rows, *rest)))
        else:
            rows = _rows(clock.events(2 * n), 2)
            run = Run(quiet(lambda: loops.stream_events(self._apart(launches), rows, *rest)))
        self._device.synchronize()  # what has failed is told by it, not by the clock
        run.arrays["spans"] = clock.spans(rows)
        return run

    def _apart(self, inferences: Sequence[_T]) -> Iterable[_T]:
        """Return inferences as a loop takes them, which empties the device's cache between them if the case wants."""
        return inferences if self._flush is None else loops.flushed(inferences, self._flush, self._clock.fence)

    def window(self, lanes: Sequence[Sequence[int]], order: Sequence[int], start_ns: int | None) -> Run:
        clock, depth = self._clock, len(lanes)
        launches = [self._whole[lanes[place % depth][which]] for place, which in enumerate(order)]
        events = list(itertools.islice(itertools.cycle(clock.markers(depth)), len(order)))
        span, rest = [0, 0], (clock.record, clock.wait, clock.stream, clock.fence)
        if start_ns is not None:
            clocks.wait_until(start_ns)
        run = Run(quiet(lambda: loops.stream_window(launches, events, *rest, span)))
        self._device.synchronize()
        run.arrays = _stamps(starts=span[:1], ends=span[1:])
        return run

    def look_behind(self, slot: int, n: int, rest_s: float) -> dict[str, int]:
        wait = self._device.synchronize
        behind_ns, idle_ns = windows.look_beyond(self._whole[slot], self._clock.fence, wait, n)
        return {"behind_ns": behind_ns, "idle_ns": idle_ns}

    def outputs(self, slot: int) -> Mapping[str, Any]:
        self._device.synchronize()
        return super().outputs(slot)

    def close(self) -> None:
        self._device.synchronize()
        self._launches.clear()
        self._whole.clear()
        self._clock.close()
        super().close()


def timing_of(backend: Backend, device: Device | None, mode: Mode) -> Timing:
    """Return how a loaded backend is timed.

    Raises:
        Unsupported: The mode needs a stream, and the backend has none.
    """
    stream = backend.stream
    if device is not None and stream is not None:
        return StreamTiming(backend, device, stream, mode)
    wishes = {'graph = "on"': mode.graph == "on", 'io_scope = "pinned"': mode.io_scope == "pinned"}
    wishes['cache = "flush"'] = mode.cache == "flush"
    for wish in (wish for wish, asked in wishes.items() if asked):
        raise Unsupported(f"{wish} needs a backend that enqueues on a stream, and this one returns completed outputs")
    return HostTiming(backend)


def _in_turn(copy_in: Launch, launch: Launch, copy_out: Launch) -> Launch:
    def whole() -> None:
        copy_in()
        launch()
        copy_out()

    return whole


def _rows(events: Sequence[Any], width: int) -> list[tuple[Any, ...]]:
    return list(zip(*[iter(events)] * width))


def _stamps(**stamps: Sequence[int]) -> Arrays:
    return {name: np.array(values, np.int64) for name, values in stamps.items()}
