"""A backend whose speed, outputs and failures are chosen by its options. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw import errors
from benchfw.spec.artifact import Artifact, FileFormat
from benchfw.spec.backend import Backend, Bound
from benchfw.spec.layers import WARMUP, LayerProfile, LayerTime
from benchfw.spec.tensors import IoSpec, Profile
from benchfw.testing.faults import DEEDS, HABITS, LIES, TRICKS, FrameworkError
from benchfw.testing.services import Services
from benchfw.testing.virtual import RealClock, VirtualClock

Arrays = Mapping[str, NDArray[Any]]

_CLOCKS: dict[str, VirtualClock | RealClock] = {"virtual": VirtualClock(), "real": RealClock()}

EARLY_SHARE = 0.05
"""Share of a service after which a launch returns that returns early."""

LAYERS = ("Conv", "Relu", "Conv", "MatMul")
"""Operators of the layers of a profile; what each takes is drawn by the seed."""
LAYERS_SHARE = 0.95
"""Share of an inference that its layers take together."""


class FakeBound(Bound):
    """Takes the time that its options give; its output is the sum of the inputs, scaled."""

    def __init__(self, backend: FakeBackend, slot: int, inputs: Arrays) -> None:
        self._backend = backend
        self._batch = batch = _batch(inputs)
        self._values = {name: np.array(array) for name, array in inputs.items()}
        self._slot = slot
        self._calls = 0
        options = backend.options
        base_ns = int(options["latency_us"] * 1000 * (max(1, batch) if options["per_sample"] else 1))
        self._service = self._serve(base_ns)
        watched = options["fault"] or options["compile_at"] or options["compile_at_total"]
        self.launch = self._watched() if watched else self._service

    def _serve(self, base_ns: int) -> Callable[[], object]:
        """Return what takes the time of one launch."""
        backend = self._backend
        clock, next_ns = backend.clock, backend.services.of(base_ns)
        if backend.habit("early", "launch", self._batch):
            return lambda: backend.defer(next_ns())
        spend = clock.advance if backend.options["releases_gil"] else clock.advance_alone
        return lambda: spend(next_ns())

    def _watched(self) -> Callable[[], None]:
        """Return the launch of a slot with which something may go wrong."""
        backend, batch, service = self._backend, self._batch, self._service
        options = backend.options
        habits = [make() for name, make in HABITS.items() if backend.habit(name, "launch", batch)]

        def launch() -> None:
            self._calls += 1
            if self._calls > 1:
                backend.misbehave("launch", batch)
                backend.need_explaining(batch)
            elif self._slot == 0 and backend.first is None:
                backend.first = self._values
            if self._calls == options["compile_at"]:
                backend.compilations += 1
            backend.launched()
            for habit in habits:
                habit()
            service()

        return launch

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        backend = self._backend
        backend.finish()
        totals = [array.reshape(array.shape[0], -1).sum(axis=1) for array in self._seen().values()]
        output = np.outer(np.sum(totals, axis=0) if totals else 1.0, np.arange(1, 13)) * float(backend.options["scale"])
        honest: Arrays = {"output": output.astype(np.float32)}
        return backend.misbehave("outputs", self._batch, honest)  # type: ignore[no-any-return]

    def _seen(self) -> Arrays:
        """Return the inputs that the outputs are computed from: those of the slot, if the backend is honest."""
        backend = self._backend
        if backend.habit("stale", "outputs", self._batch) and backend.first is not None:
            return backend.first
        if backend.habit("unfollowing", "outputs", self._batch):
            return {name: np.ones_like(array) for name, array in self._values.items()}
        return self._values


class FakeBackend(Backend):
    """See `FakeOptions`."""

    compilations = 0
    first: Arrays | None = None
    """Inputs of the first launch of slot 0."""
    _profile = ""
    _batch = 0
    _done = False
    _lies = 0
    _launches = 0
    _done_at_ns = 0
    _last: FakeBound | None = None

    def __init__(self, options: Mapping[str, Any], context: Any) -> None:
        super().__init__(options, context)
        self.clock = _CLOCKS[options["clock"]]
        self.clock.install()
        self.services = Services(options, self.clock.peek)
        self.misbehave("init")

    def prepare(self, artifact: Artifact, profile: Profile) -> Artifact:
        self._profile = "static" if profile.static else "dynamic"
        self._batch = profile.axes["batch"].opt if profile.static and "batch" in profile.axes else 0
        return self.misbehave("prepare", self._batch, artifact)  # type: ignore[no-any-return]

    def load(self, artifact: Artifact) -> IoSpec:
        io = IoSpec(inputs=self.context.inputs, outputs=())
        return self.misbehave("load", self._batch, io)  # type: ignore[no-any-return]

    def bind(self, slot: int, inputs: Arrays) -> Bound:
        self._last = FakeBound(self, slot, inputs)
        return self.misbehave("bind", _batch(inputs), self._last)  # type: ignore[no-any-return]

    def profile(self, n: int) -> LayerProfile:
        if self._last is None:
            raise errors.Invalid("profile before bind")
        inference_ns = [self._took(self._last.launch) for _ in range(WARMUP + n)][WARMUP:]
        shares = LAYERS_SHARE * np.random.default_rng(max(0, self.options["seed"])).dirichlet([2.0] * len(LAYERS))
        layers = tuple(
            LayerTime(
                name=f"layer{place}",
                op=op,
                time_ns=[share * taken for taken in inference_ns],
                provider=self.options["provider"],
                precision=self.context.precision,
            )
            for place, (op, share) in enumerate(zip(LAYERS, shares))
        )
        honest = LayerProfile(layers=layers, inference_ns=inference_ns)
        return self.misbehave("profile", self._batch, honest)  # type: ignore[no-any-return]

    def _took(self, launch: Callable[[], object]) -> int:
        start = self.clock.peek()
        launch()
        return self.clock.peek() - start

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

    def launched(self) -> None:
        """Count a launch of any slot."""
        self._launches += 1
        if self._launches == self.options["compile_at_total"]:
            self.compilations += 1

    def defer(self, ns: int) -> None:
        """Begin work that goes on in the background, beside what was begun before; beginning it takes a little."""
        self._done_at_ns = max(self._done_at_ns, self.clock.peek() + ns)
        self.clock.advance_alone(int(ns * EARLY_SHARE))

    def finish(self) -> None:
        """Wait for the work in the background."""
        self.clock.advance(max(0, self._done_at_ns - self.clock.peek()))

    def need_explaining(self, batch: int) -> None:
        """Raise something, so that `explain` is asked, where that is what shall go wrong."""
        if self.options["fault"] and self.options["at"] == "explain" and self.options["at_batch"] in (0, batch):
            raise FrameworkError("unheard of")

    def habit(self, name: str, stage: str, batch: int) -> bool:
        """Return whether this goes wrong at this stage."""
        return self.options["fault"] == name and self._is_due(stage, batch)

    def misbehave(self, stage: str, batch: int = 0, value: Any = None) -> Any:
        """Do what the options ask for at this stage, and return what the stage shall return."""
        how = self.options["fault"]
        if not how or how in HABITS or how in TRICKS or not self._is_due(stage, batch):
            return value
        if how in LIES:
            self._lies += 1
            return LIES[how](value, self._lies)
        if not self._done:
            self._done = True
            DEEDS[how]()
        return value

    def _is_due(self, stage: str, batch: int) -> bool:
        options = self.options
        here = options["at_batch"] in (0, batch) and options["at_profile"] in ("", self._profile)
        return bool(options["at"] == stage and here)


class FakeEngine(FileFormat):
    """`fake-engine`: the word `fake`, and a layer in each line."""

    def describe(self, path: Path) -> Mapping[str, Any]:
        text = path.read_text(encoding="utf-8", errors="replace")
        if not text.endswith("\n"):
            raise errors.BuildFailed(f"{path.name} is cut short", hint="build it again")
        return {"runtime": "fakes", "problem": "", "layers": [{"name": line} for line in text.splitlines()[1:]]}


def _batch(inputs: Arrays) -> int:
    return next((array.shape[0] for array in inputs.values() if array.ndim), 0)
