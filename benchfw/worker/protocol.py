"""The wire between parent and worker: a length, a JSON header, raw little-endian arrays. No pickle.

    u32 little-endian   length of the header in bytes
    header              JSON object: `type`, the message's own keys, and `arrays`: [{name, dtype, shape}, …]
    arrays              their bytes in that order, C-contiguous

Both ends send one message and wait for one: the parent asks, the worker answers with `ok` or `error`.
"""

from __future__ import annotations

import json
import math
import os
import select
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import ProtocolError, WorkerCrashed, WorkerTimeout

VERSION = 1
"""Version of the protocol. The worker refuses a parent of another one."""

MAX_HEADER_BYTES = 64 << 20
MAX_ARRAYS_BYTES = 16 << 30
_LENGTH = struct.Struct("<I")
_LONGEST_WAIT_S = 1e6


@dataclass(frozen=True)
class Message:
    """One message: its type, JSON values, arrays."""

    type: str
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


class Channel:
    """One end of the two pipes.

    Args:
        read_fd: Descriptor that messages arrive on.
        write_fd: Descriptor that messages leave by.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd

    def send(self, message: Message, *, timeout: float | None = None) -> None:
        """Send one message.

        Args:
            message: What to send.
            timeout: Seconds to wait for the other end to read; None waits for ever, and needs a blocking pipe.

        Raises:
            WorkerCrashed: The other end closed the pipe.
            WorkerTimeout: The other end did not read in time.
        """
        arrays = {name: _little_endian(array) for name, array in message.arrays.items()}
        if {"type", "arrays"} & set(message.values):
            raise ProtocolError("`type` and `arrays` are no names for values")
        table = [{"name": n, "dtype": a.dtype.str, "shape": list(a.shape)} for n, a in arrays.items()]
        header = json.dumps({"type": message.type, **message.values, "arrays": table}).encode()
        deadline = None if timeout is None else time.monotonic() + timeout
        for part in (_LENGTH.pack(len(header)), header, *(a.tobytes() for a in arrays.values())):
            self._write(part, deadline)

    def receive(self, timeout: float | None = None) -> Message | None:
        """Wait for one message; None once the other end has closed the pipe between messages.

        Args:
            timeout: Seconds for the whole message; None waits for ever.

        Raises:
            WorkerTimeout: No whole message arrived in time.
            WorkerCrashed: The pipe closed within a message.
            ProtocolError: The bytes are no message.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        prefix = self._read(_LENGTH.size, deadline, eof_ok=True)
        if prefix is None:
            return None
        (length,) = _LENGTH.unpack(prefix)
        if length > MAX_HEADER_BYTES:
            raise ProtocolError(f"a header of {length} bytes was announced, at most {MAX_HEADER_BYTES} are allowed")
        try:
            header = json.loads(self._read(length, deadline) or b"")
            table = [(a["name"], _dtype(a["dtype"]), tuple(map(int, a["shape"]))) for a in header.pop("arrays")]
            kind = str(header.pop("type"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ProtocolError(f"not a message header: {error}") from error
        arrays: dict[str, NDArray[Any]] = {}
        for name, dtype, shape in table:
            size = math.prod(shape) * dtype.itemsize
            if min(shape, default=0) < 0 or size > MAX_ARRAYS_BYTES:
                raise ProtocolError(f"array {name!r} of shape {shape} was announced")
            data = self._read(size, deadline) or b""
            arrays[name] = np.frombuffer(data, dtype).reshape(shape)
        return Message(kind, header, arrays)

    def close(self) -> None:
        """Close both descriptors. Idempotent."""
        for descriptor in {self.read_fd, self.write_fd} - {-1}:
            os.close(descriptor)
        self.read_fd = self.write_fd = -1

    def _read(self, count: int, deadline: float | None, *, eof_ok: bool = False) -> bytearray | None:
        data = bytearray(count)
        view = memoryview(data)
        while view.nbytes:
            self._wait(deadline, reading=True)
            got = os.readv(self.read_fd, [view])
            if not got:
                if eof_ok and view.nbytes == count:
                    return None
                raise WorkerCrashed("the pipe closed in the middle of a message")
            view = view[got:]
        return data

    def _write(self, data: bytes, deadline: float | None) -> None:
        view = memoryview(data)
        while view.nbytes:
            self._wait(deadline, reading=False)
            try:
                view = view[os.write(self.write_fd, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError as error:
                raise WorkerCrashed("the pipe is closed") from error

    def _wait(self, deadline: float | None, *, reading: bool) -> None:
        if deadline is None:
            return
        left = min(max(0.0, deadline - time.monotonic()), _LONGEST_WAIT_S)
        descriptors = [self.read_fd if reading else self.write_fd]
        ready = select.select(descriptors if reading else [], [] if reading else descriptors, [], left)
        if not any(ready):
            raise WorkerTimeout("no answer before the deadline")


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    array = np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype.hasobject:
        raise ProtocolError(f"arrays of {array.dtype} cannot be sent")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _dtype(text: Any) -> np.dtype[Any]:
    dtype = np.dtype(str(text))
    if dtype.kind not in "biufc" or dtype.byteorder == ">":
        raise ProtocolError(f"arrays of {text!r} are not part of the protocol")
    return dtype
