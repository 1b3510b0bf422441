"""CUDA devices, through the driver's API as cuda-bindings has it. Imported for cases on such a device alone.

Costs of a call from Python on an H100 (median): recording an event 2.4 µs, waiting for an idle stream 1.6 µs, reading
the time between two events 0.7 µs.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchfw.errors import BackendError, DeviceLost, Invalid, MissingDependency, OutOfMemory, Unsupported
from benchfw.spec.cuda_errors import cuda_error
from benchfw.worker.devices import Device, DeviceClock

_INSTALL = "pip install cuda-bindings"
_NS_PER_MS = 1e6
_MAX_NAME = 256


def _load_driver() -> Any:
    """Return the module of the driver's functions, initialised.

    Raises:
        MissingDependency: There is no cuda-bindings, no driver, or no device.
    """
    try:
        from cuda.bindings import driver
    except ImportError as missing:
        text = f"a case on a CUDA device needs the package cuda-bindings: {missing}"
        raise MissingDependency(text, hint=_INSTALL) from missing
    try:
        (error,) = driver.cuInit(0)
    except Exception as failure:  # each version of the bindings has an error of its own for a library that is not there
        raise MissingDependency(f"there is no NVIDIA driver here: {_first_line(failure)}") from failure
    if error:
        raise MissingDependency(f"CUDA cannot be used here: {_name(driver, error)}", hint="`nvidia-smi` may say more")
    return driver


def uuid_of(number: int) -> str:
    """Return the UUID of a device as NVML writes it, without making a context on it.

    Raises:
        MissingDependency: There is no such device, or no way to ask for it.
        BackendError: The driver does not tell.
    """
    driver = _load_driver()
    return _uuid(ask(driver, driver.cuDeviceGetUuid(_device(driver, number))).bytes)


def _device(driver: Any, number: int) -> Any:
    """Return the handle of a device.

    Raises:
        MissingDependency: There is no such device.
    """
    count = ask(driver, driver.cuDeviceGetCount())
    if number >= count:
        raise MissingDependency(f"there is no device cuda:{number}: CUDA sees {count}")
    return ask(driver, driver.cuDeviceGet(number))


class CudaDevice(Device):
    """A CUDA device by its number; its primary context, which frameworks share, is made the current one.

    Waiting spins in this context, unless an event says otherwise: else the driver chooses by the number of CPUs.

    Raises:
        MissingDependency: There is no such device.
    """

    def __init__(self, number: int) -> None:
        self._driver = driver = _load_driver()
        self._flushed: tuple[Any, int] | None = None
        device = _device(driver, number)
        self._ask(driver.cuDevicePrimaryCtxSetFlags(device, int(driver.CUctx_flags.CU_CTX_SCHED_SPIN)))
        self._ask(driver.cuCtxSetCurrent(self._ask(driver.cuDevicePrimaryCtxRetain(device))))
        kinds = driver.CUdevice_attribute
        attribute = partial(self._attribute, device)
        major = attribute(kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
        minor = attribute(kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
        self.facts = {
            "name": self._ask(driver.cuDeviceGetName(_MAX_NAME, device)).split(b"\0")[0].decode(),
            "uuid": _uuid(self._ask(driver.cuDeviceGetUuid(device)).bytes),
            "capability": f"{major}.{minor}",
            "cache_bytes": attribute(kinds.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE),
            "memory_bytes": self._ask(driver.cuMemGetInfo())[1],
            "driver": self._ask(driver.cuDriverGetVersion()),
        }

    def clock(self, stream: int, *, blocking: bool) -> CudaClock:
        return CudaClock(self._driver, stream, blocking=blocking)

    def synchronize(self) -> None:
        try:
            self._ask(self._driver.cuCtxSynchronize())
        except (OutOfMemory, DeviceLost):
            raise
        except BackendError as error:  # what kernels do wrong stays with the context
            raise DeviceLost(error.message, hint="the log of its worker may say more") from error

    def free_bytes(self) -> int:
        return int(self._ask(self._driver.cuMemGetInfo())[0])

    def flusher(self, clock: DeviceClock) -> Callable[[], object]:
        if self._flushed is None:
            size, before = self.flush_size(), self.free_bytes()
            self._flushed = self._ask(self._driver.cuMemAlloc(size)), size
            self.own_bytes = before - self.free_bytes()
        address, size = self._flushed
        flush = partial(self._driver.cuMemsetD8Async, address, 0, size, clock.stream)
        self._ask(flush())  # of those in a loop nobody looks at the answer
        return flush

    def _attribute(self, device: Any, attribute: Any) -> int:
        return int(self._ask(self._driver.cuDeviceGetAttribute(attribute, device)))

    def _ask(self, answer: tuple[Any, ...]) -> Any:
        return ask(self._driver, answer)


class CudaClock(DeviceClock):
    """See `DeviceClock`. A fence that spins waits for the stream itself; one that blocks, for an event: only it can."""

    def __init__(self, driver: Any, stream: int, *, blocking: bool) -> None:
        if not stream:
            raise Invalid("the backend's stream is the default one, which waits for all others")
        self._driver = driver
        self._events: list[Any] = []
        self._markers: list[Any] = []
        self._last: list[Any] = []
        self._graphs: list[Callable[[], object]] = []
        flags = driver.CUevent_flags
        self._marker_flags = int(flags.CU_EVENT_DISABLE_TIMING)
        if blocking:
            self._marker_flags |= int(flags.CU_EVENT_BLOCKING_SYNC)
        self.stream = driver.CUstream(stream)
        self.record = driver.cuEventRecord
        self.wait = driver.cuEventSynchronize
        self.fence = self._blocking_fence() if blocking else partial(driver.cuStreamSynchronize, self.stream)

    def _blocking_fence(self) -> Callable[[], object]:
        record, wait, stream = self.record, self.wait, self.stream
        self._last = self._made(1, self._marker_flags)
        (last,) = self._last

        def fence() -> None:
            record(last, stream)
            wait(last)

        return fence

    def events(self, n: int) -> Sequence[Any]:
        self._events += self._made(n - len(self._events), int(self._driver.CUevent_flags.CU_EVENT_DEFAULT))
        return self._events[:n]

    def markers(self, n: int) -> Sequence[Any]:
        self._markers += self._made(n - len(self._markers), self._marker_flags)
        return self._markers[:n]

    def elapsed_ns(self, first: Any, second: Any) -> float:
        return float(self._ask(self._driver.cuEventElapsedTime(first, second))) * _NS_PER_MS

    def capture(self, launch: Callable[[], object]) -> Callable[[], object]:
        driver, stream = self._driver, self.stream
        self._ask(driver.cuStreamSynchronize(stream))
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._ask(driver.cuStreamBeginCapture(stream, mode))
        failure: Exception | None = None
        try:
            launch()
        except Exception as raised:  # whatever it is, the capture must be ended
            failure = raised
        error, graph = driver.cuStreamEndCapture(stream)
        if error:
            graph = None
        with contextlib.ExitStack() as undo:
            if graph:
                undo.callback(driver.cuGraphDestroy, graph)
            if failure is not None:
                raise Unsupported(f"a launch cannot be captured into a CUDA graph: {_first_line(failure)}") from failure
            if error:
                raise Unsupported(f"a launch cannot be captured into a CUDA graph: {_name(driver, error)}")
            if not self._ask(driver.cuGraphGetNodes(graph))[1]:
                raise Unsupported(
                    "a launch enqueues nothing on the backend's stream, so that there is nothing to capture"
                )
            replayed = self._ask(driver.cuGraphInstantiate(graph, 0))
            undo.callback(driver.cuGraphExecDestroy, replayed)
            self._ask(driver.cuGraphUpload(replayed, stream))
            replay = partial(driver.cuGraphLaunch, replayed, stream)
            # a slot that is bound anew drops its replay, and with it the graph and what that holds of the device
            free = weakref.finalize(replay, undo.pop_all().close)
            free.atexit = False
            self._graphs.append(free)
        return replay

    def close(self) -> None:
        for free in self._graphs:
            free()
        for event in (*self._events, *self._markers, *self._last):
            self._driver.cuEventDestroy(event)
        self._graphs, self._events, self._markers, self._last = [], [], [], []

    def _made(self, n: int, flags: int) -> list[Any]:
        """Return new events that are past."""
        made = [self._ask(self._driver.cuEventCreate(flags)) for _ in range(n)]
        for event in made:
            self._ask(self._driver.cuEventRecord(event, self.stream))
        self._ask(self._driver.cuStreamSynchronize(self.stream))
        return made

    def _ask(self, answer: tuple[Any, ...]) -> Any:
        return ask(self._driver, answer)


def ask(driver: Any, answer: tuple[Any, ...]) -> Any:
    """Return what a function of the driver answered: nothing, a value, or a tuple of them.

    Raises:
        BackendError: It answered with an error, or something that was enqueued earlier did; see `cuda_error`.
    """
    error, *values = answer
    if error:
        raise cuda_error(int(error), f"the CUDA device failed: {_name(driver, error)}")
    return values[0] if len(values) == 1 else tuple(values)


def _name(driver: Any, error: Any) -> str:
    """Return the name of an error and what it means: `CUDA_ERROR_NO_DEVICE (no CUDA-capable device is detected)`."""
    _, name = driver.cuGetErrorName(error)
    _, text = driver.cuGetErrorString(error)
    return f"{(name or b'?').decode()} ({(text or b'?').decode()})"


def _uuid(raw: bytes) -> str:
    """Return a UUID as NVML writes it."""
    digits = raw[:16].hex()
    return "GPU-" + "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
