"""What a worker does with each message: one method per type, called in the order of a session's life."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchfw.errors import BenchfwError, Invalid, ProtocolError
from benchfw.spec.artifact import Artifact, Step
from benchfw.spec.backend import Backend, Bound, Context
from benchfw.spec.tensors import IoSpec, Profile, TensorSpec
from benchfw.worker import clocks, counters, inputs, loops, protocol, returned, windows
from benchfw.worker.canary import Canary
from benchfw.worker.imports import load_class, version_of
from benchfw.worker.pace import MIN_PERIOD_NS
from benchfw.worker.protocol import Message
from benchfw.worker.sampling import Sampling

_CLOSE_S = 1.0
_PAUSE_S = 0.2
_BOUNDARY_S = 2.0
"""A driver that takes longer hangs; the boundary is left out."""
_NICE = 5
"""Samplers make room for what is measured."""
_FORMATS = {"onnx": "benchfw.spec.onnx_files:weights"}
"""What counts the weights in a file, by its format; imported with the format's own package, where that is installed."""


class Instance:
    """A backend with one artifact, and its bound slots."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.prepared: Artifact | None = None
        self.io: IoSpec | None = None
        self.bound: dict[int, Bound] = {}


class Server:
    """State of one session's worker. Handlers take a message's values and return the answer.

    Args:
        tell: Sends the parent a message before the answer: how far something is that takes long.
    """

    def __init__(self, tell: Callable[[Message], None] = lambda message: None) -> None:
        self.tell = tell
        self._instances: dict[str, Instance] = {}
        self._starts = [0] * loops.MAX_BLOCK
        self._ends = [0] * loops.MAX_BLOCK
        self._canary = Canary()
        self._sampling = Sampling({}, 0)

    def answer(self, message: Message) -> Message:
        """Do what `message` asks and return the answer; a raise is the caller's to report."""
        handler: Callable[[Mapping[str, Any]], Message] | None = getattr(self, f"on_{message.type}", None)
        if handler is None:
            raise ProtocolError(f"no such message: {message.type!r}")
        try:
            return handler(message.values)
        except (BenchfwError, MemoryError):
            raise
        except Exception as error:
            instance = self._instances.get(str(message.values.get("instance")))
            meaning = returned.explain(instance.backend if instance else None, error)
            if meaning is None:
                raise
            raise meaning from error

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

    def on_canary(self, values: Mapping[str, Any]) -> Message:
        """Look at the canary; with `whole`, at all its parts, which takes longer."""
        parts = self._canary.whole() if values.get("whole") else {"roots_ns": self._canary.look()}
        return ok(canary_ns=parts["roots_ns"], parts=parts)

    def on_overhead(self, values: Mapping[str, Any]) -> Message:
        """Measure the loop on nothing: start to start of null iterations, and the loop one writes by hand."""
        n = min(int(values["n"]), loops.MAX_BLOCK)
        bare_ns: list[float] = []
        period_ns = []
        for _ in range(int(values["rounds"])):
            _quiet(lambda: bare_ns.append(loops.bare(_nothing, n)))
            _quiet(lambda: loops.host_sync(_nothing, n, self._starts, self._ends))
            period_ns.append(float(np.median(np.diff(np.array(self._starts[:n], np.int64)))))
        return ok(harness_overhead_ns=float(np.median(period_ns)), bare_loop_ns=float(np.median(bare_ns)))

    # --- models and artifacts -----------------------------------------------------------------------------------

    def on_resolve(self, values: Mapping[str, Any]) -> Message:
        """Turn a model reference into an artifact."""
        source = load_class(values["factory"])()
        artifact, io = source.resolve(
            values["target"],
            root=Path(values["root"]),
            destination=Path(values["destination"]),
            seed=values["seed"],
            weights=Path(values["weights"]) if values["weights"] else None,
        )
        artifact = replace(artifact, meta={**artifact.meta, **_about(Path(artifact.path), artifact.format)})
        return ok(artifact=asdict(artifact), io=asdict(io) if io else None)

    def on_describe(self, values: Mapping[str, Any]) -> Message:
        """Tell what a file holds."""
        return ok(facts=dict(load_class(values["factory"])().describe(Path(values["path"]))))

    def on_copy(self, values: Mapping[str, Any]) -> Message:
        """Copy an artifact and what lies beside it."""
        source = load_class(values["factory"])()
        return ok(facts=dict(source.copy(Path(values["path"]), Path(values["destination"]))))

    def on_step(self, values: Mapping[str, Any]) -> Message:
        """Run one step: artifact in, file out."""
        step, destination = self._step(values), Path(values["destination"])
        meta = step.run(
            Artifact.from_json(values["artifact"]),
            inputs=[TensorSpec.from_json(item) for item in values["inputs"]],
            profile=Profile.from_json(values["profile"]),
            precision=values["precision"],
            destination=destination,
        )
        return ok(meta={**meta, **_about(destination, destination.suffix[1:])})

    def on_step_reads(self, values: Mapping[str, Any]) -> Message:
        """Tell what is in the files and the code that a step's options name."""
        inputs = [TensorSpec.from_json(item) for item in values["inputs"]]
        return ok(reads=dict(self._step(values).reads(inputs, Profile.from_json(values["profile"]))))

    def _step(self, values: Mapping[str, Any]) -> Step:
        step: Step = load_class(values["factory"])(values["options"])
        step.report = lambda text: self.tell(Message("progress", {"text": str(text)}))
        step.root, step.cache_dir = Path(values["root"]), Path(values["cache_dir"])
        return step

    # --- the life of a backend ----------------------------------------------------------------------------------

    def on_open(self, values: Mapping[str, Any]) -> Message:
        """Import a backend and make an instance of it under the name `instance`."""
        context = values["context"]
        backend = load_class(values["factory"])(
            values["options"],
            Context(
                device=context["device"],
                threads=context["threads"],
                precision=context["precision"],
                cache_dir=Path(context["cache_dir"]),
                root=Path(context["root"]),
                inputs=tuple(TensorSpec.from_json(item) for item in context["inputs"]),
            ),
        )
        if backend.stream is not None:
            backend.close()
            raise Invalid("asynchronous backends need a device clock, which this version does not have")
        self._instances[values["instance"]] = Instance(backend)
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
        instance.io = returned.agreed("load", instance.backend.load(instance.prepared), IoSpec)
        load_s = (clocks.now() - start) / 1e9
        for spec in (*instance.io.inputs, *instance.io.outputs):
            returned.check_spec(spec)
        return ok(load_s=load_s, io=asdict(instance.io), facts=returned.facts(instance.backend))

    def on_bind(self, values: Mapping[str, Any]) -> Message:
        """Bind the files of one set of inputs to a slot. The peak of resident memory starts anew with slot 0."""
        instance = self._instances[values["instance"]]
        if values["slot"] == 0:
            counters.reset_peak_rss()
        start = clocks.now()
        bound = instance.backend.bind(values["slot"], inputs.read(values["files"]))
        bind_s = (clocks.now() - start) / 1e9
        instance.bound[values["slot"]] = returned.agreed("bind", bound, Bound)  # type: ignore[type-abstract]
        return ok(bind_s=bind_s)

    def on_block(self, values: Mapping[str, Any]) -> Message:
        """Run one block and return its raw stamps.

        Either `slot` and `n` (that many launches of one slot) or `slots` (one launch of each, in order).
        """
        instance = self._instances[values["instance"]]
        before, changes = counters.read(), returned.counts(instance.backend)
        if "slots" in values:
            n = len(values["slots"])
            launches = [instance.bound[slot].launch for slot in values["slots"]]
            _check_length(n)
            collections = _quiet(lambda: loops.host_sync_sequence(launches, self._starts, self._ends))
        else:
            n = int(values["n"])
            launch = instance.bound[values["slot"]].launch
            _check_length(n)
            collections = _quiet(lambda: loops.host_sync(launch, n, self._starts, self._ends))
        after = counters.read()
        changes = {name: value - changes.get(name, 0) for name, value in returned.counts(instance.backend).items()}
        return _block_answer(before, after, changes, collections, self._starts[:n], self._ends[:n])

    def on_window(self, values: Mapping[str, Any]) -> Message:
        """Keep several inferences outstanding: `lanes` are lists of slots, `order` names places in them.

        See `windows.run`; the answer has the two stamps as a block of one iteration would.
        """
        instance = self._instances[values["instance"]]
        before, counts = counters.read(), returned.counts(instance.backend)
        lanes = [[instance.bound[slot].launch for slot in lane] for lane in values["lanes"]]
        order = values["order"]

        def enter(place: int) -> None:
            instance.backend.enter_thread()
            lanes[place][0]()  # frameworks make pools for a thread that is new to them

        spans: list[tuple[int, int]] = []
        collections = _quiet(lambda: spans.append(windows.run(lanes, order, values.get("start_ns"), enter)))
        after = counters.read()
        changes = {name: value - counts.get(name, 0) for name, value in returned.counts(instance.backend).items()}
        return _block_answer(before, after, changes, collections, [spans[0][0]], [spans[0][1]])

    def on_fence(self, values: Mapping[str, Any]) -> Message:
        """Say how long the outputs of a slot take after a launch, once more, and rested; see `windows.look_behind`."""
        bound = self._instances[values["instance"]].bound[values["slot"]]
        n, rest_s = int(values["n"]), float(values["rest_s"])
        first, again, rested = windows.look_behind(bound.launch, bound.outputs, n, rest_s)
        return ok(first_ns=first, again_ns=again, rested_ns=rested)

    def on_outputs(self, values: Mapping[str, Any]) -> Message:
        """Return the outputs of the last launch of a slot."""
        bound = self._instances[values["instance"]].bound[values["slot"]]
        return Message("ok", {}, returned.outputs(bound.outputs()))

    def on_facts(self, values: Mapping[str, Any]) -> Message:
        instance = self._instances[values["instance"]]
        return ok(facts=returned.facts(instance.backend), peak_rss_bytes=counters.rss_bytes())

    def on_profile(self, values: Mapping[str, Any]) -> Message:
        """Return the times of layers in `n` inferences of the slot that was bound last; see `returned.profile`."""
        n = int(values["n"])
        _check_length(n)
        layers, arrays = returned.profile(self._instances[values["instance"]].backend.profile(n), n)
        return Message("ok", {"layers": layers}, arrays)

    def on_close(self, values: Mapping[str, Any]) -> Message:
        """Close one instance, or all of them before the process ends."""
        names = [values["instance"]] if "instance" in values else list(self._instances)
        for name in names:
            instance = self._instances.pop(name, None)
            if instance is not None:
                instance.bound.clear()
                instance.backend.close()
        gc.unfreeze()
        gc.collect()
        return ok()

    # --- telemetry, in a process of its own ---------------------------------------------------------------------

    def on_sample_start(self, values: Mapping[str, Any]) -> Message:
        """Begin to read samplers: `factories` by their names, ten times per second; `devices` of the run."""
        os.nice(_NICE)
        makers = {name: lambda path=path: load_class(path)() for name, path in values["factories"].items()}
        self._sampling = Sampling(makers, MIN_PERIOD_NS, values.get("devices", ()))
        return ok()

    def on_sample_watch(self, values: Mapping[str, Any]) -> Message:
        """Tell the samplers which workers live: `processes`, their numbers by session."""
        self._sampling.watch(values["processes"])
        return ok()

    def on_sample_pause(self, values: Mapping[str, Any]) -> Message:
        """Read nothing until `sample_resume`; what is being read is waited for, for a moment."""
        self._sampling.pause(_PAUSE_S)
        return ok()

    def on_sample_resume(self, values: Mapping[str, Any]) -> Message:
        self._sampling.resume()
        return ok()

    def on_sample_boundary(self, values: Mapping[str, Any]) -> Message:
        """Read what is read between blocks only; with `dear`, also what takes milliseconds."""
        self._sampling.boundary(_BOUNDARY_S, dear=values["dear"])
        return ok()

    def on_sample_take(self, values: Mapping[str, Any]) -> Message:
        """Return what was read since the last time; see `Sampling.take`."""
        states, arrays = self._sampling.take()
        return Message("ok", {"samplers": states}, arrays)

    def on_sample_stop(self, values: Mapping[str, Any]) -> Message:
        """End and close the samplers; those that hang are left to the end of the process."""
        self._sampling.stop(_CLOSE_S)
        return ok()


def ok(**values: Any) -> Message:
    return Message("ok", values)


def _block_answer(
    before: Mapping[str, int],
    after: Mapping[str, int],
    changes: Mapping[str, int],
    collections: int,
    starts: Sequence[int],
    ends: Sequence[int],
) -> Message:
    """Return what is told of a block: its stamps in ns, how counters rose, what the backend counted."""
    return Message(
        "ok",
        {
            "counters": {name: after[name] - before[name] for name in after},
            "changes": dict(changes),
            "collections": collections,
        },
        {"starts": np.array(starts, np.int64), "ends": np.array(ends, np.int64)},
    )


def _nothing() -> None:
    """The null inference."""


def _quiet(block: Callable[[], object]) -> int:
    """Run a block with the garbage collector off, and return how often it ran all the same.

    What is alive before the block is frozen and stays so: a full collection with a framework loaded takes
    hundreds of milliseconds, and it is paid between all blocks if the objects are thawed each time.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    before = _collections()
    try:
        block()
        return _collections() - before
    finally:
        gc.enable()


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def _check_length(n: int) -> None:
    if not 1 <= n <= loops.MAX_BLOCK:
        raise ProtocolError(f"a block has 1 to {loops.MAX_BLOCK} iterations, not {n}")


def _about(path: Path, format_: str) -> dict[str, Any]:
    """Count the weights in a file of a known format: they stand in the artifact's meta, whoever has made it."""
    if format_ not in _FORMATS or not path.is_file():
        return {}
    module, _, name = _FORMATS[format_].partition(":")
    try:
        count = getattr(importlib.import_module(module), name)
    except ImportError:
        return {}
    return {"weights": count(path)}
