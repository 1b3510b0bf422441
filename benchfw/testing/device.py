"""A device that is none: streams, events, graphs and memory in virtual time. Needs numpy alone.

Imported in a worker by its backend, `fake-device`, it makes `device = "fake"` known there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchfw.errors import DeviceLost, Unsupported
from benchfw.spec.backend import Bound
from benchfw.testing.fakes import Arrays, FakeBackend, FakeBound
from benchfw.testing.virtual import RealClock, VirtualClock
from benchfw.worker.devices import MAKERS, Device, DeviceClock

MAKERS["fake"] = "benchfw.testing.device:FakeDevice"

KERNELS = 10
"""Each launch enqueues so many, of equal length, in equal times of the host."""
RECORD_NS = 1_000
"""What the host spends to record an event."""
REPLAY_NS = 2_000
"""What it spends to launch a graph, whatever is in it."""
FLUSH_NS, FLUSH_CALL_NS = 30_000, 2_000
"""What a flush takes on the device, and of the host."""
MEMORY_BYTES = 1 << 30
OWN, OTHER = 1, 2
"""Handles of two streams."""


class FakeDevice(Device):
    """One device per process. It does what is on a stream in order, and streams beside each other.

    Attributes:
        current: The device of this process.
        host: The clock of the backends.
        used_bytes: Of its memory.
        has_libraries: Something was loaded that stays until the process ends.
        is_lost: Nothing works any more.
        lazy: Times of what is enqueued only once somebody waits for it.
        cold_ns: What is enqueued first after a flush takes so much longer.
    """

    current: FakeDevice

    def __init__(self, number: int) -> None:
        self.facts = {
            "name": "Fake device",
            "uuid": f"GPU-00000000-0000-0000-0000-{number:012}",
            "capability": "1.0",
            "cache_bytes": 1 << 16,
            "memory_bytes": MEMORY_BYTES,
        }
        self.host: VirtualClock | RealClock = VirtualClock()
        self.used_bytes = 0
        self.has_libraries = False
        self.is_lost = False
        self.lazy: list[int] = []
        self.cold_ns = 0
        self._is_cold = False
        self._busy_until_ns: dict[int, int] = {}
        self._captured: list[int] | None = None
        FakeDevice.current = self

    def enqueue(self, stream: int, ns: int) -> None:
        """Let a stream do something that takes so long, once it is done with what came before."""
        if self._captured is not None:
            self._captured += [ns] if stream == OWN else []
            return
        self._busy_until_ns[stream] = self.reached_ns(stream) + ns + (self.cold_ns if self._is_cold else 0)
        self._is_cold = False

    def reached_ns(self, stream: int) -> int:
        """Return when a stream gets to what is enqueued next."""
        return max(self._busy_until_ns.get(stream, 0), self.host.peek())

    def wait_until(self, ns: int) -> None:
        """Let the host wait for an instant."""
        self.host.advance(max(0, ns - self.host.peek()))

    def capture(self, launch: Callable[[], object]) -> list[int]:
        """Return what a launch enqueues, instead of doing it."""
        self._captured = []
        try:
            launch()
            return self._captured
        finally:
            self._captured = None

    @property
    def is_capturing(self) -> bool:
        return self._captured is not None

    def clock(self, stream: int, *, blocking: bool) -> FakeClock:
        return FakeClock(self, stream)

    def synchronize(self) -> None:
        if self.is_lost:
            raise DeviceLost("the fake device has failed")
        for stream in list(self._busy_until_ns):
            self.wait_until(self.reached_ns(stream))

    def free_bytes(self) -> int:
        return MEMORY_BYTES - self.used_bytes - self.own_bytes

    def flusher(self, clock: DeviceClock) -> Callable[[], object]:
        self.own_bytes = self.flush_size()

        def flush() -> None:
            self.host.advance(FLUSH_CALL_NS)
            self.enqueue(clock.stream, FLUSH_NS)
            self._is_cold = True

        return flush


class _Event:
    time_ns = 0


class FakeClock(DeviceClock):
    """See `DeviceClock`."""

    def __init__(self, device: FakeDevice, stream: int) -> None:
        self.stream = stream
        self._device = device
        self._events: list[_Event] = []

    def record(self, event: _Event, stream: int) -> None:
        self._device.host.advance(RECORD_NS)
        event.time_ns = self._device.reached_ns(stream)

    def wait(self, event: _Event) -> None:
        self._device.wait_until(event.time_ns)

    def fence(self) -> None:
        while self._device.lazy:
            self._device.enqueue(self.stream, self._device.lazy.pop())
        self._device.wait_until(self._device.reached_ns(self.stream))

    def events(self, n: int) -> Sequence[_Event]:
        self._events += [_Event() for _ in range(n - len(self._events))]
        return self._events[:n]

    markers = events

    def elapsed_ns(self, first: _Event, second: _Event) -> float:
        return float(second.time_ns - first.time_ns)

    def capture(self, launch: Callable[[], object]) -> Callable[[], object]:
        try:
            total = self._device.capture(launch)
        except RuntimeError as error:
            raise Unsupported(f"a launch cannot be captured: {error}") from error
        if not total:
            raise Unsupported("a launch enqueues nothing on the backend's stream")

        def replay() -> None:
            self._device.host.advance(REPLAY_NS)
            self._device.enqueue(self.stream, sum(total))

        return replay

    def close(self) -> None:
        self._events.clear()


class DeviceBound(FakeBound):
    """Enqueues what `FakeBound` does at once."""

    _backend: DeviceBackend

    def __init__(self, backend: DeviceBackend, slot: int, inputs: Arrays) -> None:
        super().__init__(backend, slot, inputs)
        copy_ns = int(backend.options["copy_us"] * 1000)
        if copy_ns:
            self.copy_in = self.copy_out = lambda: FakeDevice.current.enqueue(OWN, copy_ns)

    def _serve(self, base_ns: int) -> Callable[[], object]:
        backend, device = self._backend, FakeDevice.current
        next_ns, lie = backend.services.of(base_ns), backend.options["lie"]
        enqueue_ns = int(backend.options["enqueue_us"] * 1000) // KERNELS
        stream = OTHER if lie in ("other-stream", "captures-nothing") else OWN

        def launch() -> None:
            device.is_lost |= lie == "dies"
            if lie == "uncapturable" and device.is_capturing:
                raise RuntimeError("operation not permitted when stream is capturing")
            kernel_ns = next_ns() // KERNELS
            for _ in range(KERNELS):
                backend.clock.advance(enqueue_ns)
                if lie == "lazy":
                    device.lazy.append(kernel_ns)
                else:
                    device.enqueue(stream, kernel_ns)

        return launch


class DeviceBackend(FakeBackend):
    """See `DeviceOptions`."""

    _bytes = 0

    def __init__(self, options: Mapping[str, Any], context: Any) -> None:
        super().__init__(options, context)
        FakeDevice.current.host = self.clock
        FakeDevice.current.cold_ns = int(options["cold_us"] * 1000)
        self._take(int(options["weights_bytes"]))
        if not FakeDevice.current.has_libraries:
            FakeDevice.current.used_bytes += int(options["library_bytes"])
            FakeDevice.current.has_libraries = True

    @property
    def stream(self) -> int:
        return OWN

    def bind(self, slot: int, inputs: Arrays) -> Bound:
        self._take(sum(array.nbytes for array in inputs.values()))
        self._last = DeviceBound(self, slot, inputs)
        return self._last

    def _take(self, n: int) -> None:
        self._bytes += n
        FakeDevice.current.used_bytes += n

    def close(self) -> None:
        super().close()
        self._take(int(self.options["leaked_bytes"]) - self._bytes)
