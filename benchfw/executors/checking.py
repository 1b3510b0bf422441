"""Outputs of backends beside those of a reference, without any timing: what `benchfw check` shows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchfw.artifacts import Builder, Cache
from benchfw.artifacts.routes import without_wishes
from benchfw.environments import start_worker, thread_variables
from benchfw.errors import CaseError
from benchfw.executors.arm import ONLY, Arm, Resolved, make_arm, resolve
from benchfw.executors.making import make_builder
from benchfw.executors.run import settings_of
from benchfw.executors.scratch import scratch
from benchfw.executors.unused import unused_tables
from benchfw.handover import hand_over
from benchfw.measure import Settings
from benchfw.measure.gates.outputs import check_alive
from benchfw.measure.session import LiveSession, Start
from benchfw.measure.subject import Subject
from benchfw.registry import Registry
from benchfw.requirements import distributions
from benchfw.scenario import Case, Loaded, Plan, Session
from benchfw.spec import accuracy
from benchfw.spec.artifact import StepInfo
from benchfw.spec.events import Event, Notice, Stage
from benchfw.spec.stop import Stop
from benchfw.supervisor import HELLO_TIMEOUT_S, Worker

REFERENCE = "reference"
"""Name of the backend of the scenario that the others are compared with; it is given the model without wishes."""

DEFAULT_SAMPLES = 4
_TELL_S = 5.0


@dataclass
class Checked:
    """One backend in one precision at one shape, held against the reference.

    Attributes:
        case: Which.
        status: `OK`, or why there are no outputs: that of the error.
        reason: The same in words.
        steps: Artifact steps that made what it was given.
        notes: What the steps had to say of it.
        facts: What it said of what it had loaded.
        rows: Rows of the table `accuracy`, one per set of inputs and output.
    """

    case: Case
    status: str = "OK"
    reason: str = ""
    steps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def verdict(self) -> str | None:
        """The worst of its outputs, over all inputs; None if nothing was compared."""
        return accuracy.worst([row["verdict"] for row in self.rows]) if self.rows else None

    def fail(self, error: CaseError) -> None:
        """Note why there are no more outputs."""
        self.status = error.status
        self.reason = error.message + (f" ({error.hint})" if error.hint else "")


@dataclass(frozen=True)
class Live:
    """A case in its worker."""

    case: Case
    session: LiveSession
    subject: Subject

    def outputs(self, set_: int) -> accuracy.Outputs:
        """Run one inference of a set of inputs; what is not loaded yet is made and loaded.

        Raises:
            CaseError: It cannot be made, loaded or run, or runs on something else than was asked for.
        """
        session, settings = self.session, self.session.settings
        instance = session.instance(self.case, lambda: self.subject.make(self.case))
        files = self.subject.inputs.files(dict(self.case.sizes), set_)
        session.ask("bind", settings.load_s, instance=instance.key, slot=0, files=files)
        session.ask("block", settings.build_s, instance=instance.key, slot=0, n=1)
        outputs = session.ask("outputs", settings.load_s, instance=instance.key, slot=0).arrays
        instance.facts = session.ask("facts", settings.load_s, instance=instance.key).values["facts"]
        session.check_facts(instance.facts)
        return outputs

    def tell(self, checked: Checked) -> None:
        """Note what has been loaded."""
        instance = self.session.instance(self.case, lambda: self.subject.make(self.case))
        checked.steps, checked.notes = instance.made.steps, instance.made.warnings
        checked.facts = instance.facts
        checked.notes = (*checked.notes, *self.session.departures(instance.facts))


class Checker:
    """Compares the cases of a scenario with those of its backend `reference`; see `checking`.

    Attributes:
        plan: The cases.
        resolved: The model.
        subject: What the backends are given.
        registry: What plugins provide.
        folder: Ends with the check.
        marking_builder: Returns a builder that knows one step more, and keeps what it makes in another cache.
        notify: Told how far it is.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        resolved: Resolved,
        settings: Settings,
        folder: Path,
        start: Callable[[Session, Start], Worker],
        marking_builder: Callable[[StepInfo, Cache], Builder],
        notify: Callable[[Event], None],
        ends: contextlib.ExitStack,
    ) -> None:
        self.registry = registry
        self.resolved = resolved
        self.plan: Plan = resolved.plan(registry, frozenset(), frozenset())
        self.subject = resolved.subject(folder / "inputs", settings)
        self.folder = folder
        self.notify = notify
        self.marking_builder = marking_builder
        self._ends = ends
        self._settings = settings
        self._start = start
        self._sessions: dict[str, LiveSession] = {}

    def live(self, case: Case) -> Live:
        """Return a case with the worker that serves it, which starts when it is first asked."""
        session = case.session
        if session.session_id not in self._sessions:
            made = LiveSession(
                session,
                self._settings,
                self._start,
                self.subject.root,
                Cache.default().frameworks,
                self.subject.inputs.specs,
            )
            self._ends.callback(made.close)
            self._sessions[session.session_id] = made
        if session.entry.label == REFERENCE:  # wishes are for what is compared with it, but for its own
            steps = without_wishes(session.steps, self.registry.steps)
            steps |= {name: session.steps[name] for name in session.entry.steps}
            case = replace(case, session=replace(session, steps=steps))
        return Live(case, self._sessions[session.session_id], self.subject)

    def reference_of(self, case: Case) -> Case:
        """Return the case of the reference at the same shape."""
        return next(
            other
            for cohort in self.plan.cohorts
            for other in cohort.cases
            if other.cohort_id == case.cohort_id and other.session.entry.label == REFERENCE
        )

    def reference_outputs(self, case: Case, set_: int) -> accuracy.Outputs:
        """Return what the reference makes of a set of inputs, at the shape of a case.

        Raises:
            CaseError: It cannot run, or its outputs cannot be right.
        """
        reference = self.reference_of(case)
        name = reference.session.entry.use
        try:
            if reference.status is not None:
                raise CaseError(reference.reason, hint=reference.remedy)
            outputs = self.live(reference).outputs(set_)
            check_alive(outputs, may_repeat=self._settings.may_repeat)
        except CaseError as error:
            raise CaseError(
                f"the reference {name}: {error.message}", hint=error.hint or "--against names another backend"
            ) from error
        return outputs

    def run(self, samples: int | None = None) -> list[Checked]:
        """Compare the outputs of all backends with the reference's.

        Args:
            samples: Sets of inputs; default: all samples of the folder, or `DEFAULT_SAMPLES` random ones.

        Raises:
            CaseError: The reference cannot run.
            ScenarioError: The samples do not fit the model.
        """
        checked = []
        for cohort in self.plan.cohorts:
            cases = [case for case in cohort.cases if case.session.entry.label != REFERENCE]
            found = [Checked(case, case.status or "OK", _prospect(case)) for case in cases]
            sets = samples or self._default_sets(cases[0])
            self.notify(Stage(f"comparing {sets} inputs at {cohort.cohort_id}"))
            told = time.monotonic()
            for set_ in range(sets):
                self._compare(found, set_)
                if time.monotonic() - told > _TELL_S:
                    told = time.monotonic()
                    self.notify(Stage(f"{set_ + 1} of {sets} inputs"))
            checked += found
        return checked

    def _default_sets(self, case: Case) -> int:
        count = self.subject.inputs.count
        if not self.subject.inputs.specs:
            return 1
        if count is None:
            return DEFAULT_SAMPLES
        first = self.subject.inputs.specs[0].concrete(case.sizes)
        return -(-count // first[0]) if first else count

    def _compare(self, found: list[Checked], set_: int) -> None:
        running = [item for item in found if item.status == "OK"]
        if not running:
            return
        wanted = self.reference_outputs(running[0].case, set_)
        for item in running:
            live = self.live(item.case)
            try:
                outputs = live.outputs(set_)
                if not item.rows:
                    live.tell(item)
                item.rows += self._rows(item.case, set_, outputs, wanted)
            except CaseError as error:
                item.fail(error)

    def _rows(
        self, case: Case, set_: int, outputs: accuracy.Outputs, wanted: accuracy.Outputs
    ) -> Iterator[dict[str, Any]]:
        session = case.session
        compared = accuracy.compare_all(outputs, wanted, session.precision, session.tolerance)
        for name, metrics in compared.items():
            yield {
                "case_id": case.case_id,
                "cohort": case.cohort_id,
                "moment": "check",
                "invocation": 0,
                "input_set": set_,
                "reference": self.reference_of(case).session.entry.use,
                "output": name,
                "batch": case.batch,
                **metrics,
            }


@contextlib.contextmanager
def checking(
    loaded: Loaded, registry: Registry, *, stop: Stop, notify: Callable[[Event], None] = lambda event: None
) -> Iterator[Checker]:
    """Hold workers for a scenario whose first backend is called `reference`.

    Args:
        loaded: The scenario.
        registry: What plugins provide.
        stop: Ends every wait.
        notify: Told how far it is.

    Raises:
        CaseError: The model cannot be resolved.
        ScenarioError: The scenario does not fit it.
    """
    arm = make_arm(ONLY, loaded, registry)
    settings = settings_of(loaded.scenario, None)
    with scratch(Path.cwd()) as folder, contextlib.ExitStack() as ends:
        code = hand_over(folder / "code", _factories(arm, registry))
        make = partial(
            make_builder,
            registry,
            code,
            folder,
            environments=arm.environments,
            timeout=settings.build_s,
            stop=stop,
        )
        builder = make(notify=lambda text: notify(Stage(text)))
        ends.callback(builder.close)

        def start(session: Session, which: Start) -> Worker:
            return start_worker(
                arm.environments[session.environment],
                code=code,
                log=folder / f"{session.session_id}.log",
                env=thread_variables(arm.threads),
                distributions=distributions(session.info.requires) if session.info else (),
                timeout=min(HELLO_TIMEOUT_S, settings.load_s),
                stop=stop,
                mark=folder.name,
            )

        for text in unused_tables([loaded.scenario], registry):
            notify(Notice(text))
        notify(Stage(f"resolving {loaded.scenario.model.ref}"))
        yield Checker(
            registry=registry,
            resolved=resolve(arm, builder),
            settings=settings,
            folder=folder,
            start=start,
            marking_builder=lambda step, cache: make(extra=[step], cache=cache),
            notify=notify,
            ends=ends,
        )


def _factories(arm: Arm, registry: Registry) -> set[str]:
    """Return what workers may import: all backends that could be of use, all steps, the model's source."""
    uses = {entry.use for entry in arm.scenario.backend}
    backends = [info for name, info in registry.backends.items() if name in uses or info.exact_options]
    return {factory for info in (*backends, *registry.steps.values(), arm.source) for factory in info.code}


def _prospect(case: Case) -> str:
    return case.reason + (f" ({case.remedy})" if case.remedy else "")
