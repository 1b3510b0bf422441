"""`cuda.bindings.runtime`, on host memory."""

# ruff: noqa: N802, N815  (names are those of CUDA)

from __future__ import annotations

import ctypes
import enum
from types import ModuleType, SimpleNamespace
from typing import Any


class Status(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700


class Kind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class FakeCuda(ModuleType):
    """The module.

    Attributes:
        live: Memory that was not given back, by address.
        limit: Bytes that one allocation may have.
        streams: Streams that were not destroyed.
        device: What `cudaGetDeviceProperties` tells of the first; None for a machine without a GPU.
        others: The same of the others.
        current: Number of the current one.
    """

    cudaError_t = Status
    cudaMemcpyKind = Kind
    cudaStreamNonBlocking = 1

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.live: dict[int, Any] = {}
        self.limit = 1 << 20
        self.streams: set[int] = set()
        self.device: Any = SimpleNamespace(name=b"NVIDIA H100 80GB HBM3\0\0", major=9, minor=0)
        self.others: list[Any] = []
        self.current = 0

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        if size > self.limit:
            return Status.cudaErrorMemoryAllocation, 0
        memory = ctypes.create_string_buffer(size)
        self.live[ctypes.addressof(memory)] = memory
        return Status.cudaSuccess, ctypes.addressof(memory)

    cudaMallocHost = cudaMalloc

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return (Status.cudaSuccess if self.live.pop(address, None) else Status.cudaErrorInvalidValue,)

    cudaFreeHost = cudaFree

    def cudaMemcpyAsync(self, to: int, of: int, size: int, kind: Any, stream: int) -> tuple[Any, ...]:
        if stream not in self.streams or to not in self.live or of not in self.live:
            return (Status.cudaErrorInvalidValue,)
        ctypes.memmove(to, of, size)
        return (Status.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        self.streams.add(len(self.streams) + 1)
        return Status.cudaSuccess, len(self.streams)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        return (Status.cudaSuccess if stream in self.streams else Status.cudaErrorInvalidValue,)

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        self.streams.discard(stream)
        return (Status.cudaSuccess,)

    def cudaGetLastError(self) -> tuple[Any, ...]:
        return (Status.cudaSuccess,)

    def cudaGetDevice(self) -> tuple[Any, ...]:
        return (Status.cudaSuccess, self.current) if self.device else (Status.cudaErrorNoDevice, 0)

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        return (Status.cudaSuccess, 1 + len(self.others)) if self.device else (Status.cudaErrorNoDevice, 0)

    def cudaSetDevice(self, number: int) -> tuple[Any, ...]:
        self.current = number
        return (Status.cudaSuccess,)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        return Status.cudaSuccess, [self.device, *self.others][device]

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return Status.cudaSuccess, 13000
