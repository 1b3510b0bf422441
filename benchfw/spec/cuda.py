"""A stream, memory and the device, through cuda-bindings. Imported in workers alone."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cuda.bindings import runtime as cudart
from numpy.typing import NDArray

from benchfw.errors import BackendError, MissingDependency
from benchfw.spec.cuda_errors import cuda_error
from benchfw.spec.device import CUDA, DeviceName

_DRIVER = Path("/proc/driver/nvidia/version")
_TO_DEVICE = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
_TO_HOST = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost


def call(function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """Call a function of the CUDA runtime and return its result, if it has one.

    Raises:
        OutOfMemory: Memory of the device, or page-locked memory, ran out.
        MissingDependency: There is no GPU, or no driver for it.
        DeviceLost: Something on the GPU has failed, and nothing will work from now on.
        BackendError: Any other error of CUDA, by its name.
    """
    status, *results = function(*arguments)
    if not status:
        return results[0] if results else None
    cudart.cudaGetLastError()  # otherwise the next call that looks would find this error again
    asked = f" ({arguments[0]} bytes were asked for)" if function in (cudart.cudaMalloc, cudart.cudaMallocHost) else ""
    raise cuda_error(int(status), f"CUDA: {function.__name__}: {status.name}{asked}")


def make_stream() -> int:
    """Return the handle of a new stream that does not wait for the default one."""
    return int(call(cudart.cudaStreamCreateWithFlags, cudart.cudaStreamNonBlocking))


def synchronize(stream: int) -> None:
    """Wait for all that was enqueued on a stream."""
    call(cudart.cudaStreamSynchronize, stream)


def destroy_stream(stream: int) -> None:
    call(cudart.cudaStreamDestroy, stream)


def use_device(name: str) -> None:
    """Make a CUDA device, as `cuda:1`, the current one of this thread; of another kind of device nothing is done.

    Raises:
        MissingDependency: There is no such device.
    """
    kind, number = DeviceName.parse(name)
    if kind != CUDA:
        return
    count = call(cudart.cudaGetDeviceCount)
    if number >= count:
        raise MissingDependency(f"there is no device {name}: CUDA sees {count}")
    call(cudart.cudaSetDevice, number)


def describe_device() -> dict[str, str]:
    """Return what a built engine depends on: `gpu`, `compute_capability` and `driver` of the current device.

    Raises:
        MissingDependency: There is no GPU, or no driver for it.
    """
    properties = call(cudart.cudaGetDeviceProperties, call(cudart.cudaGetDevice))
    name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
    return {
        "gpu": name.rstrip("\0"),
        "compute_capability": f"{properties.major}.{properties.minor}",
        "driver": _driver(),
    }


def _driver() -> str:
    """Return the driver's version, or where the kernel does not tell it the version of CUDA that it serves."""
    try:
        found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", _DRIVER.read_text())
    except OSError:
        found = None
    if found:
        return found[0]
    version = call(cudart.cudaDriverGetVersion)
    return f"CUDA {version // 1000}.{version % 1000 // 10}"


class Scratch:
    """Device memory without a shape."""

    def __init__(self, size: int) -> None:
        self.address = int(call(cudart.cudaMalloc, max(1, size)))

    def free(self) -> None:
        """Give it back. Idempotent."""
        address, self.address = self.address, 0
        if address:
            call(cudart.cudaFree, address)


class Buffer:
    """A tensor on the device, and its twin in page-locked host memory.

    Attributes:
        address: On the device.
        host: The twin as an array of the tensor's shape and type.
    """

    def __init__(self, shape: Sequence[int], dtype: str) -> None:
        kind = np.dtype(dtype)
        self.address = self._pinned = 0
        count = int(np.prod(shape, dtype=np.int64))
        self._bytes = count * kind.itemsize
        self.address = int(call(cudart.cudaMalloc, max(1, self._bytes)))
        try:
            self._pinned = int(call(cudart.cudaMallocHost, max(1, self._bytes)))
        except BackendError:
            self.free()
            raise
        memory: Any = (ctypes.c_char * max(1, self._bytes)).from_address(self._pinned)
        self.host: NDArray[Any] = np.frombuffer(memory, kind, count).reshape(shape)

    def copier_in(self, stream: int) -> Callable[[], tuple[Any, ...]]:
        """Return what enqueues a copy of the twin to the device; called, it returns a tuple of CUDA's status."""
        return _copier(self.address, self._pinned, self._bytes, _TO_DEVICE, stream)

    def copier_out(self, stream: int) -> Callable[[], tuple[Any, ...]]:
        """Return what enqueues a copy to the twin."""
        return _copier(self._pinned, self.address, self._bytes, _TO_HOST, stream)

    def free(self) -> None:
        """Give both back. Idempotent; `host` must not be touched afterwards."""
        address, pinned, self.address, self._pinned = self.address, self._pinned, 0, 0
        if address:
            call(cudart.cudaFree, address)
        if pinned:
            call(cudart.cudaFreeHost, pinned)


def _copier(to: int, of: int, size: int, kind: Any, stream: int) -> Callable[[], tuple[Any, ...]]:
    copy: Callable[..., tuple[Any, ...]] = cudart.cudaMemcpyAsync

    def enqueue() -> tuple[Any, ...]:
        return copy(to, of, size, kind, stream)

    return enqueue


def all_of(copies: Sequence[Callable[[], tuple[Any, ...]]]) -> Callable[[], None]:
    """Return what enqueues all copies, one after the other."""

    def enqueue() -> None:
        for copy in copies:
            status = copy()[0]
            if status:
                raise cuda_error(int(status), f"CUDA: cudaMemcpyAsync: {status.name}")

    return enqueue
