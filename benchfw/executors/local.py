"""Runs a scenario on this machine: resolve, plan, conduct, write."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchfw import plugins
from benchfw.artifacts import Builder, Cache
from benchfw.environments import (
    DEFAULT,
    Environment,
    from_scenario,
    start_worker,
    thread_variables,
    usable_cpus,
)
from benchfw.errors import (
    BenchfwError,
    BuildFailed,
    CaseError,
    Interrupted,
    Invalid,
    OutOfMemory,
    PluginError,
    UsageError,
)
from benchfw.executors.devices import Devices, cpus
from benchfw.executors.log import LOGGER, EventLog, log_start, log_warnings, run_log
from benchfw.executors.manifest import Manifest
from benchfw.executors.resume import Resume, earlier_statuses, refuse
from benchfw.executors.scratch import scratch
from benchfw.measure import Conductor, Event, Settings
from benchfw.measure.inputs import InputMaker
from benchfw.measure.rows import case_hash
from benchfw.measure.telemetry import Telemetry
from benchfw.plugins import Registry, options_model
from benchfw.requirements import distributions
from benchfw.scenario import Cohort, Loaded, Plan, Session, from_document, make_plan
from benchfw.scenario.edits import edited, planned_cases
from benchfw.scenario.resolved import model_inputs
from benchfw.spec.events import Notice, RunFinished, RunStarted, Stage
from benchfw.spec.executor import Executor, Job, Outcome
from benchfw.spec.stop import Stop
from benchfw.store import provenance
from benchfw.store.reader import read_cases, read_manifest
from benchfw.store.writer import RunWriter
from benchfw.supervisor import HELLO_TIMEOUT_S, Worker, hand_over

_CORE_PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "pydantic")


class _WhenAsked(Mapping[str, Any]):
    """Values that are made when they are asked for: a module that cannot be imported costs those who name it."""

    def __init__(self, names: Collection[str], make: Callable[[str], Any]) -> None:
        self._names = names
        self._make = make

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def backend_options(registry: Registry, names: Collection[str]) -> Mapping[str, Any]:
    """Return the pydantic model of the options of each of these backends that is installed; None where it has none.

    A model is imported when it is asked for, which raises `PluginError` if it cannot be.
    """
    installed = [name for name in names if name in registry.backends]
    return _WhenAsked(installed, lambda name: options_model(registry.backends[name]))


def step_options(registry: Registry) -> Mapping[str, Any]:
    """Return the pydantic model of the options of each step, as `backend_options` does."""
    return _WhenAsked(registry.steps, lambda name: options_model(registry.steps[name]))


class LocalExecutor(Executor):
    """Runs jobs on this machine."""

    def run(self, job: Job, *, stop: Stop, notify: Callable[[Event], None]) -> Outcome:
        return run_job(job, stop=stop, notify=notify)


def run_job(job: Job, *, stop: Stop | None = None, notify: Callable[[Event], None] = lambda event: None) -> Outcome:
    """Run a job on this machine, with the plugins that are installed here.

    Raises:
        BenchfwError: As `run_scenario`; the scenario or a plugin does not fit this machine.
    """
    registry = plugins.registry()
    with registry.explaining():
        loaded = from_document(
            copy.deepcopy(dict(job.document)),
            source=job.source,
            root=Path(job.root),
            backends=registry.backends,
            options=backend_options(registry, registry.backends),
            steps=step_options(registry),
            samplers=registry.samplers,
        )
    resume = Resume(folder=Path(job.resume), retry_failed=job.retry_failed, force=job.force) if job.resume else None
    return run_scenario(
        loaded,
        registry,
        out=Path(job.out),
        effort=job.effort,
        only_backends=frozenset(job.backends),
        only_sweeps=frozenset(job.sweeps),
        request=job.request,
        resume=resume,
        wait=job.wait,
        shared=job.shared,
        stop=stop,
        notify=notify,
    )


def run_scenario(
    loaded: Loaded,
    registry: Registry,
    *,
    out: Path,
    effort: str | None = None,
    only_backends: frozenset[str] = frozenset(),
    only_sweeps: frozenset[str] = frozenset(),
    request: Mapping[str, Any] | None = None,
    resume: Resume | None = None,
    wait: bool = True,
    shared: bool = False,
    stop: Stop | None = None,
    notify: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """Run a scenario and write its results.

    Args:
        loaded: The scenario.
        registry: What plugins provide.
        out: Folder of results.
        effort: Replaces the scenario's.
        only_backends, only_sweeps: What to keep of the plan; empty for all.
        request: Goes into the manifest: what the caller needs to ask for the same again.
        resume: Go on with a run instead of making a new one.
        wait: Wait for another run on the same CPUs; else fail.
        shared: Measure beside other runs on the same CPUs; the rows of both are CONTENDED.
        stop: Ends the run after the current block, with rows for everything.
        notify: Told what happens, between blocks.

    Raises:
        ScenarioError: The scenario does not fit the model.
        CaseError: The model cannot be resolved.
        ResultError: The results cannot be written.
        UsageError: The run to be resumed was made with something else.
        DeviceBusy: Another run measures, and `wait` is false.
        Interrupted: The run was stopped before it had a plan.
    """
    stop = stop or Stop()
    devices = Devices(cpus())
    log = EventLog()

    def log_and_notify(event: Event) -> None:
        log(event)
        notify(event)

    tell = registry.teller(log_and_notify)  # the log also has what went wrong in telling plugins

    def warn(text: str) -> None:
        tell(Notice(text))

    with devices.taken(wait=wait, shared=shared, notify=warn, stop=stop):
        run = _Run(loaded, registry, out, effort, resume, devices, stop, tell)
        with run.writer, run_log(run.writer.folder, warn):
            return run.run(only_backends, only_sweeps, request or {})


class _Run:
    """One invocation of `benchfw run`."""

    def __init__(
        self,
        loaded: Loaded,
        registry: Registry,
        out: Path,
        effort: str | None,
        resume: Resume | None,
        devices: Devices,
        stop: Stop,
        notify: Callable[[Event], None],
    ) -> None:
        scenario = loaded.scenario
        measure = scenario.measure
        self.loaded = loaded
        self.registry = registry
        self.resume = resume
        self.devices = devices
        self.stop = stop
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
            name: from_scenario(name, entry, loaded.root) for name, entry in scenario.environments.items()
        }
        self.writer = RunWriter.reopen(resume.folder) if resume else RunWriter(out)
        self.manifest = Manifest(self.writer, resume, read_manifest(resume.folder) if resume else {})

    def run(self, only_backends: frozenset[str], only_sweeps: frozenset[str], request: Mapping[str, Any]) -> Outcome:
        """Measure, and see to it that the manifest tells how it ended."""
        with scratch(self.writer.folder) as folder:
            self.code = folder / "code"
            builder = self._builder()
            try:
                self.manifest.begin(
                    scenario_file=self.loaded.source,
                    root=str(self.loaded.root),
                    request=dict(request),
                    metadata={} if self.resume else self.registry.metadata(self.loaded.document, self.loaded.root),
                )
                facts = self._facts(only_backends, only_sweeps)
                log_start(provenance.command(), facts["software"], facts["machine"])
                self.manifest.state(facts)
                name = self.loaded.scenario.name
                self.notify(RunStarted(self.writer.run_id, str(self.writer.folder), name))
                if self.cache.notice:
                    self.notify(Notice(self.cache.notice))
                hand_over(self.code, self._factories())
                outcome = self._conduct(builder, folder, only_backends, only_sweeps)
                self._tell_end("interrupted" if outcome.interrupted else "finished", outcome.rows)
                return outcome
            except UsageError as error:
                LOGGER.error("%s", error)
                if self.resume:  # a run that is not gone on with stays what it was
                    self.manifest.withdraw()
                else:
                    self.manifest.finish("failed")
                raise
            except BaseException as error:
                ended = isinstance(error, KeyboardInterrupt | Interrupted)
                LOGGER.error(
                    "%s", str(error) or repr(error), exc_info=not ended and not isinstance(error, BenchfwError)
                )
                with contextlib.suppress(BenchfwError):  # what went wrong first is what counts
                    self.manifest.finish("interrupted" if ended else "failed", error=repr(error))
                if isinstance(error, Exception):
                    self._tell_end("interrupted" if ended else "failed", [])
                raise
            finally:
                builder.close()

    def _tell_end(self, state: str, rows: list[dict[str, Any]]) -> None:
        statuses = Counter(str(row["status"]) for row in rows)
        self.notify(RunFinished(self.writer.run_id, str(self.writer.folder), state, dict(statuses)))

    def _conduct(
        self, builder: Builder, folder: Path, only_backends: frozenset[str], only_sweeps: frozenset[str]
    ) -> Outcome:
        loaded = self.loaded
        spec = loaded.scenario.model
        self.notify(Stage(f"resolving {spec.ref}"))
        model = builder.resolve(self.source, self.target, root=loaded.root, seed=spec.seed, weights=spec.weights)
        self.manifest.state({"model_hash": model.model_hash})
        scenario, specs = model_inputs(loaded, model.io)
        options = backend_options(self.registry, {entry.use for entry in scenario.backend})
        plan = make_plan(
            scenario,
            backends=self.registry.backends,
            options=options,
            only_backends=only_backends,
            only_sweeps=only_sweeps,
        )
        plan = edited(plan, self.registry.plan_edits(loaded.document, planned_cases(plan)))
        (folder / "inputs").mkdir()
        inputs = InputMaker(
            specs,
            scenario.model.inputs,
            seed=spec.seed,
            folder=folder / "inputs",
            data=loaded.root / spec.data if spec.data else None,
        )
        self.manifest.state({"samples_sha256": inputs.samples_sha256})
        context = {**self._context(model.model_hash), "samples_sha256": inputs.samples_sha256}
        left, before = self._left(plan, context)
        if self.resume:
            self._compare_workers(left)
        conductor = Conductor(
            left,
            settings=self._share(plan, left),
            start=self._start,
            builder=builder,
            model=model,
            inputs=inputs,
            common=self._common(model.model_hash),
            context=context,
            reference=scenario.reference,
            run_folder=self.writer.folder,
            root=loaded.root,
            frameworks=self.cache.frameworks,
            before=before,
            exhausted=[case for case in plan.cases if before.get(case.case_id) == OutOfMemory.status],
            others=self.devices.others,
            stop=self.stop,
            notify=self.notify,
        )
        interrupted = None
        samplers = self._samplers() if left.cohorts else {}
        telemetry = Telemetry(samplers, self._sampler_worker, stop=self.stop, notify=self.notify)
        try:
            with telemetry:
                for measured in conductor.cohorts():
                    tables = measured.tables | {"telemetry": telemetry.take(measured.cohort_id)}
                    log_warnings(tables["warnings"])
                    self.writer.write_cohort(measured.cohort_id, tables, state=measured.state)
        except Interrupted as error:
            interrupted = error.message
        finally:
            if telemetry.facts:
                self.manifest.add(samplers=telemetry.facts)
        if interrupted:
            LOGGER.warning("%s", interrupted)
        self.manifest.finish(
            "interrupted" if interrupted else "finished",
            error=interrupted,
            model=asdict(model.artifact),
            inputs={**self.manifest.before.get("inputs", {}), **inputs.hashes},
            sequences=_sequences(plan),
            resolve_s=model.seconds,
        )
        return Outcome(
            run_id=self.writer.run_id,
            folder=self.writer.folder,
            rows=_stored_rows(self.writer.folder, plan),
            interrupted=interrupted,
        )

    # --- resuming -----------------------------------------------------------------------------------------------

    def _left(self, plan: Plan, context: Mapping[str, Any]) -> tuple[Plan, dict[str, str]]:
        """Return what is left to measure, and the statuses of finished cohorts that may be measured again."""
        if self.resume is None:
            return plan, {}
        hashes = {case.case_id: case_hash(case, context) for case in plan.cases}
        finished, self.writer.keep = earlier_statuses(self.resume, plan, hashes, lambda text: self.notify(Notice(text)))
        left = tuple(
            cohort for cohort in plan.cohorts if cohort.cohort_id not in finished or _may_be_there_now(cohort, finished)
        )
        before = {case_id: status for statuses in finished.values() for case_id, status in statuses.items()}
        self.notify(Stage(f"{len(plan.cohorts) - len(left)} of {len(plan.cohorts)} cohorts are there already"))
        return Plan(cohorts=left), before

    def _share(self, plan: Plan, left: Plan) -> Settings:
        """Give what is left its share of the budget."""
        if self.settings.budget_s is None:
            return self.settings
        todo, total = (sum(case.status is None for case in cases) for cases in (left.cases, plan.cases))
        return replace(self.settings, budget_s=self.settings.budget_s * todo / max(1, total))

    def _compare_workers(self, plan: Plan) -> None:
        """Start the worker of every session once, for what it says of its packages.

        Raises:
            UsageError: They are not those of before, and nobody insists.
        """
        for session_id in {case.session.session_id for case in plan.cases if case.status is None}:
            with contextlib.suppress(CaseError):  # told again when its case is loaded
                worker = self._session_worker(plan.sessions[session_id], 0)
                worker.close()
                self._state_worker(session_id, worker)

    def _state_worker(self, session_id: str, worker: Worker) -> None:
        changes = self.manifest.state_worker(session_id, worker.hello)
        if changes:
            raise refuse(self.writer.run_id, changes)

    # --- workers ------------------------------------------------------------------------------------------------

    def _builder(self) -> Builder:
        scenario = self.loaded.scenario
        steps = self.registry.steps
        names = {name for step in steps.values() for name in distributions(step.requires)}
        names |= set(distributions(self.source.requires))

        def start() -> Worker:
            worker = self._worker("artifacts", self.environments[DEFAULT], names)
            try:
                self._state_worker("artifacts", worker)
            except BaseException:
                worker.close()
                raise
            return worker

        return Builder(
            start=start,
            cache=self.cache,
            steps=steps,
            step_options=_filled_in(step_options(self.registry), scenario.steps),
            timeout=self.settings.build_s,
            notify=lambda text: self.notify(Stage(text)),
        )

    def _start(self, session: Session, invocation: int) -> Worker:
        worker = self._session_worker(session, invocation)
        changes = self.manifest.state_worker(session.session_id, worker.hello)
        if changes:
            worker.close()
            raise Invalid(f"what it runs on has changed since the run began: {'; '.join(changes)}")
        return worker

    def _session_worker(self, session: Session, invocation: int) -> Worker:
        suffix = f".{invocation}" if invocation else ""
        names = set(distributions(session.info.requires)) if session.info else set()
        return self._worker(session.session_id + suffix, self.environments[session.environment], names)

    def _sampler_worker(self) -> Worker:
        return self._worker("samplers", self.environments[DEFAULT], set())

    def _worker(self, log: str, environment: Environment, distributions: set[str]) -> Worker:
        suffix = f".resumed{self.manifest.attempt}" if self.manifest.attempt else ""
        return start_worker(
            environment,
            code=self.code,
            log=self.writer.folder / "logs" / f"{log}{suffix}.log",
            env=thread_variables(self.settings.threads),
            distributions=distributions,
            timeout=min(HELLO_TIMEOUT_S, self.settings.load_s),
            stop=self.stop,
            mark=self.code.parent.name,
        )

    def _factories(self) -> set[str]:
        """Return what workers may import: backends and samplers of the scenario, the model's source, all steps."""
        uses = {entry.use for entry in self.loaded.scenario.backend}
        backends = {info.factory for name, info in self.registry.backends.items() if name in uses}
        steps = {step.factory for step in self.registry.steps.values()}
        return backends | {self.source.factory} | steps | set(self._samplers().values())

    def _samplers(self) -> dict[str, str]:
        """Return the factories of the scenario's samplers by their names."""
        return {name: self.registry.sampler(name).factory for name in self.loaded.scenario.measure.samplers}

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
            "forced": "; ".join(self.manifest.changes) or None,
        }

    def _context(self, model_hash: str) -> dict[str, Any]:
        """Return what goes into the hash of every case."""
        scenario = self.loaded.scenario
        return {
            "model_hash": model_hash,
            "threads": self.settings.threads,
            "seed": self.settings.seed,
            "inputs": {name: item.model_dump(mode="json") for name, item in scenario.model.inputs.items()},
            "steps": scenario.steps,
            "environments": {name: asdict(item) for name, item in self.environments.items()},
        }

    def _facts(self, only_backends: frozenset[str], only_sweeps: frozenset[str]) -> dict[str, Any]:
        """Return what must be the same when the run is gone on with, as far as it is known at the beginning."""
        return {
            "scenario": self.loaded.document,
            "settings": asdict(self.settings),
            "selection": {"backends": sorted(only_backends), "sweeps": sorted(only_sweeps)},
            "environments": {name: asdict(item) for name, item in self.environments.items()},
            "plugins": self.registry.owners,
            "software": provenance.software(list(_CORE_PACKAGES)),
            "machine": provenance.machine(),
        }


def _may_be_there_now(cohort: Cohort, finished: Mapping[str, Mapping[str, str]]) -> bool:
    """Say whether a case that was skipped could be measured now, as far as the plan knows."""
    return any(finished[cohort.cohort_id][case.case_id] == "SKIPPED" for case in cohort.runnable)


def _stored_rows(folder: Path, plan: Plan) -> list[dict[str, Any]]:
    """Read back what was written: what a user will see is what is there."""
    rows = {row["case_id"]: row for row in read_cases(folder)[0]}
    return [rows[case.case_id] for case in plan.cases if case.case_id in rows]


def _filled_in(models: Mapping[str, Any], given: Mapping[str, Mapping[str, Any]]) -> Mapping[str, dict[str, Any]]:
    """Return the options of each step, defaults filled in; `BuildFailed` for one whose model cannot be imported."""

    def fill_in(name: str) -> dict[str, Any]:
        try:
            model = models[name]
        except PluginError as error:
            raise BuildFailed(error.message) from error
        return model.model_validate(given.get(name, {})).model_dump(mode="json") if model else {}

    return _WhenAsked(models, fill_in)


def _sequences(plan: Plan) -> dict[str, str]:
    return {case.cohort_id: case.sequence.sha256 for case in plan.cases if case.sequence is not None}
