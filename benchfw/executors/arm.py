"""A scenario of a run: the only one, or one of the two arms of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchfw.artifacts import Builder, ResolvedModel
from benchfw.environments import DEFAULT, Environment, from_scenario, usable_cpus
from benchfw.executors.options import backend_options
from benchfw.measure.inputs import InputMaker
from benchfw.measure.settings import Settings
from benchfw.measure.subject import Subject
from benchfw.plugins import Registry
from benchfw.scenario import Loaded, Plan, Scenario, make_plan
from benchfw.scenario.resolved import model_inputs
from benchfw.spec.artifact import ModelSourceInfo
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


def make_arm(name: str, loaded: Loaded, registry: Registry) -> Arm:
    """Return a scenario with the source of its model and its environments."""
    scheme, _, _ = loaded.scenario.model.ref.partition(":")
    environments = {DEFAULT: Environment()} | {
        label: from_scenario(label, entry, loaded.root) for label, entry in loaded.scenario.environments.items()
    }
    return Arm(name=name, loaded=loaded, source=registry.model_source(scheme), environments=environments)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """An arm whose model is resolved.

    Attributes:
        arm: The arm.
        scenario: Its scenario, with the inputs that the model says.
        specs: The inputs.
        model: The model.
        builder: Makes artifacts of it.
    """

    arm: Arm
    scenario: Scenario
    specs: list[TensorSpec]
    model: ResolvedModel
    builder: Builder

    def plan(self, registry: Registry, only_backends: frozenset[str], only_sweeps: frozenset[str]) -> Plan:
        """Return the plan of the arm."""
        return make_plan(
            self.scenario.model_copy(update={"threads": self.arm.threads}),  # the run's may be those of the other arm
            backends=registry.backends,
            options=backend_options(registry, {entry.use for entry in self.scenario.backend}),
            only_backends=only_backends,
            only_sweeps=only_sweeps,
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
                "steps": scenario.steps,
                "environments": {name: asdict(item) for name, item in self.arm.environments.items()},
                "samples_sha256": inputs.samples_sha256,
            },
            asked=frozenset(scenario.steps),
        )


def resolve(arm: Arm, builder: Builder) -> Resolved:
    """Resolve the model of an arm.

    Raises:
        CaseError: It cannot be resolved.
        ScenarioError: The scenario does not fit it.
    """
    spec, root = arm.scenario.model, arm.loaded.root
    target = spec.ref.partition(":")[2]
    model = builder.resolve(arm.source, target, root=root, seed=spec.seed, weights=spec.weights)
    scenario, specs = model_inputs(arm.loaded, model.io)
    return Resolved(arm=arm, scenario=scenario, specs=specs, model=model, builder=builder)
