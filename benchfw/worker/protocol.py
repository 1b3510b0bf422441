"""The wire between parent and worker: a length, a JSON header, raw little-endian arrays. No pickle.

    u32 little-endian   length of the header in bytes
    header              JSON object: `type`, `number`, the message's own keys, and `arrays`: [{name, dtype, shape}, …]
    arrays              their bytes in that order, C-contiguous

Both ends send one message and wait for one: the parent asks, the worker answers with `ok` or `error`. Before that it
may say how far it is, any number of times (`progress`); a parent that does not listen drops that. Messages of each
direction are numbered from 1, so that what somebody else wrote into the pipe cannot pass for an answer for long.
"""

from __future__ import annotations

import json
import math
import os
import select
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import ProtocolError, WorkerCrashed, WorkerTimeout

VERSION = 1
"""Version of the protocol. The worker refuses a parent of another one."""

MAX_HEADER_BYTES = 64 << 20
MAX_ARRAYS_BYTES = 16 << 30
MAX_ARRAYS = 10_000
MAX_DIMENSIONS = 32
IDLE_S = 0.25
"""While the parent waits, it looks this often whether waiting still makes sense."""

_KINDS = "biufc"
_KEYS = frozenset({"type", "number", "arrays"})
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Message:
    """One message: its type, JSON values, arrays."""

    type: str
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def ok(**values: Any) -> Message:
    """Return an answer without arrays."""
    return Message("ok", values)


class Channel:
    """One end of the two pipes.

    Args:
        read_fd: Descriptor that messages arrive on.
        write_fd: Descriptor that messages leave by.
        idle: Called every `IDLE_S` of a wait with a deadline; what it raises ends the wait.
    """

    def __init__(self, read_fd: int, write_fd: int, *, idle: Callable[[], None] = lambda: None) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self._idle = idle
        self._sent = 0
        self._received = 0

    def send(self, message: Message, *, timeout: float | None = None) -> None:
        """Send one message.

        Args:
            message: What to send.
            timeout: Seconds to wait for the other end to read; None waits for ever, and needs a blocking pipe.

        Raises:
            WorkerCrashed: The other end closed the pipe.
            WorkerTimeout: The other end did not read in time.
        """
        if len(message.arrays) > MAX_ARRAYS:
            raise ProtocolError(f"there are {len(message.arrays)} arrays, at most {MAX_ARRAYS} are allowed")
        arrays = {name: _little_endian(array) for name, array in message.arrays.items()}
        if _KEYS & set(message.values):
            raise ProtocolError(f"{', '.join(sorted(_KEYS))} are no names for values")
        table = [{"name": n, "dtype": a.dtype.str, "shape": list(a.shape)} for n, a in arrays.items()]
        head = {"type": message.type, "number": self._sent + 1, **message.values, "arrays": table}
        header = json.dumps(head).encode()
        self._sent += 1
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
        if not prefix.size:
            return None
        (length,) = _LENGTH.unpack(prefix.tobytes())
        if length > MAX_HEADER_BYTES:
            raise ProtocolError(f"a header of {length} bytes was announced, at most {MAX_HEADER_BYTES} are allowed")
        try:
            header = json.loads(self._read(length, deadline).tobytes())
            table = [(str(a["name"]), _dtype(a["dtype"]), _shape(a["shape"])) for a in header.pop("arrays")]
            kind, number = str(header.pop("type")), header.pop("number")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ProtocolError(f"not a message header: {error}") from error
        self._received += 1
        if number != self._received:
            raise ProtocolError(f"message number {number!r} arrived, {self._received} was due: somebody else wrote it")
        if sum(math.prod(shape) * dtype.itemsize for _, dtype, shape in table) > MAX_ARRAYS_BYTES:
            raise ProtocolError(f"arrays of more than {MAX_ARRAYS_BYTES} bytes were announced")
        arrays: dict[str, NDArray[Any]] = {}
        for name, dtype, shape in table:
            data = self._read(math.prod(shape) * dtype.itemsize, deadline)
            try:
                arrays[name] = data.view(dtype).reshape(shape)
            except ValueError as error:  # empty, with other sizes that no array can have
                raise ProtocolError(f"an array of shape {shape} was announced") from error
        return Message(kind, header, arrays)

    def close(self) -> None:
        """Close both descriptors. Idempotent."""
        for descriptor in {self.read_fd, self.write_fd} - {-1}:
            os.close(descriptor)
        self.read_fd = self.write_fd = -1

    def _read(self, count: int, deadline: float | None, *, eof_ok: bool = False) -> NDArray[np.uint8]:
        """Return so many bytes; none if the pipe is at its end and that is `eof_ok`."""
        data: NDArray[np.uint8] = np.empty(count, np.uint8)  # its pages are not touched before something comes
        view = data.data
        while view.nbytes:
            self._wait(deadline, reading=True)
            got = os.readv(self.read_fd, [view])
            if not got:
                if eof_ok and view.nbytes == count:
                    return data[:0]
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
        poll = select.poll()
        poll.register(self.read_fd if reading else self.write_fd, select.POLLIN if reading else select.POLLOUT)
        while True:
            left = max(0.0, deadline - time.monotonic())
            if poll.poll(min(left, IDLE_S) * 1000):
                return
            if left <= 0:
                raise WorkerTimeout("no answer before the deadline")
            self._idle()


def _little_endian(array: NDArray[Any]) -> NDArray[Any]:
    array = np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype.kind not in _KINDS:
        raise ProtocolError(f"arrays of {array.dtype} cannot be sent")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _dtype(text: Any) -> np.dtype[Any]:
    dtype = np.dtype(str(text))
    if dtype.kind not in _KINDS or dtype.byteorder == ">":
        raise ProtocolError(f"arrays of {text!r} are not part of the protocol")
    return dtype


def _shape(sizes: Any) -> tuple[int, ...]:
    shape = tuple(map(int, sizes))
    if len(shape) > MAX_DIMENSIONS or min(shape, default=0) < 0 or max(shape, default=0) > MAX_ARRAYS_BYTES:
        raise ProtocolError(f"an array of shape {shape[:MAX_DIMENSIONS]} was announced")
    return shape
