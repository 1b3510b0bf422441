"""One run on this machine: resolve, plan, conduct, write."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchfw.artifacts import BrokenModel, Builder, Cache, ResolvedModel
from benchfw.environments import usable_cpus
from benchfw.errors import BenchfwError, Interrupted, OutOfMemory, UsageError
from benchfw.executors.arm import Arm, Resolved, resolve_or_fail
from benchfw.executors.clocks import locked_clocks
from benchfw.executors.devices import Devices
from benchfw.executors.log import LOGGER, log_start, log_warnings
from benchfw.executors.manifest import Manifest
from benchfw.executors.resume import Resume, earlier_statuses, refuse
from benchfw.executors.scratch import scratch
from benchfw.executors.unused import unused_tables
from benchfw.executors.workers import Workers, arm_name
from benchfw.measure import Conductor, Event, Settings
from benchfw.measure.comparisons import Criteria, Question
from benchfw.measure.gates import Finding
from benchfw.measure.gates.host import memory_pressure
from benchfw.measure.rows import case_hash
from benchfw.measure.session import Start
from benchfw.measure.settings import LIMITS
from benchfw.measure.telemetry import Telemetry
from benchfw.plugins import Registry
from benchfw.scenario import Cohort, Plan, Scenario, Session
from benchfw.scenario.arms import merge
from benchfw.scenario.edits import edited, planned_cases
from benchfw.spec.events import Notice, RunFinished, RunStarted, Stage
from benchfw.spec.executor import Outcome
from benchfw.spec.stop import Stop
from benchfw.store import provenance
from benchfw.store.reader import read_cases, read_manifest
from benchfw.store.writer import RunWriter
from benchfw.supervisor import Worker

_PRESSURE = "memory_pressure_10s"
_CORE_PACKAGES = ("numpy", "scipy", "pandas", "pyarrow", "pydantic")


class Run:
    """One run: of a scenario, or of two as the arms of a comparison."""

    def __init__(
        self,
        arms: Sequence[Arm],
        registry: Registry,
        out: Path,
        effort: str | None,
        resume: Resume | None,
        devices: Devices,
        stop: Stop,
        notify: Callable[[Event], None],
        criteria: Criteria | None = None,
        *,
        rebuild: bool = False,
        lock_clocks: int | None = None,
    ) -> None:
        self.arms = arms
        self.rebuild = rebuild
        self.loaded = arms[0].loaded
        self.registry = registry
        self.resume = resume
        self.devices = devices
        self.stop = stop
        self.notify = notify
        self.criteria = criteria
        self.cache = Cache.default()
        self.settings = replace(settings_of(self.loaded.scenario, effort), lock_clocks=lock_clocks)
        if criteria is not None:
            self.settings = criteria.settings(self.settings)
        self.writer = RunWriter.reopen(resume.folder) if resume else RunWriter(out)
        self.manifest = Manifest(self.writer, resume, read_manifest(resume.folder) if resume else {})

    def run(self, only_backends: frozenset[str], only_sweeps: frozenset[str], request: Mapping[str, Any]) -> Outcome:
        """Measure, and see to it that the manifest tells how it ended."""
        with scratch(self.writer.folder) as folder:
            workers = self._workers(folder / "code")
            builders = {arm.name: workers.builder(arm, self.cache, self._stage) for arm in self.arms}
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
                for notice in dict.fromkeys((self.cache.notice, *self._unused())):
                    if notice:
                        self.notify(Notice(notice))
                workers.hand_over()
                outcome = self._conduct(workers, builders, folder, only_backends, only_sweeps)
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
                for builder in builders.values():
                    builder.close()

    def _tell_end(self, state: str, rows: list[dict[str, Any]]) -> None:
        statuses = Counter(str(row["status"]) for row in rows)
        self.notify(RunFinished(self.writer.run_id, str(self.writer.folder), state, dict(statuses)))

    def _unused(self) -> list[str]:
        return unused_tables([arm.scenario for arm in self.arms], self.registry)

    def _stage(self, text: str) -> None:
        self.notify(Stage(text))

    def _conduct(
        self,
        workers: Workers,
        builders: Mapping[str, Builder],
        folder: Path,
        only_backends: frozenset[str],
        only_sweeps: frozenset[str],
    ) -> Outcome:
        resolved = []
        for arm in self.arms:
            self._stage(f"resolving {arm.scenario.model.ref}")
            resolved.append(resolve_or_fail(arm, builders[arm.name]))
        first = resolved[0]
        self._check_model(first.model)
        self.manifest.state({"model_hash": first.model.model_hash})
        subjects = {item.arm.name: item.subject(folder / f"inputs{item.arm.name}", self.settings) for item in resolved}
        inputs = subjects[first.arm.name].inputs
        self.manifest.state({"samples_sha256": inputs.samples_sha256})
        plan, question = self._plan(resolved, only_backends, only_sweeps)
        by_session = {session_id: subjects[arm_name(session.arm)] for session_id, session in plan.sessions.items()}
        hashes = {case.case_id: case_hash(case, by_session[case.session.session_id].context) for case in plan.cases}
        left, before = self._left(plan, hashes)
        if self.resume:
            workers.compare(left)
        forced = "; ".join(self.manifest.changes) or None  # workers have told by now what they run on
        by_session = {key: replace(item, common={**item.common, "forced": forced}) for key, item in by_session.items()}
        devices = {case.session.device for case in left.cases if case.status is None}
        samplers = workers.samplers(devices)
        telemetry = Telemetry(
            samplers, lambda: workers.sampler(samplers), devices=devices, stop=self.stop, notify=self.notify
        )

        def start(session: Session, which: Start) -> Worker:
            worker = workers.start(session, which)
            if which.lane == 0:
                telemetry.watch(session.session_id, worker.pid)
            return worker

        conductor = Conductor(
            left,
            settings=self._share(plan, left),
            subjects=by_session,
            start=start,
            reference=first.scenario.reference,
            run_folder=self.writer.folder,
            frameworks=self.cache.frameworks,
            before=before,
            exhausted=[case for case in plan.cases if before.get(case.case_id) == OutOfMemory.status],
            others=self.devices.others,
            question=question,
            telemetry=telemetry,
            stop=self.stop,
            notify=self.notify,
        )
        interrupted = None
        try:
            with self._locked_clocks(devices), telemetry:
                for measured in conductor.cohorts():
                    tables = dict(measured.tables)
                    found = [*telemetry.findings, *_pressure(tables["telemetry"])]
                    tables["warnings"] = [*tables["warnings"], *_of_all_cases(tables["cases"], found)]
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
            model=first.facts,
            **{f"model_{item.arm.name}": item.facts for item in resolved[1:]},
            inputs={**self.manifest.before.get("inputs", {}), **inputs.hashes},
            sequences=_sequences(plan),
            resolve_s=sum(item.model.seconds for item in resolved),
        )
        return Outcome(
            run_id=self.writer.run_id,
            folder=self.writer.folder,
            rows=_stored_rows(self.writer.folder, plan),
            interrupted=interrupted,
        )

    @contextlib.contextmanager
    def _locked_clocks(self, devices: Collection[str]) -> Iterator[None]:
        """Hold the clocks of the GPUs if that was asked for; the manifest tells whether they were let go again."""
        with locked_clocks(self.settings.lock_clocks, devices, lambda text: self.notify(Notice(text))) as facts:
            if facts:
                self.manifest.add(clocks=facts)
            yield

    def _plan(
        self, resolved: Sequence[Resolved], only_backends: frozenset[str], only_sweeps: frozenset[str]
    ) -> tuple[Plan, Question | None]:
        """Return the plan, as plugins have edited it, and what is asked of its arms if it has two."""
        plans = [item.plan(self.registry, only_backends, only_sweeps) for item in resolved]
        question = None
        if self.criteria is None:
            plan = plans[0]
        else:
            plan, pairs = merge(*plans)
            question = self.criteria.question(pairs, self.settings, plan)
        edits = self.registry.plan_edits(self.loaded.document, planned_cases(plan))
        return edited(plan, edits), question

    # --- resuming -----------------------------------------------------------------------------------------------

    def _check_model(self, model: ResolvedModel | BrokenModel) -> None:
        """Refuse to go on with a model that was whole when the run began: its rows would be of another one."""
        then = self.manifest.before.get("model_hash")
        if isinstance(model, BrokenModel) and then is not None:
            raise refuse(self.writer.run_id, [f"model_hash: {then} then, now {model.failure.message}"])

    def _left(self, plan: Plan, hashes: Mapping[str, str]) -> tuple[Plan, dict[str, str]]:
        """Return what is left to measure, and the statuses of finished cohorts that may be measured again."""
        if self.resume is None:
            return plan, {}
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

    # --- what is written ----------------------------------------------------------------------------------------

    def _workers(self, code: Path) -> Workers:
        return Workers(
            arms={arm.name: arm for arm in self.arms},
            registry=self.registry,
            settings=self.settings,
            manifest=self.manifest,
            run_id=self.writer.run_id,
            logs=self.writer.folder / "logs",
            code=code,
            stop=self.stop,
            rebuild=self.rebuild,
        )

    def _facts(self, only_backends: frozenset[str], only_sweeps: frozenset[str]) -> dict[str, Any]:
        """Return what must be the same when the run is gone on with, as far as it is known at the beginning."""
        return {
            "scenario": self.loaded.document,
            "settings": asdict(self.settings),
            "selection": {"backends": sorted(only_backends), "sweeps": sorted(only_sweeps)},
            "environments": {name: asdict(item) for name, item in self.arms[0].environments.items()},
            **{f"scenario_{arm.name}": arm.loaded.document for arm in self.arms[1:]},
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


def _pressure(rows: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield what the samplers say of memory, if it was short."""
    finding = memory_pressure(max((row["value"] for row in rows if row["field"] == _PRESSURE), default=None))
    if finding is not None:
        yield finding


def _of_all_cases(cases: Iterable[Mapping[str, Any]], findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return rows of `warnings` for what was found of all measured cases alike."""
    measured = [case["case_id"] for case in cases if case["status"] == "OK"]
    return [{"case_id": case_id, **finding._asdict()} for finding in findings for case_id in measured]


def _sequences(plan: Plan) -> dict[str, str]:
    return {case.cohort_id: case.sequence.sha256 for case in plan.cases if case.sequence is not None}


def settings_of(scenario: Scenario, effort: str | None) -> Settings:
    """Return the settings of a run of a scenario.

    Args:
        scenario: Of a comparison that of the baseline.
        effort: Replaces the scenario's.
    """
    measure = scenario.measure
    return Settings(
        effort=effort or measure.effort,
        budget_s=measure.budget,
        interleave=measure.interleave,
        threads=scenario.threads or usable_cpus(),
        seed=scenario.model.seed,
        build_s=measure.deadlines.build,
        load_s=measure.deadlines.load,
        block_s=measure.deadlines.block,
        cpus=usable_cpus(),
        may_repeat=scenario.accuracy.may_repeat,
        profile=measure.profile,
        limits={name: value for name in LIMITS if (value := getattr(measure, name)) is not None},
    )
