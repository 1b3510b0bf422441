"""A backend whose speed, outputs and failures are chosen by its options. Needs numpy alone.

What goes wrong is a deed or a lie. A deed is done once per instance, at the stage that the options name, before that
stage does its work. A lie replaces what the stage returns, every time.
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
from benchfw.spec.artifact import Artifact
from benchfw.spec.backend import Backend, Bound
from benchfw.spec.tensors import IoSpec, Profile, TensorSpec
from benchfw.worker import clocks


class FrameworkError(Exception):
    """What a framework raises; `FakeBackend.explain` knows what its "out of memory" means."""


class VirtualClock:
    """Time that passes only where somebody says so: a run of seconds takes as long as its arithmetic."""

    READING_NS = 25

    def __init__(self) -> None:
        self._now_ns = time.perf_counter_ns()

    def now(self) -> int:
        """Return nanoseconds; reading takes a little, as with a real clock."""
        self._now_ns += self.READING_NS
        return self._now_ns

    def advance(self, ns: int) -> None:
        self._now_ns += ns


_virtual = VirtualClock()


def _spin_for(ns: int) -> None:
    end = time.perf_counter_ns() + ns
    while time.perf_counter_ns() < end:
        pass


class FakeBound(Bound):
    """Takes the time that its options give; its output is the sum of the inputs, scaled."""

    def __init__(self, backend: FakeBackend, inputs: Mapping[str, NDArray[Any]]) -> None:
        options = backend.options
        batch = _batch(inputs)
        self._backend = backend
        self._batch = batch
        self._values = {name: np.array(array) for name, array in inputs.items()}
        self._scale = float(options["scale"])
        wait_ns = int(options["latency_us"] * 1000 * (max(1, batch) if options["per_sample"] else 1))
        spend = _virtual.advance if options["clock"] == "virtual" else _spin_for
        calls = 0

        def launch() -> None:
            nonlocal calls
            calls += 1
            if calls > 1:
                backend.misbehave("launch", batch)
                backend.need_explaining(batch)
            if calls == options["compile_at"]:
                backend.compilations += 1
            spend(wait_ns)

        self.launch = launch

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        total = sum(array.reshape(array.shape[0], -1).sum(axis=1) for array in self._values.values())
        output = np.outer(np.asarray(total), np.arange(1, 13)) * self._scale
        honest: Mapping[str, NDArray[Any]] = {"output": output.astype(np.float32)}
        return self._backend.misbehave("outputs", self._batch, honest)  # type: ignore[no-any-return]


class FakeBackend(Backend):
    """See `FakeOptions`."""

    compilations = 0
    _profile = ""
    _batch = 0
    _done = False
    _lies = 0

    def __init__(self, options: Mapping[str, Any], context: Any) -> None:
        super().__init__(options, context)
        if options["clock"] == "virtual":
            clocks.now = _virtual.now  # for the whole worker, and for good
        self.misbehave("init")

    def prepare(self, artifact: Artifact, profile: Profile) -> Artifact:
        self._profile = "static" if profile.static else "dynamic"
        self._batch = profile.axes["batch"].opt if profile.static and "batch" in profile.axes else 0
        return self.misbehave("prepare", self._batch, artifact)  # type: ignore[no-any-return]

    def load(self, artifact: Artifact) -> IoSpec:
        io = IoSpec(inputs=self.context.inputs, outputs=())
        return self.misbehave("load", self._batch, io)  # type: ignore[no-any-return]

    def bind(self, slot: int, inputs: Mapping[str, NDArray[Any]]) -> Bound:
        return self.misbehave("bind", _batch(inputs), FakeBound(self, inputs))  # type: ignore[no-any-return]

    def counters(self) -> Mapping[str, int]:
        return self.misbehave("counters", self._batch, {"compilations": self.compilations})  # type: ignore[no-any-return]

    def facts(self) -> Mapping[str, Any]:
        mistakes = {"numpy": np.int64(1), "text": "many"}
        threads = {"threads_effective": mistakes[self.options["fact"]]} if self.options["fact"] else {}
        facts = {
            "provider_effective": self.options["provider"],
            "precision_effective": self.context.precision,
            **threads,
        }
        return self.misbehave("facts", self._batch, facts)  # type: ignore[no-any-return]

    def explain(self, error: Exception) -> errors.BackendError | None:
        if isinstance(error, FrameworkError) and "out of fake memory" in str(error):
            return errors.OutOfMemory(str(error))
        return self.misbehave("explain", self._batch, None)  # type: ignore[no-any-return]

    def close(self) -> None:
        self.misbehave("close", self._batch)

    def need_explaining(self, batch: int) -> None:
        """Raise something, so that `explain` is asked, where that is what shall go wrong."""
        if self.options["fault"] and self.options["at"] == "explain" and self.options["at_batch"] in (0, batch):
            raise FrameworkError("unheard of")

    def misbehave(self, stage: str, batch: int = 0, value: Any = None) -> Any:
        """Do what the options ask for at this stage, and return what the stage shall return."""
        how = self.options["fault"]
        elsewhere = self.options["at_batch"] not in (0, batch) or self.options["at_profile"] not in ("", self._profile)
        if not how or self.options["at"] != stage or elsewhere:
            return value
        if how in LIES:
            self._lies += 1
            return LIES[how](value, self._lies)
        if not self._done:
            self._done = True
            DEEDS[how]()
        return value


def _batch(inputs: Mapping[str, NDArray[Any]]) -> int:
    return next((array.shape[0] for array in inputs.values() if array.ndim), 0)


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
    "drifting": lambda outputs, count: {"output": outputs["output"] * count},
    "many": lambda outputs, count: {f"output{number}": outputs["output"] for number in range(100_000)},
    # what facts returns
    "unprintable": lambda facts, count: {**facts, "graph": object()},
    "other_precision": lambda facts, count: {**facts, "precision_effective": "int8"},
    "huge_threads": lambda facts, count: {**facts, "threads_effective": 1 << 80},
    "later_text": lambda facts, count: {**facts, "threads_effective": "many" if count > 1 else 1},
    "later_provider": lambda facts, count: {**facts, "provider_effective": "CPU" if count > 1 else "fake"},
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
