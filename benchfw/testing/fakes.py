"""A backend whose speed, outputs and failures are chosen by its options. Needs numpy alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw import errors
from benchfw.spec.artifact import Artifact
from benchfw.spec.backend import Backend, Bound
from benchfw.spec.tensors import IoSpec, Profile


class FakeBound(Bound):
    """Spins for the time that its options give; its output is the sum of the inputs, scaled."""

    def __init__(self, backend: FakeBackend, inputs: Mapping[str, NDArray[Any]]) -> None:
        options = backend.options
        batch = next((array.shape[0] for array in inputs.values() if array.ndim), 1)
        self._values = {name: np.array(array) for name, array in inputs.items()}
        self._scale = float(options["scale"])
        wait_ns = int(options["latency_us"] * 1000 * (batch if options["per_sample"] else 1))
        calls = 0

        def launch() -> None:
            nonlocal calls
            end = time.perf_counter_ns() + wait_ns
            calls += 1
            if calls > 1:
                backend.misbehave("launch", batch)
            if calls == options["compile_at"]:
                backend.compilations += 1
            while time.perf_counter_ns() < end:
                pass

        self.launch = launch

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        total = sum(array.reshape(array.shape[0], -1).sum(axis=1) for array in self._values.values())
        output = np.outer(np.asarray(total), np.arange(1, 13)) * self._scale
        return {"output": output.astype(np.float32)}


class FakeBackend(Backend):
    """See `FakeOptions`."""

    compilations = 0
    _profile = ""

    def prepare(self, artifact: Artifact, profile: Profile) -> Artifact:
        self._profile = "static" if profile.static else "dynamic"
        self.misbehave("prepare")
        return artifact

    def load(self, artifact: Artifact) -> IoSpec:
        self.misbehave("load")
        return IoSpec(inputs=self.context.inputs, outputs=())

    def bind(self, slot: int, inputs: Mapping[str, NDArray[Any]]) -> Bound:
        self.misbehave("bind", next((array.shape[0] for array in inputs.values()), 0))
        return FakeBound(self, inputs)

    def counters(self) -> Mapping[str, int]:
        return {"compilations": self.compilations}

    def facts(self) -> Mapping[str, Any]:
        mistakes = {"numpy": np.int64(1), "text": "many"}
        threads = {"threads_effective": mistakes[self.options["fact"]]} if self.options["fact"] else {}
        return {
            "provider_effective": self.options["provider"],
            "precision_effective": self.context.precision,
            **threads,
        }

    def misbehave(self, stage: str, batch: int = 0) -> None:
        """Do what the options ask for at this stage."""
        how = self.options["fault"]
        elsewhere = self.options["at_batch"] not in (0, batch) or self.options["at_profile"] not in ("", self._profile)
        if not how or self.options["at"] != stage or elsewhere:
            return
        if how == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif how == "exit":
            os._exit(7)
        elif how == "hang":
            time.sleep(3600)
        elif how == "memory":
            raise MemoryError("asked for")
        elif how == "raise":
            raise ValueError("asked for")
        else:
            raise errors.BACKEND_ERRORS[how]("asked for")
