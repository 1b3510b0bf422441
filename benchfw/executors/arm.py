"""A scenario of a run: the only one, or one of the two arms of a comparison."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchfw.artifacts import BrokenModel, Builder, ResolvedModel
from benchfw.environments import DEFAULT, Environment, from_scenario, usable_cpus
from benchfw.errors import BadReference, CaseError, Fault, MissingDependency, ScenarioError
from benchfw.executors.options import backend_options
from benchfw.gpu.presence import has_gpu
from benchfw.measure.inputs import InputMaker
from benchfw.measure.settings import Settings
from benchfw.measure.subject import Subject
from benchfw.plugins import Registry
from benchfw.scenario import Loaded, Plan, Scenario, make_plan
from benchfw.scenario.plan import places
from benchfw.scenario.resolved import model_inputs
from benchfw.spec.artifact import ModelSourceInfo
from benchfw.spec.device import CUDA, DeviceName
from benchfw.spec.tensors import TensorSpec

ONLY = ""
"""Name of the arm of a run that has one scenario."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A scenario and what it names.

    Attributes:
        name: `a`, `b`, or `ONLY`.
        loaded: The scenario.
        source: Resolves its model.
        environments: By their names.
    """

    name: str
    loaded: Loaded
    source: ModelSourceInfo
    environments: Mapping[str, Environment]

    @property
    def scenario(self) -> Scenario:
        return self.loaded.scenario

    @property
    def threads(self) -> int:
        return self.scenario.threads or usable_cpus()

    def places(self, registry: Registry, only_backends: frozenset[str]) -> list[tuple[str, Environment]]:
        """Return the devices that its backends measure on, as far as they are here, and in which environments."""
        return [
            (device, self.environments[environment])
            for device, environment in places(self.scenario, registry.backends, only_backends)
            if DeviceName.parse(device).kind != CUDA or has_gpu()
        ]


def make_arm(name: str, loaded: Loaded, registry: Registry) -> Arm:
    """Return a scenario with the source of its model and its environments."""
    scheme, _, _ = loaded.scenario.model.ref.partition(":")
    environments = {DEFAULT: Environment()} | {
        label: from_scenario(label, entry, loaded.root) for label, entry in loaded.scenario.environments.items()
    }
    return Arm(name=name, loaded=loaded, source=registry.model_source(scheme), environments=environments)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """An arm whose model is resolved, or was found to be broken.

    Attributes:
        arm: The arm.
        scenario: Its scenario, with the inputs that the model says.
        specs: The inputs; of a broken model those that the scenario declares.
        model: The model.
        builder: Makes artifacts of it.
    """

    arm: Arm
    scenario: Scenario
    specs: list[TensorSpec]
    model: ResolvedModel | BrokenModel
    builder: Builder

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest tells of the model."""
        model = self.model
        return {"failure": model.failure.message} if isinstance(model, BrokenModel) else asdict(model.artifact)

    def plan(self, registry: Registry, only_backends: frozenset[str], only_sweeps: frozenset[str]) -> Plan:
        """Return the plan of the arm."""
        return make_plan(
            self.scenario.model_copy(update={"threads": self.arm.threads}),  # the run's may be those of the other arm
            backends=registry.backends,
            options=backend_options(registry, {entry.use for entry in self.scenario.backend}),
            only_backends=only_backends,
            only_sweeps=only_sweeps,
            has_gpu=has_gpu(),
        )

    def subject(self, folder: Path, settings: Settings) -> Subject:
        """Return what the sessions of the arm run.

        Args:
            folder: Where inputs are written.
            settings: Of the run.
        """
        folder.mkdir()
        spec, scenario, loaded = self.scenario.model, self.arm.scenario, self.arm.loaded
        inputs = InputMaker(
            self.specs, spec.inputs, seed=spec.seed, folder=folder, data=loaded.root / spec.data if spec.data else None
        )
        shared: dict[str, Any] = {
            "model_hash": self.model.model_hash,
            "threads": self.arm.threads,
            "seed": spec.seed,
        }
        return Subject(
            model=self.model,
            builder=self.builder,
            inputs=inputs,
            root=loaded.root,
            common={
                **shared,
                "scenario": scenario.name,
                "model": scenario.model_name,
                "effort": settings.effort,
                "clocks": f"locked:{settings.lock_clocks}" if settings.lock_clocks else "floating",
            },
            context={
                **shared,
                "inputs": {name: item.model_dump(mode="json") for name, item in scenario.model.inputs.items()},
                "environments": {name: asdict(item) for name, item in self.arm.environments.items()},
                "samples_sha256": inputs.samples_sha256,
            },
        )


def resolve(arm: Arm, builder: Builder) -> Resolved:
    """Resolve the model of an arm.

    Raises:
        CaseError: It cannot be resolved.
        ScenarioError: The reference leads nowhere, or the scenario does not fit the model.
    """
    spec, root = arm.scenario.model, arm.loaded.root
    target = spec.ref.partition(":")[2]
    try:
        model = builder.resolve(arm.source, target, root=root, seed=spec.seed, weights=spec.weights)
    except BadReference as error:
        raise ScenarioError(arm.loaded.source, [Fault(("model", "ref"), error.message)], hint=error.hint) from error
    scenario, specs = model_inputs(arm.loaded, model.io)
    return Resolved(arm=arm, scenario=scenario, specs=specs, model=model, builder=builder)


def resolve_or_fail(arm: Arm, builder: Builder) -> Resolved:
    """Resolve the model of an arm; one that is there and broken fails each case of it, and nothing else.

    Raises:
        MissingDependency: What its source needs is not installed.
        ScenarioError: As `resolve`.
    """
    begun = time.monotonic()
    try:
        return resolve(arm, builder)
    except MissingDependency:
        raise
    except CaseError as error:
        model = BrokenModel(failure=error, seconds=time.monotonic() - begun)
    declared = arm.scenario.model.inputs
    specs = [TensorSpec(name=name, dtype=item.dtype, shape=tuple(item.shape)) for name, item in declared.items()]
    return Resolved(arm=arm, scenario=arm.scenario, specs=specs, model=model, builder=builder)
