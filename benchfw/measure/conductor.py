"""Conducts the cohorts of a plan: loads, checks, warms up, runs rounds, decides when it is enough, and reports."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchfw.artifacts import Builder, Made, ResolvedModel
from benchfw.errors import (
    BackendError,
    BenchfwError,
    Invalid,
    OutOfMemory,
    ScenarioError,
    WorkerCrashed,
    WorkerError,
)
from benchfw.measure import accuracy, judge, rows, warmup
from benchfw.measure.budget import Budget
from benchfw.measure.events import CaseDone, CohortStarted, Event, RoundDone, Stage
from benchfw.measure.inputs import InputMaker
from benchfw.measure.member import Member
from benchfw.measure.rounds import orders
from benchfw.measure.session import LiveSession, StartWorker
from benchfw.measure.settings import Settings
from benchfw.scenario import Case, Cohort, Plan
from benchfw.store.provenance import memory_available

MEMORY_RESERVE = 1.5
MIN_ROUNDS = 3
MAX_RESTARTS = 1
_STEADY_NS = 50_000_000

Tables = dict[str, Any]
"""Rows, or columns, by the name of the table."""


class _AccuracyFailed(BackendError):
    """Outputs are too far from the reference's: the timing is worth nothing."""

    status = "ACCURACY_FAIL"


@dataclass
class _References:
    """Outputs that the cases of a cohort are compared with, by the size of the varying axis."""

    name: str | None = None
    outputs: dict[int, accuracy.Outputs] = field(default_factory=dict)


class Conductor:
    """Measures a plan on one device.

    Args:
        plan: What to measure.
        settings: How much.
        start: Starts the worker of a session.
        builder: Makes artifacts.
        model: The resolved model.
        inputs: Makes inputs.
        common: Columns of `cases` that are the same for all rows.
        reference: Name of the backend whose outputs and speed the others are compared with.
        run_folder: Folder of the run; logs are named relative to it.
        root: Folder that the model's modules are found from.
        frameworks: Folder for what frameworks keep.
        notify: Told what happens, between blocks.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        settings: Settings,
        start: StartWorker,
        builder: Builder,
        model: ResolvedModel,
        inputs: InputMaker,
        common: Mapping[str, Any],
        reference: str | None,
        run_folder: Path,
        root: Path,
        frameworks: Path,
        notify: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._builder = builder
        self._model = model
        self._inputs = inputs
        self._common = common
        self._reference = reference
        self._run_folder = run_folder
        self._notify = notify
        self._budget = Budget(settings.budget_s)
        self._sessions = {
            session_id: LiveSession(session, settings, start, root, frameworks, inputs.specs)
            for session_id, session in plan.sessions.items()
        }

    def cohorts(self) -> Iterator[tuple[str, Tables]]:
        """Measure one cohort after the other and yield its id and the rows of its tables.

        Workers are ended when the iterator is, also by an exception.
        """
        try:
            self._make_all()
            for index, cohort in enumerate(self._plan.cohorts):
                runnable = cohort.runnable
                total = len(self._plan.cohorts)
                self._notify(CohortStarted(index + 1, total, cohort.cohort_id, len(runnable)))
                members, reference = self._measure(cohort, index)
                yield cohort.cohort_id, self._tables(cohort, members, reference)
                self._release(index)
        finally:
            for session in self._sessions.values():
                session.close()

    def _make_all(self) -> None:
        """Make every artifact before anything is measured; what fails is told again when its case is loaded."""
        for case in self._plan.cases:
            if case.status is None:
                with contextlib.suppress(BackendError, WorkerError):
                    self._make(case)
        self._builder.close()

    # --- a cohort -----------------------------------------------------------------------------------------------

    def _measure(self, cohort: Cohort, index: int) -> tuple[dict[str, Member], str | None]:
        """Measure the runnable cases in groups, each of which is interleaved; also return the reference's name."""
        members: dict[str, Member] = {}
        references = _References()
        after = [case for later in self._plan.cohorts[index + 1 :] for case in later.runnable]
        waiting = [(group, self._settings.interleave) for group in self._groups(cohort)]
        restarts = 0
        while waiting:
            cases, interleave = waiting.pop(0)
            group, deferred = self._open(cases, interleave, references)
            members |= {member.case.case_id: member for member in group}
            if deferred:
                waiting.append((deferred, "session"))
            self._conduct(group, [case for cases, _ in waiting for case in cases] + after, index)
            self._check(group, references, "after")
            lost = [member for member in group if member.alive and member.lost]
            if deferred:  # there was no memory for them beside this group
                for member in group:
                    member.session.close()
            if lost and restarts < MAX_RESTARTS:  # another case of their session took the worker down
                restarts += 1
                waiting.append(([member.case for member in lost], interleave))
            else:
                for member in lost:
                    member.fail(WorkerCrashed("its worker was lost again"))
        return members, references.name

    def _groups(self, cohort: Cohort) -> list[list[Case]]:
        """Split a cohort by what is interleaved; the reference comes first, since the others are checked against it."""
        cases = sorted(cohort.runnable, key=lambda case: case.session.entry.label != self._reference)
        if self._settings.interleave == "all":
            return [cases] if cases else []
        groups: dict[str, list[Case]] = {}
        for case in cases:
            key = case.case_id if self._settings.interleave == "off" else case.session.session_id
            groups.setdefault(key, []).append(case)
        return list(groups.values())

    def _open(self, cases: Sequence[Case], interleave: str, references: _References) -> tuple[list[Member], list[Case]]:
        """Load, bind and check cases one by one while there is memory; return them and those to be deferred."""
        group: list[Member] = []
        for place, case in enumerate(cases):
            session = self._sessions[case.session.session_id]
            if group and not session.is_open and self._memory_is_short():
                for member in group:
                    member.interleave = "session"
                return group, list(cases[place:])
            member = Member(case, session, self._settings, interleave=interleave)
            group.append(member)
            with _failures(member):
                self._notify(Stage(f"{member.name}: loading"))
                instance = session.instance(case, lambda case=case: self._make(case))  # type: ignore[misc]
                for note in instance.made.notes:
                    member.warn("A01", None, None, f"made again: {note}")
                member.bind(instance, self._inputs, self._model.io.inputs if self._model.io else ())
                warmup.first_calls(member)
                member.read_facts()
            self._check([member], references, "before")
            if self._reference and references.name not in (None, self._reference):
                member.warn("R01", None, None, f"{self._reference} gave no outputs: {references.name} is the reference")
        return group, []

    def _make(self, case: Case) -> Made:
        info = case.session.info
        assert info is not None
        own = self._model.io.inputs if self._model.io else ()
        dynamic = any(isinstance(dim, str) for spec in (*self._inputs.specs, *own) for dim in spec.shape)
        specialize = dynamic and case.profile.static and info.capabilities.specializes
        return self._builder.make(
            self._model.artifact,
            info.accepts,
            inputs=self._inputs.specs,
            profile=case.profile,
            specialize=specialize,
        )

    def _memory_is_short(self) -> bool:
        largest = max((session.peak_rss_bytes for session in self._sessions.values()), default=0)
        available = memory_available()
        return available is not None and available < MEMORY_RESERVE * largest

    # --- rounds -------------------------------------------------------------------------------------------------

    def _conduct(self, members: list[Member], later: Sequence[Case], seed: int) -> None:
        """Warm up, then run rounds until every case has enough or the time is up."""
        start = time.monotonic()
        cases = [member.case for member in members]
        for member in members:
            if member.ready:
                self._budget.learn(member)
        share = self._budget.share(cases, later)
        for member in members:
            if member.ready:
                with _failures(member):
                    self._notify(Stage(f"{member.name}: warming up"))
                    warmup.warm_up(member, None if share is None else share / len(members))
                    self._budget.learn(member)
        share = self._budget.share(cases, later)
        left = None if share is None else share - (time.monotonic() - start)
        self._rounds([member for member in members if member.ready], left, seed)
        for member in members:
            if member.ready:
                with _failures(member):
                    self._finish(member)
        self._budget.spend(time.monotonic() - start)

    def _rounds(self, members: list[Member], left: float | None, seed: int) -> None:
        start = time.monotonic()
        order = orders(len(members), self._settings.seed + seed)
        number = 0
        while any(member.ready and not member.stopping.done for member in members):
            out_of_time = left is not None and time.monotonic() - start >= left
            if out_of_time and number >= MIN_ROUNDS:
                return
            for position, place in enumerate(next(order)):
                member = members[place]
                if not member.ready or member.stopping.exhausted:
                    continue
                with _failures(member):
                    block = member.measure(number, position)
                    if any(block.changes.values()):
                        raise Invalid(
                            f"within a measured block (V04): {_counted(block.changes)}",
                            hint="the shapes were warmed up; something else made the backend change",
                        )
                    member.stopping.look(
                        member.count,
                        len(member.measured),
                        member.measured_s,
                        lambda m=member: m.evidence,  # type: ignore[misc]
                    )
            number += 1
            self._notify(_round_event(number, members, None if left is None else left - (time.monotonic() - start)))

    def _finish(self, member: Member) -> None:
        """Take what belongs to a measured case: final intervals, constant runs, peak memory, warnings."""
        member.stopping.conclude(member.evidence, len(member.measured), member.measured_s)
        if member.case.sequence is not None:
            for slot in range(len(member.sizes)):
                n = max(4, min(100, round(_STEADY_NS / member.expected(slot))))
                member.call("steady", slot, n).rewarm = 1
        member.read_facts()
        judge.add_warnings(member)

    # --- accuracy -----------------------------------------------------------------------------------------------

    def _check(self, group: Sequence[Member], references: _References, moment: str) -> None:
        """Compare outputs with the reference's; the first fp32 case of a cohort becomes it if there is none yet."""
        for member in group:
            if not member.ready:
                continue
            with _failures(member):
                for slot, size in enumerate(member.sizes):
                    outputs = dict(member.outputs(slot))
                    if size not in references.outputs:
                        if member.case.session.precision != "fp32":
                            if moment == "before":
                                member.warn("R02", None, None, "outputs were not checked: no fp32 case came before it")
                            continue
                        references.outputs[size] = outputs
                        references.name = member.case.session.entry.label
                    self._compare(member, size, outputs, references, moment)
                failed = [row for row in member.accuracy if row["verdict"] == "fail"]
                if failed:
                    raise _AccuracyFailed(
                        f"{failed[0]['moment']} the timing, {failed[0]['output']}: {failed[0]['reason']}"
                    )

    def _compare(
        self, member: Member, size: int, outputs: accuracy.Outputs, references: _References, moment: str
    ) -> None:
        for name, output, wanted in accuracy.match(outputs, references.outputs[size]):
            metrics = accuracy.compare(output, wanted, member.case.session.precision)
            member.accuracy.append(
                {
                    "case_id": member.case.case_id,
                    "cohort": member.case.cohort_id,
                    "moment": moment,
                    "reference": references.name,
                    "output": name,
                    "batch": size if member.case.sequence else member.case.batch,
                    **metrics,
                }
            )

    # --- ends ---------------------------------------------------------------------------------------------------

    def _tables(self, cohort: Cohort, members: Mapping[str, Member], reference: str | None) -> Tables:
        cases = []
        for case in cohort.cases:
            if case.case_id in members:
                cases.append(rows.case_row(members[case.case_id], self._common, self._run_folder))
            else:
                cases.append(rows.planned_row(case, self._common))
        judge.add_speedup(cases, reference or self._reference)
        for row in cases:
            self._notify(CaseDone(row))
        measured = list(members.values())
        return {
            "cases": cases,
            "blocks": [row for member in measured for row in rows.block_rows(member)],
            "iterations": rows.iteration_columns(measured),
            "shapes": [row for member in measured for row in rows.shape_rows(member)],
            "accuracy": [row for member in measured for row in member.accuracy],
            "warnings": [row for member in measured for row in member.warnings],
        }

    def _release(self, index: int) -> None:
        """Close what no later cohort needs."""
        later = [case for cohort in self._plan.cohorts[index + 1 :] for case in cohort.runnable]
        for session_id, session in self._sessions.items():
            profiles = {case.profile.slug for case in later if case.session.session_id == session_id}
            try:
                session.keep_only(profiles)
            except BenchfwError:  # a worker that cannot even close is started anew for the next cohort
                session.close()


@contextlib.contextmanager
def _failures(member: Member) -> Iterator[None]:
    """Turn what a backend or worker raises into the status of the member's row."""
    try:
        yield
    except (BackendError, WorkerError) as error:
        member.fail(error)
    except ScenarioError as error:  # samples that fit other shapes, but not this one
        member.fail(Invalid(error.message))
    except MemoryError as error:
        member.fail(OutOfMemory(f"out of memory in the parent: {error}"))
    except OSError as error:
        member.fail(BackendError(f"{type(error).__name__}: {error}"))


def _counted(changes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in changes.items() if count)


def _round_event(number: int, members: Sequence[Member], left_s: float | None) -> RoundDone:
    open_ = [member for member in members if member.ready and not member.stopping.done]
    widths = [(member.stopping.widest, member.name) for member in open_ if member.stopping.widest is not None]
    widest = max(widths, default=None)
    return RoundDone(number, left_s, len(open_), (widest[1], widest[0] or 0.0) if widest else None)
