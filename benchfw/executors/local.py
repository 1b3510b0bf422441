"""Runs a scenario on this machine: resolve, plan, conduct, write."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchfw.artifacts import Builder, Cache
from benchfw.artifacts.builder import distributions
from benchfw.environments import DEFAULT, Environment, thread_variables, usable_cpus
from benchfw.measure import Conductor, Event, Settings
from benchfw.measure.events import Stage
from benchfw.measure.inputs import InputMaker
from benchfw.plugins import Registry, options_model
from benchfw.scenario import Loaded, Plan, Session, make_plan
from benchfw.scenario.resolved import model_inputs
from benchfw.spec.tensors import IoSpec
from benchfw.store import provenance
from benchfw.store.writer import RunWriter
from benchfw.supervisor import Worker, hand_over

_CORE_PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "pydantic")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run left behind.

    Attributes:
        run_id: Its id.
        folder: Its folder.
        rows: Rows of the table `cases`, in the order of the plan.
    """

    run_id: str
    folder: Path
    rows: list[dict[str, Any]]


def backend_options(registry: Registry, names: set[str]) -> dict[str, Any]:
    """Return the pydantic model of the options of each of these backends that is installed."""
    return {name: options_model(registry.backends[name]) for name in names if name in registry.backends}


def step_options(registry: Registry) -> dict[str, Any]:
    """Return the pydantic model of the options of each step; None where it has none."""
    return {name: options_model(step) for name, step in registry.steps.items()}


def describe_model(registry: Registry, ref: str, root: Path) -> IoSpec | None:
    """Resolve a model for its inputs and outputs alone; None where its source does not know them.

    Raises:
        UnknownName: No plugin provides the scheme.
        BackendError, WorkerError: The model cannot be resolved.
    """
    scheme, _, target = ref.partition(":")
    source = registry.model_source(scheme)
    with tempfile.TemporaryDirectory(prefix="benchfw-") as name:
        folder = Path(name)
        code = hand_over(folder / "code", {source.factory})
        builder = Builder(
            start=lambda: Worker(
                python=Environment().python,
                code=code,
                log=folder / "log",
                distributions=distributions(source.requires),
            ),
            cache=Cache.default(),
            steps={},
            step_options={},
            timeout=1200.0,
        )
        try:
            return builder.resolve(source, target, root=root, seed=0, weights=None).io
        finally:
            builder.close()


def run_scenario(
    loaded: Loaded,
    registry: Registry,
    *,
    out: Path,
    effort: str | None = None,
    only_backends: frozenset[str] = frozenset(),
    only_sweeps: frozenset[str] = frozenset(),
    notify: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """Run a scenario and write its results.

    Args:
        loaded: The scenario.
        registry: What plugins provide.
        out: Folder of results.
        effort: Replaces the scenario's.
        only_backends, only_sweeps: What to keep of the plan; empty for all.
        notify: Told what happens, between blocks.

    Raises:
        ScenarioError: The scenario does not fit the model.
        BackendError, WorkerError: The model cannot be resolved.
        ResultError: The results cannot be written.
    """
    return _Run(loaded, registry, out, effort, notify).run(only_backends, only_sweeps)


class _Run:
    """One invocation of `benchfw run`."""

    def __init__(
        self, loaded: Loaded, registry: Registry, out: Path, effort: str | None, notify: Callable[[Event], None]
    ) -> None:
        scenario = loaded.scenario
        measure = scenario.measure
        self.loaded = loaded
        self.registry = registry
        self.notify = notify
        self.cache = Cache.default()
        self.source, self.target = self._model_source()
        self.settings = Settings(
            effort=effort or measure.effort,
            budget_s=measure.budget,
            interleave=measure.interleave,
            threads=scenario.threads or usable_cpus(),
            seed=scenario.model.seed,
            build_s=measure.deadlines.build,
            load_s=measure.deadlines.load,
            block_s=measure.deadlines.block,
        )
        self.environments = {DEFAULT: Environment()} | {
            name: Environment(name=name, python=_interpreter(entry.python, loaded.root), env=entry.env)
            for name, entry in scenario.environments.items()
        }
        self.writer = RunWriter(out)
        self.manifest: dict[str, Any] = {}

    def run(self, only_backends: frozenset[str], only_sweeps: frozenset[str]) -> Outcome:
        with tempfile.TemporaryDirectory(prefix="benchfw-") as name:
            folder = Path(name)
            self.code = folder / "code"
            builder = self._builder()
            try:
                self._write_manifest({})
                hand_over(self.code, self._factories())
                return self._conduct(builder, folder, only_backends, only_sweeps)
            except BaseException as error:
                self._finish("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", error=repr(error))
                raise
            finally:
                builder.close()

    def _conduct(
        self, builder: Builder, folder: Path, only_backends: frozenset[str], only_sweeps: frozenset[str]
    ) -> Outcome:
        loaded = self.loaded
        spec = loaded.scenario.model
        self.notify(Stage(f"resolving {spec.ref}"))
        model = builder.resolve(self.source, self.target, root=loaded.root, seed=spec.seed, weights=spec.weights)
        scenario, specs = model_inputs(loaded, model.io)
        options = backend_options(self.registry, {entry.use for entry in scenario.backend})
        plan = make_plan(
            scenario,
            backends=self.registry.backends,
            options=options,
            only_backends=only_backends,
            only_sweeps=only_sweeps,
        )
        (folder / "inputs").mkdir()
        inputs = InputMaker(
            specs,
            scenario.model.inputs,
            seed=spec.seed,
            folder=folder / "inputs",
            data=loaded.root / spec.data if spec.data else None,
        )
        conductor = Conductor(
            plan,
            settings=self.settings,
            start=self._start,
            builder=builder,
            model=model,
            inputs=inputs,
            common=self._common(model.model_hash),
            reference=scenario.reference,
            run_folder=self.writer.folder,
            root=loaded.root,
            frameworks=self.cache.frameworks,
            notify=self.notify,
        )
        rows: list[dict[str, Any]] = []
        for cohort, tables in conductor.cohorts():
            self.writer.write_cohort(cohort, tables)
            rows += tables["cases"]
        self._finish(
            "finished",
            model=asdict(model.artifact),
            inputs=inputs.hashes,
            sequences=_sequences(plan),
            resolve_s=model.seconds,
        )
        return Outcome(run_id=self.writer.run_id, folder=self.writer.folder, rows=rows)

    # --- workers ------------------------------------------------------------------------------------------------

    def _builder(self) -> Builder:
        scenario = self.loaded.scenario
        steps = self.registry.steps
        names = {name for step in steps.values() for name in distributions(step.requires)}
        names |= set(distributions(self.source.requires))
        return Builder(
            start=lambda: self._worker("artifacts", self.environments[DEFAULT], names),
            cache=self.cache,
            steps=steps,
            step_options=_filled_in(step_options(self.registry), scenario.steps),
            timeout=self.settings.build_s,
            notify=lambda text: self.notify(Stage(text)),
        )

    def _start(self, session: Session, invocation: int) -> Worker:
        suffix = f".{invocation}" if invocation else ""
        requires = session.info.requires if session.info else ()
        names = set(distributions(requires))
        return self._worker(session.session_id + suffix, self.environments[session.environment], names)

    def _worker(self, log: str, environment: Environment, distributions: set[str]) -> Worker:
        return Worker(
            python=environment.python,
            code=self.code,
            log=self.writer.folder / "logs" / f"{log}.log",
            env=thread_variables(self.settings.threads) | dict(environment.env),
            foreign=environment.foreign,
            distributions=distributions,
        )

    def _factories(self) -> set[str]:
        """Return what workers may have to import: the backends of the scenario, the model's source, all steps."""
        uses = {entry.use for entry in self.loaded.scenario.backend}
        backends = {info.factory for name, info in self.registry.backends.items() if name in uses}
        return backends | {self.source.factory} | {step.factory for step in self.registry.steps.values()}

    # --- what is written ----------------------------------------------------------------------------------------

    def _model_source(self) -> tuple[Any, str]:
        scheme, _, target = self.loaded.scenario.model.ref.partition(":")
        return self.registry.model_source(scheme), target

    def _common(self, model_hash: str) -> dict[str, Any]:
        scenario = self.loaded.scenario
        return {
            "scenario": scenario.name,
            "model": scenario.model_name,
            "model_hash": model_hash,
            "threads": self.settings.threads,
            "seed": self.settings.seed,
            "effort": self.settings.effort,
        }

    def _write_manifest(self, more: Mapping[str, Any]) -> None:
        self.manifest |= more
        if "machine" not in self.manifest:
            self.manifest |= {
                "state": "running",
                "command": provenance.command(),
                "scenario": self.loaded.document,
                "scenario_file": self.loaded.source,
                "settings": asdict(self.settings),
                "environments": {name: asdict(item) for name, item in self.environments.items()},
                "plugins": self.registry.owners,
                "machine": provenance.machine(),
                "software": provenance.software(list(_CORE_PACKAGES)),
            }
        self.writer.write_manifest(self.manifest)

    def _finish(self, state: str, **more: Any) -> None:
        self._write_manifest({"state": state, "load_average_end": provenance.machine()["load_average"], **more})


def _interpreter(python: str, root: Path) -> str:
    """Return the path of an interpreter, relative to the scenario; a bare name is looked for on PATH.

    Links are not followed: a virtual environment's interpreter is one, and would lose its packages.
    """
    if os.sep not in python:
        return shutil.which(python) or python
    return str(root / Path(python).expanduser())


def _filled_in(models: Mapping[str, Any], given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the options of each step, defaults filled in."""
    return {
        name: model.model_validate(given.get(name, {})).model_dump(mode="json")
        for name, model in models.items()
        if model is not None
    }


def _sequences(plan: Plan) -> dict[str, str]:
    return {case.cohort_id: case.sequence.sha256 for case in plan.cases if case.sequence is not None}
