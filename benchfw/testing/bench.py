"""What the checks of one backend work with: the model, the right answers, and workers that are asked step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from benchfw.artifacts import ResolvedModel
from benchfw.environments import Environment, from_scenario
from benchfw.errors import CaseError, Invalid, UnknownName
from benchfw.executors.options import backend_options, step_options
from benchfw.plugins import Registry, discover
from benchfw.scenario import Loaded, from_document
from benchfw.scenario.modes import device_of
from benchfw.scenario.schema import EnvironmentEntry
from benchfw.spec.accuracy import compare, match
from benchfw.spec.artifact import Artifact
from benchfw.spec.backend import BackendInfo
from benchfw.spec.tensors import AxisRange, Profile, TensorSpec
from benchfw.testing.host import Host, Instance
from benchfw.testing.models import PERCEPTRON_INPUTS, evaluate, write_perceptron

Outputs = Mapping[str, NDArray[Any]]
_ENVIRONMENT = "other"


@dataclass(frozen=True, kw_only=True)
class BackendCase:
    """A backend and a model to try it with.

    Attributes:
        backend: Its name.
        plugin: Module of the plugin, if no entry point names it.
        model: Reference of a model; default: a perceptron in ONNX, float32 [batch, 1024] to float32 [batch, 96].
        root: Folder that the reference starts from.
        inputs: Its inputs; named axes are those of `axes`.
        axes: Ranges of the axes; sizes should differ.
        expected: Returns the outputs that are right for some inputs. Default: what the reference implementation of
            ONNX computes, for models that are ONNX files.
        options: Options of the backend.
        steps: Options of artifact steps by their names, as in `[[backend]]` of a scenario.
        highest: Integer inputs are below this.
        device: What it shall run on, as in a scenario; default: the CPU where it runs there, else its own.
        environment: Where its workers run, as a table of `[environments]` in a scenario that says a `python`; default:
            this interpreter.
    """

    backend: str
    plugin: str | None = None
    model: str | None = None
    root: Path = field(default_factory=Path.cwd)
    inputs: tuple[TensorSpec, ...] = PERCEPTRON_INPUTS
    axes: Mapping[str, AxisRange] = field(default_factory=lambda: {"batch": AxisRange(min=1, opt=3, max=8)})
    expected: Callable[[Outputs], Outputs] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    highest: int = 8
    device: str = ""
    environment: Mapping[str, Any] | None = None

    def arrays(self, sizes: Mapping[str, int], seed: int = 0) -> dict[str, NDArray[Any]]:
        """Return seeded inputs for some sizes of the axes."""
        random = np.random.default_rng(seed)
        arrays = {}
        for spec in self.inputs:
            shape, dtype = spec.concrete(sizes), np.dtype(spec.dtype)
            floats = dtype.kind == "f"
            values = random.standard_normal(shape) if floats else random.integers(0, self.highest, shape)
            arrays[spec.name] = np.asarray(values, dtype)
        return arrays


class Bench:
    """What the checks of one class share: a host, the model, and one loaded instance for all sizes."""

    def __init__(self, case: BackendCase, folder: Path) -> None:
        self.registry: Registry = discover([case.plugin]) if case.plugin else discover()
        self.case = case
        self.environment = _environment(case)
        if case.model is None:
            write_perceptron(folder / "perceptron.onnx")
            self.case = case = replace(case, model="onnx:perceptron.onnx", root=folder)
        self.folder = folder
        try:
            self.info: BackendInfo = self.registry.backend(case.backend)
        except UnknownName as error:
            pytest.fail("; ".join(filter(None, (error.message, error.hint))), pytrace=False)
        host = folder / "host"
        self.host = Host(self.registry, case.backend, host, self.environment, device=self.device, root=case.root)
        self._model: ResolvedModel | None = None
        self._loaded: Instance | None = None

    @property
    def device(self) -> str:
        """What the backend is checked on, as a backend is told: `cpu`, `cuda:0`."""
        return device_of(self.case.device or None, self.info)

    @property
    def model(self) -> ResolvedModel:
        if self._model is None:
            self._model = self.host.resolve(str(self.case.model), self.case.root)
        return self._model

    @property
    def precision(self) -> str:
        """The precision of the checks that are not about precision."""
        precisions = self.info.capabilities.precisions
        return "fp32" if "fp32" in precisions else precisions[0]

    @property
    def profile(self) -> Profile:
        """All sizes, for a backend that can serve them with one artifact; else those of `opt`."""
        whole = Profile(self.case.axes)
        return whole if self.info.capabilities.dynamic_shapes else Profile.fixed(whole.sizes("opt"))

    @property
    def points(self) -> list[dict[str, int]]:
        """The sizes that one artifact serves."""
        return [self.profile.sizes(point) for point in ("opt", "min", "max")]

    @property
    def loaded(self) -> Instance:
        """The instance that most checks look at."""
        if self._loaded is None or not self._loaded.worker.alive:
            self._loaded = self.open()
            self._loaded.load(self.artifact(self.profile), self.profile)
        return self._loaded

    def open(self, **how: Any) -> Instance:
        how = {"root": self.case.root, "options": self.case.options, "precision": self.precision, **how}
        return self.host.open(self.case.inputs, **how)

    @contextlib.contextmanager
    def opened(self, **how: Any) -> Iterator[Instance]:
        """An instance that is closed afterwards; whether it can be closed is for one check alone to say."""
        instance = self.open(**how)
        try:
            yield instance
        finally:
            with contextlib.suppress(CaseError):
                instance.close()

    @contextlib.contextmanager
    def loaded_for(self, profile: Profile, **how: Any) -> Iterator[Instance]:
        """The same, with an artifact for a profile."""
        with self.opened(**how) as instance:
            instance.load(self.artifact(profile, how.get("precision")), profile)
            yield instance

    def artifact(self, profile: Profile, precision: str | None = None) -> Artifact:
        wanted = precision or self.precision
        return self.host.artifact(self.model, self.case.inputs, profile, wanted, self.case.steps)

    def broken_artifact(self) -> Artifact:
        """A file of a format that the backend accepts, with nothing of that format in it."""
        artifact = self.artifact(self.profile)
        path = self.folder / f"broken{Path(artifact.path).suffix}"
        path.write_bytes(b"\x00 this is no model \xff" * 100)
        return replace(artifact, path=str(path), sha256="0" * 64)

    def expected(self, inputs: Outputs) -> Outputs:
        if self.case.expected is not None:
            return self.case.expected(inputs)
        if self.model.artifact.format != "onnx":
            pytest.fail("the model is no ONNX file: give BackendCase an `expected` that says what is right for inputs")
        return evaluate(Path(self.model.artifact.path), inputs)

    def check(self, outputs: Outputs, inputs: Outputs, what: str, precision: str | None = None) -> None:
        """Compare outputs with what is right, within what the precision may differ by."""
        try:
            pairs = match(outputs, self.expected(inputs))
        except Invalid as error:
            pytest.fail(f"{what}: {error.message}")
        for name, output, wanted in pairs:
            metrics = compare(output, wanted, precision or self.precision)
            assert metrics["verdict"] != "fail", f"{what}: output {name!r}: {metrics['reason']}"

    def scenario(self, **more: Any) -> Loaded:
        """Return a scenario with this backend in it: an artifact for one shape, and one for all in random order."""
        ranges = {name: {"min": axis.min, "opt": axis.opt, "max": axis.max} for name, axis in self.case.axes.items()}
        first = next(iter(ranges), None)
        sweeps: list[dict[str, Any]] = [
            {"kind": "fixed", **{name: [axis.opt] for name, axis in self.case.axes.items()}}
        ]
        if first and self.info.capabilities.dynamic_shapes:
            sweeps.append({"kind": "random-batch", "axis": first})
        entry = {"use": self.info.name, "options": dict(self.case.options), "device": self.device}
        entry["steps"] = {name: dict(options) for name, options in self.case.steps.items()}
        environments = {}
        if self.case.environment is not None:
            entry["environment"] = _ENVIRONMENT
            environments[_ENVIRONMENT] = {**self.case.environment, "python": self.environment.python}
        inputs = {
            spec.name: {"shape": list(spec.shape), "dtype": spec.dtype}
            | ({} if spec.dtype.startswith("float") else {"high": float(self.case.highest)})
            for spec in self.case.inputs
        }
        document: dict[str, Any] = {
            "name": "conformance",
            "model": {"ref": self.case.model, "inputs": inputs},
            "shapes": ranges,
            "sweep": sweeps,
            "measure": {"effort": "quick", "budget": 0.5},
            "backend": [entry | more],
            "environments": environments,
        }
        return from_document(
            document,
            source="conformance",
            root=self.case.root,
            backends=self.registry.backends,
            options=backend_options(self.registry, {self.info.name}),
            steps=step_options(self.registry),
        )


def _environment(case: BackendCase) -> Environment:
    """Return where a backend runs; paths start from the root that the case has, not the model that the kit writes.

    Raises:
        pytest.fail.Exception: The table of the environment is none, or names no interpreter.
    """
    if case.environment is None:
        return Environment()
    try:
        entry = EnvironmentEntry.model_validate(case.environment)
    except ValidationError as error:
        pytest.fail(f"BackendCase.environment: {error}", pytrace=False)
    if entry.python is None:
        pytest.fail("BackendCase.environment names no `python`", pytrace=False)
    return from_scenario(_ENVIRONMENT, entry, case.root.resolve())
