"""What loops need of a device: the clock of a stream, its fences, and the graphs that are captured on it.

`cuda` is built in. A test kit may add a kind of its own, as it may replace the clock of the host.
"""

from __future__ import annotations

import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import BackendError, MissingDependency, Unsupported
from benchfw.spec.device import CPU, DeviceName
from benchfw.worker.imports import load_class

MAKERS: dict[str, str] = {"cuda": "benchfw.worker.cuda:CudaDevice"}
"""Class of each kind of device, called with the number of one."""
_FLUSHES = 2
"""Sizes of the cache that a flush writes: what is written need not replace the oldest lines, and one may leave some."""


class Device(ABC):
    """A device, made the current one of this thread for good.

    Attributes:
        facts: `name`, `uuid`, `capability`, `cache_bytes` (of the last-level cache), `memory_bytes`.
        own_bytes: Memory that benchfw itself holds there, which is no case's.
    """

    facts: dict[str, Any]
    own_bytes: int = 0

    @abstractmethod
    def clock(self, stream: int, *, blocking: bool) -> DeviceClock:
        """Return the clock of a stream.

        Args:
            stream: Its handle.
            blocking: Fences let the CPU sleep; else they spin.
        """

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until the device has done everything that this process has enqueued on any of its streams.

        Raises:
            DeviceLost: Something of it has failed, and nothing will work from now on.
        """

    @abstractmethod
    def free_bytes(self) -> int:
        """Return the memory that no process holds."""

    @abstractmethod
    def flusher(self, clock: DeviceClock) -> Callable[[], object]:
        """Return what enqueues a flush of the last-level cache on the stream of a clock: twice its size is written.

        It looks at no errors. The memory that is written is the same for all streams, and counts as `own_bytes`.

        Raises:
            Unsupported: The device does not tell the size of its cache.
            OutOfMemory: It has no room for so much.
        """

    def flush_size(self) -> int:
        """Return the bytes to write for a flush.

        Raises:
            Unsupported: The device does not tell the size of its cache.
        """
        size = _FLUSHES * int(self.facts["cache_bytes"])
        if not size:
            raise Unsupported(
                f"{self.facts['name']} does not tell the size of its cache, so that it cannot be flushed",
                hint='cache = ["rotate"]',
            )
        return size


class DeviceClock(ABC):
    """The clock of one stream.

    The callables are bound beforehand and look at no errors, which `Device.synchronize` does between blocks.

    Attributes:
        stream: The stream as `record` wants it.
        record: `record(event, stream)` notes in an event when the stream gets there.
        wait: Returns once an event is past.
        fence: Returns once the stream has done all that was enqueued on it.
    """

    stream: Any
    record: Callable[[Any, Any], object]
    wait: Callable[[Any], object]
    fence: Callable[[], object]

    @abstractmethod
    def events(self, n: int) -> Sequence[Any]:
        """Return `n` events, the same ones at every call, that have been recorded before: the first time is slower."""

    @abstractmethod
    def markers(self, n: int) -> Sequence[Any]:
        """Return `n` events that are past and can be waited for, but tell no time."""

    @abstractmethod
    def elapsed_ns(self, first: Any, second: Any) -> float:
        """Return the time from one event to another one, both past.

        It has the resolution of the device's clock, some 0.5 µs, and the precision of a float32 of milliseconds: only
        differences of neighbours are worth anything.
        """

    @abstractmethod
    def capture(self, launch: Callable[[], object]) -> Callable[[], object]:
        """Return what replays a launch on this stream from a graph, uploaded to the device.

        Raises:
            Unsupported: It cannot be captured.
        """

    @abstractmethod
    def close(self) -> None:
        """Free events and graphs. Idempotent."""

    def spans(self, rows: Sequence[Sequence[Any]]) -> NDArray[np.float32]:
        """Return the times between neighbours of each row of events in ns, float32 [rows, events per row - 1]."""
        elapsed = self.elapsed_ns
        times = [[elapsed(first, second) for first, second in itertools.pairwise(row)] for row in rows]
        return np.array(times, np.float32)


class DeviceMemory:
    """What a worker takes of its device's memory, by what is free before and after each message that it answers.

    Only one worker of a run is at work at a time, so that what is taken meanwhile is its own. Peaks within a message
    are not seen, nor is the device's context, which is there before the first look. What a message takes or gives back
    is that of the instance which it names.
    """

    def __init__(self) -> None:
        self._before: int | None = None
        self._free = 0
        self._held = 0
        self._peak = 0
        self._most_used = 0
        self._of: dict[str, int] = {}

    @contextlib.contextmanager
    def watched(self, device: Device | None, instance: str = "") -> Iterator[None]:
        """Watch what is taken within a `with` block on behalf of an instance; nothing without a device."""
        self._before = _free(device)
        try:
            yield
        finally:
            self.look(device, instance)

    def look(self, device: Device | None, instance: str) -> int | None:
        """Look within a block, and return what an instance has taken by now and not given back; None if unknown."""
        free, before = _free(device), self._before
        if device is None or free is None or before is None:
            return None
        self._before, self._free = free, free - device.own_bytes
        self._held += before - free
        self._peak = max(self._peak, self._held)
        self._most_used = max(self._most_used, device.facts["memory_bytes"] - free)
        self._of[instance] = self._of.get(instance, 0) + before - free
        return self._of[instance]

    def told(self) -> dict[str, int] | None:
        """Return what is free, what was taken at most, and the most that all processes held; None without a device.

        Memory of benchfw's own is not free, and neither taken nor held by anybody.
        """
        if not self._most_used:
            return None
        return {"free_bytes": self._free, "peak_bytes": self._peak, "device_peak_bytes": self._most_used}


def _free(device: Device | None) -> int | None:
    """Return what would be free without benchfw's own memory; None if unknown, as after an error that is final."""
    try:
        return device.free_bytes() + device.own_bytes if device else None
    except BackendError:
        return None


def open_device(device: str) -> Device | None:
    """Return the device of this name, `cuda:0`; None for the CPU, which has no clock but the host's.

    Raises:
        MissingDependency: It is not there, or what reaches it is not installed.
        Unsupported: There is no such kind of device.
    """
    kind, number = DeviceName.parse(device)
    if kind == CPU:
        return None
    if kind not in MAKERS:
        raise Unsupported(f"no device is of the kind {kind!r}", hint=f"there are {', '.join([CPU, *MAKERS])}")
    try:
        made = load_class(MAKERS[kind])(number)
    except ImportError as error:
        raise MissingDependency(str(error)) from error
    assert isinstance(made, Device)
    return made
