"""What the fake backend does wrong when its options ask for it. Needs numpy alone.

A deed is done once per instance, at the stage that the options name, before that stage does its work. A lie replaces
what the stage returns, every time. A habit is added to every launch. A trick changes how a slot launches or answers.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw import errors
from benchfw.spec.tensors import IoSpec, TensorSpec


class FrameworkError(Exception):
    """What a framework raises; `FakeBackend.explain` knows what its "out of memory" means."""


# --- deeds: how a process ends or hangs -----------------------------------------------------------------------------


def _spin() -> None:
    while True:
        pass


def _spin_deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _spin()


def _deadlock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def _leak() -> None:
    """Take and use memory until the kernel ends this process; without a limit, stop before anybody is harmed."""
    kept = [b"x" * (8 << 20) for _ in range(100)]
    raise RuntimeError(f"nothing limits this process to less than {8 * len(kept)} MiB")


def _reserve() -> None:
    """Take memory, but do not use it, until there is none left; a limit must be set from outside."""
    kept: list[NDArray[Any]] = [np.empty(256 << 20, np.uint8) for _ in range(100)]
    raise RuntimeError(f"nothing limits this process to less than {256 * len(kept)} MiB")


def _flood() -> None:
    """Write 320 MB to stdout and stderr in turn."""
    line = b"a framework that logs every kernel that it looks at\n" * 20_000
    for number in range(320_000_000 // len(line)):
        os.write(1 + number % 2, line)


# --- deeds: what is raised ------------------------------------------------------------------------------------------


class _Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def _raise(make: Callable[[], BaseException]) -> Callable[[], None]:
    def deed() -> None:
        raise make()

    return deed


def _recurse() -> None:
    _recurse()


# --- deeds: what is done to the pipe, the processes and the surroundings --------------------------------------------


def _pipe() -> tuple[int, int]:
    """Return the descriptors of the protocol: they are the last arguments of a worker."""
    return int(sys.argv[-2]), int(sys.argv[-1])


def _due() -> int:
    """Return the number of the answer that is due, which only who looks into the frames can know."""
    frame = sys._getframe()
    while "channel" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    return int(frame.f_locals["channel"]._sent) + 1


def _forge(number: int, *arrays: Mapping[str, Any]) -> None:
    header = json.dumps({"type": "ok", "number": number, "arrays": arrays}).encode()
    os.write(_pipe()[1], struct.pack("<I", len(header)) + header)


def _announce() -> None:
    _forge(_due(), {"name": "starts", "dtype": "<i8", "shape": [1 << 20]})


def _announce_and_exit() -> None:
    _announce()
    os._exit(0)


def _announce_and_hang() -> None:
    _announce()
    time.sleep(3600)


def _close_pipe_and_hang() -> None:
    for descriptor in _pipe():
        os.close(descriptor)
    time.sleep(3600)


def _steal() -> None:
    """Read what the parent writes from now on, before the worker can."""
    read_fd, _ = _pipe()
    mine = os.dup(read_fd)
    os.dup2(os.pipe()[0], read_fd)
    threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(mine, 1 << 16), b"")], daemon=True).start()


def _fork(*, own_session: bool) -> None:
    """Leave a child that holds every descriptor open and outlives this process."""
    if os.fork() == 0:
        if own_session:
            os.setsid()
        time.sleep(3600)
        os._exit(0)


def _fork_and_exit(*, own_session: bool) -> None:
    _fork(own_session=own_session)
    os._exit(3)


def _leave_group_and_hang() -> None:
    os.setpgid(0, os.getpgid(os.getppid()))
    time.sleep(3600)


def _lose_folder() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def _signal(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


DEEDS: dict[str, Callable[[], object]] = {
    "crash": _signal(signal.SIGSEGV),
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "illegal": _signal(signal.SIGILL),
    "kill": _signal(signal.SIGKILL),
    "terminate": _signal(signal.SIGTERM),
    "stop": _signal(signal.SIGSTOP),
    "exit": lambda: os._exit(7),
    "exit0": lambda: os._exit(0),
    "hang": lambda: time.sleep(3600),
    "spin": _spin,
    "spin_deaf": _spin_deaf,
    "deadlock": _deadlock,
    "leak": _leak,
    "reserve": _reserve,
    "flood": _flood,
    "memory": _raise(lambda: MemoryError("asked for")),
    "raise": _raise(lambda: ValueError("asked for")),
    "framework_memory": _raise(lambda: FrameworkError("out of fake memory")),
    "mute": _raise(_Mute),
    "verbose": _raise(lambda: ValueError("words " * 1_000_000)),
    "verbose_own": _raise(lambda: errors.Invalid("words " * 1_000_000)),
    "binary": _raise(lambda: ValueError("\ud800 \x00 \x1b[2J\x1b]0;title\x07 \u202e end")),
    "recurse": _recurse,
    "sys_exit": _raise(lambda: SystemExit(3)),
    "keyboard": _raise(KeyboardInterrupt),
    **{name: _raise(lambda kind=kind: kind("asked for")) for name, kind in errors.BACKEND_ERRORS.items()},  # type: ignore[misc]
    "garbage": lambda: os.write(_pipe()[1], b"Loading model: 100 %\n"),
    "forge_old": lambda: _forge(1),
    "forge": lambda: _forge(_due()),
    "announce_exit": _announce_and_exit,
    "announce_hang": _announce_and_hang,
    "close_pipe": lambda: os.close(_pipe()[1]),
    "close_pipe_hang": _close_pipe_and_hang,
    "steal": _steal,
    "close_standard": lambda: os.closerange(0, 3),
    "fork": lambda: _fork(own_session=False),
    "fork_session": lambda: _fork(own_session=True),
    "fork_exit": lambda: _fork_and_exit(own_session=False),
    "fork_session_exit": lambda: _fork_and_exit(own_session=True),
    "leave_group": _leave_group_and_hang,
    "thread": lambda: threading.Thread(target=time.sleep, args=(3600,)).start(),
    "lose_folder": _lose_folder,
}
"""What a fault does, by its name."""

LIES: dict[str, Callable[[Any, int], object]] = {
    "none": lambda value, count: None,
    "nonsense": lambda value, count: "nonsense",
    # what load returns
    "odd_dtype": lambda io, count: IoSpec(inputs=io.inputs, outputs=(_spec("floaty", "batch", 12),)),
    "odd_shape": lambda io, count: IoSpec(inputs=io.inputs, outputs=(_spec("float32", "batch", 12.5),)),
    "other_outputs": lambda io, count: IoSpec(inputs=io.inputs, outputs=(_spec("float32", "batch", 7),)),
    # what outputs returns
    "transposed": lambda outputs, count: {"output": outputs["output"].T},
    "half": lambda outputs, count: {"output": outputs["output"][: len(outputs["output"]) // 2]},
    "integers": lambda outputs, count: {"output": outputs["output"].astype(np.int64)},
    "missing": lambda outputs, count: {},
    "extra": lambda outputs, count: {**outputs, "extra": outputs["output"]},
    "objects": lambda outputs, count: {"output": outputs["output"].astype(object)},
    "words": lambda outputs, count: {"output": outputs["output"].astype(str)},
    "ragged": lambda outputs, count: {"output": [[1.0], [1.0, 2.0]]},
    "nan": lambda outputs, count: {"output": outputs["output"] * np.float32("nan")},
    "zeros": lambda outputs, count: {"output": outputs["output"] * 0},
    "constant": lambda outputs, count: {"output": np.ones_like(outputs["output"])},
    "drifting": lambda outputs, count: {"output": outputs["output"] * max(1, count - 4)},  # four sets are honest
    "many": lambda outputs, count: {f"output{number}": outputs["output"] for number in range(100_000)},
    # what facts returns
    "unprintable": lambda facts, count: {**facts, "graph": object()},
    "other_precision": lambda facts, count: {**facts, "precision_effective": "int8"},
    "huge_threads": lambda facts, count: {**facts, "threads_effective": 1 << 80},
    "later_text": lambda facts, count: {**facts, "threads_effective": "many" if count > 1 else 1},
    "later_provider": lambda facts, count: {**facts, "provider_effective": "CPU" if count > 1 else "fake"},
    "more_threads": lambda facts, count: {**facts, "threads_effective": (os.cpu_count() or 1) + 1},
    "fallback": lambda facts, count: {**facts, "nodes": {"CPUExecutionProvider": 3}},
    "fallback_partly": lambda facts, count: {
        **facts,
        "nodes": {facts["provider_effective"]: 2, "CPUExecutionProvider": 1},
    },
    # what counters returns
    "rising": lambda counters, count: {"compilations": count},
    "text_counts": lambda counters, count: {"compilations": "many"},
    "float_counts": lambda counters, count: {"compilations": 0.5},
    "huge_counts": lambda counters, count: {"compilations": count << 80},
    "numpy_counts": lambda counters, count: {"compilations": np.int64(1)},
}
"""What a fault makes of the value that its stage would return, and of how often it was asked, by its name."""


def _spec(dtype: str, *shape: Any) -> TensorSpec:
    return TensorSpec(name="output", dtype=dtype, shape=shape)


# --- habits: what every launch does beside its work -----------------------------------------------------------------

LEAK_BYTES = 16 << 10
CHATTER_CALLS = 1000


def _hoard() -> Callable[[], None]:
    kept: list[object] = []
    return lambda: kept.append(object())


def _leak_native() -> Callable[[], None]:
    """Take memory that no garbage collector knows, and write to it, so that it is resident."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p

    def leak() -> None:
        ctypes.memset(libc.malloc(ctypes.c_size_t(LEAK_BYTES)), 1, LEAK_BYTES)

    return leak


def _chatter(every: int) -> Callable[[], Callable[[], None]]:
    def habit() -> Callable[[], None]:
        calls = 0

        def chatter() -> None:
            nonlocal calls
            calls += 1
            if calls % every == 0:
                print(f"inference {calls} done", flush=True)  # noqa: T201  (that is the fault)

        return chatter

    return habit


HABITS: dict[str, Callable[[], Callable[[], None]]] = {
    "hoard": _hoard,
    "leak_native": _leak_native,
    "chatter": _chatter(1),
    "chatter_at_times": _chatter(CHATTER_CALLS),
}
"""Makers of what a fault does at every launch of a slot, by its name."""

TRICKS = {
    "early": "launch returns before its work is done, and outputs wait until it is",
    "stale": "outputs are those of the first launch of slot 0, whatever slot is asked for",
    "unfollowing": "outputs are the same for all inputs of a shape",
}
"""What a fault does to the whole of a slot, by its name; see `benchfw.testing.fakes`."""

NAMES = (*DEEDS, *LIES, *HABITS, *TRICKS)
