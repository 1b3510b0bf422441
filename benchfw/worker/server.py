"""What a worker does with each message: one method per type, in the order of a session's life.

Those about models and artifacts, and those about samplers, have a module of their own.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchfw.errors import BenchfwError, DeviceLost, ProtocolError
from benchfw.spec.artifact import Artifact
from benchfw.spec.backend import Backend, Bound, Context
from benchfw.spec.tensors import IoSpec, Profile, TensorSpec
from benchfw.worker import clocks, counters, inputs, loops, protocol, returned
from benchfw.worker.canary import Canary
from benchfw.worker.devices import Device, DeviceMemory, open_device
from benchfw.worker.imports import is_there, load_class, version_of
from benchfw.worker.making import Making
from benchfw.worker.protocol import Message, ok
from benchfw.worker.quiet import quiet
from benchfw.worker.telemetry import SamplerHandlers
from benchfw.worker.timing import Mode, Run, Timing, timing_of


class Instance:
    """A backend with one artifact, and how it is timed once that is loaded."""

    def __init__(self, backend: Backend, mode: Mode) -> None:
        self.backend = backend
        self.mode = mode
        self.prepared: Artifact | None = None
        self._timing: Timing | None = None

    @property
    def timing(self) -> Timing:
        """How it is timed.

        Raises:
            ProtocolError: It is not loaded yet.
        """
        if self._timing is None:
            raise ProtocolError("nothing is loaded yet")
        return self._timing

    def loaded(self, timing: Timing) -> None:
        """Note how it is timed."""
        self._timing = timing

    def close(self) -> None:
        """Let go of the slots, then of the backend, whatever becomes of the former."""
        try:
            if self._timing is not None:
                self._timing.close()
        finally:
            self.backend.close()


class Server:
    """State of one session's worker. Handlers take a message's values and return the answer.

    Args:
        tell: Sends the parent a message before the answer: how far something is that takes long.
    """

    def __init__(self, tell: Callable[[Message], None] = lambda message: None) -> None:
        self._handlers = (self, Making(tell), SamplerHandlers())
        self._instances: dict[str, Instance] = {}
        self._device: Device | None = None
        self._memory = DeviceMemory()
        self._canary = Canary()

    def answer(self, message: Message) -> Message:
        """Do what `message` asks and return the answer; a raise is the caller's to report."""
        handler = self._handler(message.type)
        try:
            with self._memory.watched(self._device, str(message.values.get("instance", ""))):
                return handler(message.values)
        except Exception as error:
            self._check_device(error)
            if isinstance(error, (BenchfwError, MemoryError)):
                raise
            instance = self._instances.get(str(message.values.get("instance")))
            meaning = returned.explain(instance.backend if instance else None, error)
            if meaning is None:
                raise
            raise meaning from error

    def _handler(self, kind: str) -> Callable[[Mapping[str, Any]], Message]:
        for each in self._handlers:
            handler: Callable[[Mapping[str, Any]], Message] | None = getattr(each, f"on_{kind}", None)
            if handler is not None:
                return handler
        raise ProtocolError(f"no such message: {kind!r}")

    def _check_device(self, error: Exception) -> None:
        """Look whether the device still works after something has failed, in whoever's words that was said.

        Raises:
            DeviceLost: It does not, and nothing else will in this process.
        """
        if self._device is None or isinstance(error, DeviceLost):
            return
        try:
            self._device.synchronize()
        except DeviceLost as lost:
            words = type(error).__name__
            with contextlib.suppress(Exception):  # some fail to say what they are
                words = next(iter(str(error).splitlines()), "") or words
            raise DeviceLost(f"{lost.message}; {words}", hint=lost.hint) from error

    # --- about this process -------------------------------------------------------------------------------------

    def on_hello(self, values: Mapping[str, Any]) -> Message:
        """Tell who this is. `distributions` names the packages whose versions the parent wants to know."""
        if values["protocol"] != protocol.VERSION:
            raise ProtocolError(f"the worker speaks protocol {protocol.VERSION}, the parent {values['protocol']}")
        return ok(
            protocol=protocol.VERSION,
            pid=os.getpid(),
            python=".".join(map(str, sys.version_info[:3])),
            executable=sys.executable,
            implementation=sys.implementation.name,
            numpy=np.__version__,
            clock=clocks.describe(),
            packages={name: version_of(name) for name in values.get("distributions", [])},
        )

    def on_import(self, values: Mapping[str, Any]) -> Message:
        """Import a class and make no instance of it: does it load here?"""
        load_class(values["factory"])
        return ok()

    def on_modules(self, values: Mapping[str, Any]) -> Message:
        """Tell which modules are there, without importing one."""
        return ok(found=[name for name in values["names"] if is_there(name)])

    def on_libraries(self, values: Mapping[str, Any]) -> Message:
        """Tell which libraries the class of a backend will not find."""
        look = getattr(load_class(values["factory"]), "missing_libraries", tuple)
        return ok(missing=list(look()))

    def on_canary(self, values: Mapping[str, Any]) -> Message:
        """Look at the canary; with `whole`, at all its parts, which takes longer."""
        parts = self._canary.whole() if values.get("whole") else {"roots_ns": self._canary.look()}
        return ok(canary_ns=parts["roots_ns"], parts=parts)

    def on_overhead(self, values: Mapping[str, Any]) -> Message:
        """Measure the loop on nothing: start to start of null iterations, and the loop one writes by hand."""
        n = min(int(values["n"]), loops.MAX_BLOCK)
        starts, ends = [0] * n, [0] * n
        bare_ns: list[float] = []
        period_ns = []
        for _ in range(int(values["rounds"])):
            quiet(lambda: bare_ns.append(loops.bare(_nothing, n)))
            quiet(lambda: loops.host_sync(_nothing, n, starts, ends))
            period_ns.append(float(np.median(np.diff(np.array(starts, np.int64)))))
        return ok(harness_overhead_ns=float(np.median(period_ns)), bare_loop_ns=float(np.median(bare_ns)))

    # --- the life of a backend ----------------------------------------------------------------------------------

    def on_device(self, values: Mapping[str, Any]) -> Message:
        """Open the device of this process, for good, and tell about it: before anything is built for it."""
        load_class(values["factory"])  # it may bring a device of a kind of its own
        self._open_device(values["device"])
        return ok(facts=self._device.facts if self._device else None)

    def _open_device(self, name: str) -> None:
        if self._device is None:
            self._device = open_device(name)

    def on_open(self, values: Mapping[str, Any]) -> Message:
        """Import a backend and make an instance of it under the name `instance`."""
        context = values["context"]
        made = load_class(values["factory"])
        self._open_device(context["device"])
        backend = made(
            values["options"],
            Context(
                device=context["device"],
                threads=context["threads"],
                precision=context["precision"],
                cache_dir=Path(context["cache_dir"]),
                root=Path(context["root"]),
                inputs=tuple(TensorSpec.from_json(item) for item in context["inputs"]),
                allow_fallback=context.get("allow_fallback", False),
            ),
        )
        self._instances[values["instance"]] = Instance(backend, Mode(**values.get("mode", {})))
        return ok()

    def on_prepare(self, values: Mapping[str, Any]) -> Message:
        instance = self._instances[values["instance"]]
        artifact = Artifact.from_json(values["artifact"])
        start = clocks.now()
        prepared = instance.backend.prepare(artifact, Profile.from_json(values["profile"]))
        instance.prepared = returned.agreed("prepare", prepared, Artifact)
        return ok(build_s=(clocks.now() - start) / 1e9)

    def on_load(self, values: Mapping[str, Any]) -> Message:
        instance = self._instances[values["instance"]]
        if instance.prepared is None:
            raise ProtocolError("load before prepare")
        start = clocks.now()
        io = returned.agreed("load", instance.backend.load(instance.prepared), IoSpec)
        load_s = (clocks.now() - start) / 1e9
        for spec in (*io.inputs, *io.outputs):
            returned.check_spec(spec)
        instance.loaded(timing_of(instance.backend, self._device, instance.mode))
        taken = self._memory.look(self._device, values["instance"])
        return ok(load_s=load_s, io=asdict(io), facts=returned.facts(instance.backend), device_bytes=taken)

    def on_bind(self, values: Mapping[str, Any]) -> Message:
        """Bind the files of one set of inputs to a slot. The peak of resident memory starts anew with slot 0."""
        instance = self._instances[values["instance"]]
        if values["slot"] == 0:
            counters.reset_peak_rss()
        start = clocks.now()
        bound = instance.backend.bind(values["slot"], inputs.read(values["files"]))
        bind_s = (clocks.now() - start) / 1e9
        instance.timing.bind(values["slot"], returned.agreed("bind", bound, Bound))  # type: ignore[type-abstract]
        return ok(bind_s=bind_s)

    def on_capture(self, values: Mapping[str, Any]) -> Message:
        """Capture the launch of a slot into a graph, which is launched in its place from now on."""
        self._instances[values["instance"]].timing.capture(values["slot"])
        return ok()

    def on_block(self, values: Mapping[str, Any]) -> Message:
        """Run one block and return its raw stamps.

        Either `slot` and `n` (that many launches of one slot) or `slots` (one launch of each, in order); with `events`,
        instrumented with those of the device.
        """
        instance = self._instances[values["instance"]]
        slots = values["slots"] if "slots" in values else [values["slot"]] * int(values["n"])
        _check_length(len(slots))
        return _counted(instance.backend, lambda: instance.timing.block(slots, events=bool(values.get("events"))))

    def on_window(self, values: Mapping[str, Any]) -> Message:
        """Keep several inferences outstanding: `lanes` are lists of slots, `order` names places in them.

        The answer has two stamps, as a block of one iteration would.
        """
        instance = self._instances[values["instance"]]
        lanes, order, start_ns = values["lanes"], values["order"], values.get("start_ns")
        return _counted(instance.backend, lambda: instance.timing.window(lanes, order, start_ns))

    def on_fence(self, values: Mapping[str, Any]) -> Message:
        """Say whether launches are complete when they are said to be; see `Timing.look_behind`."""
        timing = self._instances[values["instance"]].timing
        return ok(**timing.look_behind(values["slot"], int(values["n"]), float(values["rest_s"])))

    def on_outputs(self, values: Mapping[str, Any]) -> Message:
        """Return the outputs of the last launch of a slot."""
        timing = self._instances[values["instance"]].timing
        return Message("ok", {}, returned.outputs(timing.outputs(values["slot"])))

    def on_facts(self, values: Mapping[str, Any]) -> Message:
        instance = self._instances[values["instance"]]
        facts = returned.facts(instance.backend)
        return ok(facts=facts, peak_rss_bytes=counters.rss_bytes(), device_memory=self._memory.told())

    def on_profile(self, values: Mapping[str, Any]) -> Message:
        """Return the times of layers in `n` inferences of the slot that was bound last; see `returned.profile`."""
        n = int(values["n"])
        _check_length(n)
        layers, arrays = returned.profile(self._instances[values["instance"]].backend.profile(n), n)
        return Message("ok", {"layers": layers}, arrays)

    def on_close(self, values: Mapping[str, Any]) -> Message:
        """Close one instance, and tell what it leaves on the device; or all of them before the process ends."""
        names = [values["instance"]] if "instance" in values else list(self._instances)
        gc.unfreeze()  # blocks froze what was alive: a backend that collects before it gives memory back has to see it
        for name in names:
            if name in self._instances:
                self._instances.pop(name).close()  # no name here holds it: what goes with its objects is given back too
        gc.collect()
        return ok(device_bytes=self._memory.look(self._device, str(values.get("instance", ""))))


def _counted(backend: Backend, run: Callable[[], Run]) -> Message:
    """Return what is told of a block: its stamps, how counters of the host rose, and what the backend counted."""
    before, counts = counters.read(), returned.counts(backend)
    ran = run()
    after = counters.read()
    gc.collect()  # a block runs without: what it leaves for the collector is not kept
    after["objects"] = counters.objects()
    changes = {name: value - counts.get(name, 0) for name, value in returned.counts(backend).items()}
    risen = {name: after[name] - before[name] for name in after}
    return Message("ok", {"counters": risen, "changes": changes, "collections": ran.collections}, ran.arrays)


def _nothing() -> None:
    """The null inference."""


def _check_length(n: int) -> None:
    if not 1 <= n <= loops.MAX_BLOCK:
        raise ProtocolError(f"a block has 1 to {loops.MAX_BLOCK} iterations, not {n}")
