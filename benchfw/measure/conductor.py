"""Conducts the cohorts of a plan: loads, checks, warms up, runs rounds, decides when it is enough, and reports."""

from __future__ import annotations

import contextlib
import errno
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchfw.artifacts import Builder, Made, ResolvedModel
from benchfw.errors import (
    BackendError,
    BenchfwError,
    CaseError,
    Interrupted,
    Invalid,
    OutOfMemory,
    ProtocolError,
    ResultError,
    ScenarioError,
    WorkerCrashed,
)
from benchfw.measure import judge, rows, warmup
from benchfw.measure.budget import Budget
from benchfw.measure.exhausted import Exhausted
from benchfw.measure.inputs import InputMaker
from benchfw.measure.member import Member
from benchfw.measure.references import References
from benchfw.measure.rounds import orders
from benchfw.measure.session import LiveSession, StartWorker
from benchfw.measure.settings import Settings
from benchfw.scenario import Case, Cohort, Plan
from benchfw.spec.events import CaseDone, CohortStarted, Event, RoundDone, Stage
from benchfw.spec.stop import Stop
from benchfw.store.journal import State
from benchfw.store.provenance import memory_available, suspended_s

MEMORY_RESERVE = 1.5
MIN_ROUNDS = 3
MAX_RESTARTS = 1
"""How often a cohort's cases that lost their worker to another case of it are tried again, per session."""

_SUSPENDED_S = 0.1
_STEADY_NS = 50_000_000

Tables = dict[str, Any]
"""Rows, or columns, by the name of the table."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A cohort that is over.

    Attributes:
        cohort_id: Its id.
        state: `finished` or `interrupted`.
        tables: Rows, or columns, by the name of the table.
    """

    cohort_id: str
    state: State
    tables: Tables


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
        context: What goes into the hash of every case.
        reference: Name of the backend whose outputs and speed the others are compared with.
        run_folder: Folder of the run; logs are named relative to it.
        root: Folder that the model's modules are found from.
        frameworks: Folder for what frameworks keep.
        before: Status of every case of a cohort that an earlier attempt finished. Such a cohort is measured again only
            if one of its skipped cases can be loaded now.
        exhausted: Cases that ran out of memory in an earlier attempt.
        others: Describes the other runs that measure on the same devices now; None if there are none.
        stop: Ends the run after the current block.
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
        context: Mapping[str, Any],
        reference: str | None,
        run_folder: Path,
        root: Path,
        frameworks: Path,
        before: Mapping[str, str] | None = None,
        exhausted: Iterable[Case] = (),
        others: Callable[[], str | None] = lambda: None,
        stop: Stop | None = None,
        notify: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._builder = builder
        self._model = model
        self._inputs = inputs
        self._common = common
        self._context = context
        self._before = before or {}
        self._others = others
        self._stop = stop or Stop()
        self._exhausted = Exhausted()
        for case in exhausted:
            self._exhausted.note(case)
        self._reference = reference
        self._run_folder = run_folder
        self._notify = notify
        self._budget = Budget(settings.budget_s)
        self._sessions = {
            session_id: LiveSession(session, settings, start, root, frameworks, inputs.specs)
            for session_id, session in plan.sessions.items()
        }

    def cohorts(self) -> Iterator[Measured]:
        """Measure one cohort after the other.

        Workers are ended when the iterator is, also by an exception.

        Raises:
            Interrupted: The run was stopped; the cohorts that were open or not begun have been yielded as such.
        """
        members: dict[str, Member] = {}
        done = 0
        try:
            self._make_all()
            for index, cohort in enumerate(self._plan.cohorts):
                self._stop.check()
                total = len(self._plan.cohorts)
                self._notify(CohortStarted(index + 1, total, cohort.cohort_id, len(cohort.runnable)))
                if self._is_worth_it(cohort):
                    reference = self._measure(cohort, index, members)
                    with self._stop.deferred():  # all is measured: a wish to stop does not take it away
                        self._release(index, members)
                    yield Measured(
                        cohort_id=cohort.cohort_id, state="finished", tables=self._tables(cohort, members, reference)
                    )
                members = {}
                done = index + 1
        except Interrupted as error:
            for cohort in self._plan.cohorts[done:]:
                yield Measured(
                    cohort_id=cohort.cohort_id,
                    state="interrupted",
                    tables=self._tables(cohort, members, None, interrupted=error.message),
                )
                members = {}
            raise
        finally:
            for session in self._sessions.values():
                session.close()

    def _is_worth_it(self, cohort: Cohort) -> bool:
        """Say whether a cohort is to be measured: of one that was finished, whether what it lacked is there now."""
        if not any(case.case_id in self._before for case in cohort.cases):
            return True
        for case in cohort.runnable:
            if self._before.get(case.case_id, "SKIPPED") == "SKIPPED":
                session = self._sessions[case.session.session_id]
                try:
                    with _told_later(but="SKIPPED"):
                        self._exhausted.spare(case)
                        session.instance(case, lambda case=case: self._make(case))  # type: ignore[misc]
                except CaseError:
                    continue
                return True
        return False

    def _make_all(self) -> None:
        """Make every artifact before anything is measured; what fails is told again when its case is loaded."""
        for case in self._plan.cases:
            if case.status is None:
                with _told_later():
                    self._make(case)
        self._builder.close()

    # --- a cohort -----------------------------------------------------------------------------------------------

    def _measure(self, cohort: Cohort, index: int, members: dict[str, Member]) -> str | None:
        """Measure the runnable cases in groups, each of which is interleaved.

        Args:
            cohort: What to measure.
            index: Its place in the plan.
            members: Filled with what was tried, also when the run is interrupted.

        Returns:
            Name of the backend that was the reference.
        """
        references = References()
        suspended = suspended_s()
        after = [case for later in self._plan.cohorts[index + 1 :] for case in later.runnable]
        waiting = [(group, self._settings.interleave) for group in self._groups(cohort)]
        restarts: Counter[str] = Counter()
        while waiting:
            cases, interleave = waiting.pop(0)
            group, deferred = self._open(cases, interleave, references, members)
            if deferred:
                waiting.append((deferred, "session"))
            self._conduct(group, [case for cases, _ in waiting for case in cases] + after, index)
            self._check(group, references, "after")
            lost = [member for member in group if member.alive and member.lost]
            if deferred:  # there was no memory for them beside this group
                for member in group:
                    member.session.close()
            again = [member for member in lost if restarts[member.case.session.session_id] < MAX_RESTARTS]
            if again:  # another case of their session took the worker down
                restarts.update({member.case.session.session_id for member in again})
                waiting.append(([member.case for member in again], interleave))
            for member in lost:
                if member not in again:
                    member.session.close()
                    member.fail(member.session.death or WorkerCrashed("its worker was lost again"))
        asleep = suspended_s() - suspended
        if asleep > _SUSPENDED_S:
            for member in members.values():
                text = f"the machine was suspended for {asleep:.1f} s while the cohort was measured; measure it again"
                member.warn("H01", asleep, _SUSPENDED_S, text)
        return references.name

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

    def _open(
        self, cases: Sequence[Case], interleave: str, references: References, members: dict[str, Member]
    ) -> tuple[list[Member], list[Case]]:
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
            members[case.case_id] = member
            with self._failures(member):
                self._exhausted.spare(case)
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
                with self._failures(member):
                    self._notify(Stage(f"{member.name}: warming up"))
                    warmup.warm_up(member, None if share is None else share / len(members))
                    self._budget.learn(member)
        share = self._budget.share(cases, later)
        left = None if share is None else share - (time.monotonic() - start)
        self._rounds([member for member in members if member.ready], left, seed)
        for member in members:
            if member.ready:
                with self._failures(member):
                    self._finish(member)
        self._budget.spend(time.monotonic() - start)

    def _rounds(self, members: list[Member], left: float | None, seed: int) -> None:
        start = time.monotonic()
        self._note_others(members)
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
                with self._failures(member):
                    with self._stop.deferred():
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
                self._stop.check()
            self._note_others(members)
            number += 1
            self._notify(_round_event(number, members, None if left is None else left - (time.monotonic() - start)))

    def _note_others(self, members: Sequence[Member]) -> None:
        """Note the runs that measure on the same devices now; one that was there stays noted."""
        others = self._others()
        for member in members:
            member.contended = others or member.contended

    def _finish(self, member: Member) -> None:
        """Take what belongs to a measured case: final intervals, constant runs, peak memory, warnings."""
        member.stopping.conclude(member.evidence, len(member.measured), member.measured_s)
        if member.case.sequence is not None:
            for slot in range(len(member.sizes)):
                n = max(4, min(100, round(_STEADY_NS / member.expected(slot))))
                member.call("steady", slot, n).rewarm = 1
        member.read_facts()
        judge.add_warnings(member)

    @contextlib.contextmanager
    def _failures(self, member: Member) -> Iterator[None]:
        """Turn what a backend or worker raises into the status of the member's row."""
        try:
            yield
        except CaseError as error:
            member.fail(error)
            if isinstance(error, ProtocolError):  # what else it says is worth no more
                member.session.close()
        except ScenarioError as error:  # samples that fit other shapes, but not this one
            member.fail(Invalid(error.message))
        except BenchfwError:
            raise
        except MemoryError as error:
            member.fail(OutOfMemory(f"out of memory in the parent: {error}"))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # every later case would fail alike
                raise ResultError(
                    f"inputs cannot be written: {error}", hint="free space in the temporary folder, or set TMPDIR"
                ) from error
            kind = OutOfMemory if error.errno == errno.ENOMEM else BackendError
            member.fail(kind(f"{type(error).__name__}: {error}"))
        except Exception as error:  # a fault of ours shall cost a case of a long run, not the run
            text = f"benchfw itself failed, please report it: {type(error).__name__}: {error}"
            member.fail(CaseError(text), log_tail=traceback.format_exc())
        if member.failure is not None and member.failure.status == OutOfMemory.status:
            self._exhausted.note(member.case)

    def _check(self, group: Sequence[Member], references: References, moment: str) -> None:
        for member in group:
            if member.ready:
                with self._failures(member):
                    references.check(member, moment)

    # --- ends ---------------------------------------------------------------------------------------------------

    def _tables(
        self, cohort: Cohort, members: Mapping[str, Member], reference: str | None, *, interrupted: str | None = None
    ) -> Tables:
        cases = []
        for case in cohort.cases:
            if case.case_id in members:
                row = rows.case_row(members[case.case_id], self._common, self._run_folder)
            else:
                row = rows.planned_row(case, self._common)
            cases.append(row | {"case_hash": rows.case_hash(case, self._context)})
        if interrupted is None:
            judge.add_speedup(cases, reference or self._reference)
        else:
            cases = [rows.interrupted_row(row, interrupted) for row in cases]
        measured = list(members.values())
        tables: Tables = {
            "cases": cases,
            "blocks": [row for member in measured for row in rows.block_rows(member)],
            "iterations": rows.iteration_columns(measured),
            "shapes": [row for member in measured for row in rows.shape_rows(member)],
            "accuracy": [row for member in measured for row in member.accuracy],
            "warnings": [row for member in measured for row in member.warnings],
        }
        rows.expel_misfits(tables)
        for row in tables["cases"]:
            self._notify(CaseDone(dict(row)))  # who listens must not change what is stored
        return tables

    def _release(self, index: int, members: Mapping[str, Member]) -> None:
        """Close what no later cohort needs; a worker that cannot even close is started anew for the next one."""
        later = [case for cohort in self._plan.cohorts[index + 1 :] for case in cohort.runnable]
        for session_id, session in self._sessions.items():
            profiles = {case.profile.slug for case in later if case.session.session_id == session_id}
            mine = [member for member in members.values() if member.session is session]
            dropped = session.take_dropped_bytes()
            if dropped:
                for member in mine:
                    member.warn(
                        "L01", dropped, 0, f"{dropped} bytes of its log were dropped: it is timed while it prints"
                    )
            try:
                session.keep_only(profiles)
            except CaseError as error:
                for member in mine:
                    member.warn("R03", None, None, f"closing it failed, its worker was ended: {error.message}")
                session.close()


@contextlib.contextmanager
def _told_later(but: str = "") -> Iterator[None]:
    """Pass over what goes wrong with one case: it will go wrong again, and be told, when the case is loaded.

    Raises:
        CaseError: Its status is `but`.
    """
    try:
        yield
    except CaseError as error:
        if error.status == but:
            raise
    except BenchfwError:
        raise
    except Exception:
        pass


def _counted(changes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in changes.items() if count)


def _round_event(number: int, members: Sequence[Member], left_s: float | None) -> RoundDone:
    open_ = [member for member in members if member.ready and not member.stopping.done]
    widths = [(member.stopping.widest, member.name) for member in open_ if member.stopping.widest is not None]
    widest = max(widths, default=None)
    return RoundDone(number, left_s, len(open_), (widest[1], widest[0] or 0.0) if widest else None)
