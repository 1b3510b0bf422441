"""Conducts the cohorts of a plan: measures them in as many processes as are wanted, and reports."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchfw.errors import CaseError, Interrupted, WorkerCrashed
from benchfw.measure import judge, layers, tables
from benchfw.measure.budget import Budget
from benchfw.measure.comparisons import ROUNDS, Question
from benchfw.measure.group import Group, grouped
from benchfw.measure.loading import Loader
from benchfw.measure.observer import Observer
from benchfw.measure.record import Record
from benchfw.measure.references import References
from benchfw.measure.session import LiveSession, StartWorker
from benchfw.measure.settings import Settings
from benchfw.measure.subject import Subject
from benchfw.measure.telemetry import Telemetry
from benchfw.scenario import Case, Cohort, Plan
from benchfw.spec.events import CaseDone, CohortStarted, Event, Stage
from benchfw.spec.stop import Stop
from benchfw.store.journal import State
from benchfw.store.provenance import suspended_s

MAX_RESTARTS = 1
"""How often a cohort's cases that lost their worker to another case of it are tried again, per session."""

_SUSPENDED_S = 0.1


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
    tables: tables.Tables


class Conductor:
    """Measures a plan on one device.

    Args:
        plan: What to measure.
        settings: How much.
        subjects: What each session runs, by `session_id`.
        start: Starts a worker of a session.
        reference: Name of the backend whose outputs and speed the others are compared with.
        run_folder: Folder of the run; logs are named relative to it.
        frameworks: Folder for what frameworks keep.
        before: Status of every case of a cohort that an earlier attempt finished. Such a cohort is measured again only
            if one of its skipped cases can be loaded now.
        exhausted: Cases that ran out of memory in an earlier attempt.
        others: Describes the other runs that measure on the same devices now; None if there are none.
        question: What two arms are asked; None outside of a comparison.
        telemetry: The samplers of the run.
        stop: Ends the run after the current block.
        notify: Told what happens, between blocks.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        settings: Settings,
        subjects: Mapping[str, Subject],
        start: StartWorker,
        reference: str | None,
        run_folder: Path,
        frameworks: Path,
        before: Mapping[str, str] | None = None,
        exhausted: Iterable[Case] = (),
        others: Callable[[], str | None] = lambda: None,
        question: Question | None = None,
        telemetry: Telemetry | None = None,
        stop: Stop | None = None,
        notify: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._subjects = subjects
        self._before = before or {}
        self._others = others
        self._question = question
        self._observer = Observer(telemetry, settings.seed, settings.lock_clocks)
        self._stop = stop or Stop()
        self._reference = reference
        self._run_folder = run_folder
        self._notify = notify
        self._budget = Budget(settings.budget_s)
        self._sessions = {
            session_id: LiveSession(
                session,
                settings,
                start,
                subjects[session_id].root,
                frameworks,
                subjects[session_id].inputs.specs,
            )
            for session_id, session in plan.sessions.items()
        }
        self._loader = Loader(
            self._sessions,
            subjects,
            settings=settings,
            observer=self._observer,
            reference=reference,
            exhausted=exhausted,
            notify=notify,
        )

    def cohorts(self) -> Iterator[Measured]:
        """Measure one cohort after the other.

        Workers are ended when the iterator is, also by an exception.

        Raises:
            Interrupted: The run was stopped; the cohorts that were open or not begun have been yielded as such.
        """
        records: dict[str, Record] = {}
        done = 0
        try:
            self._loader.make_all(self._plan.cases)
            for index, cohort in enumerate(self._plan.cohorts):
                self._stop.check()
                total = len(self._plan.cohorts)
                self._notify(CohortStarted(index + 1, total, cohort.cohort_id, len(cohort.runnable)))
                if self._is_worth_it(cohort):
                    reference = self._measure(cohort, index, records)
                    with self._stop.deferred():  # all is measured: a wish to stop does not take it away
                        self._release(index, records)
                    yield self._measured(cohort, "finished", records, reference)
                records = {}
                done = index + 1
        except Interrupted as error:
            for cohort in self._plan.cohorts[done:]:
                yield self._measured(cohort, "interrupted", records, None, interrupted=error.message)
                records = {}
            raise
        finally:
            for session in self._sessions.values():
                session.close()
            self._observer.close()

    def _is_worth_it(self, cohort: Cohort) -> bool:
        """Say whether a cohort is to be measured: of one that was finished, whether what it lacked is there now."""
        if not any(case.case_id in self._before for case in cohort.cases):
            return True
        for case in cohort.runnable:
            if self._before.get(case.case_id, "SKIPPED") == "SKIPPED" and self._loader.can_load(case):
                return True
        return False

    # --- a cohort -----------------------------------------------------------------------------------------------

    def _measure(self, cohort: Cohort, index: int, records: dict[str, Record]) -> str | None:
        """Measure the runnable cases, once per invocation.

        Args:
            cohort: What to measure.
            index: Its place in the plan.
            records: Filled with what was tried, also when the run is interrupted.

        Returns:
            Name of the backend that was the reference.
        """
        references = References()
        suspended = suspended_s()
        total = self._settings.rule.invocations
        after = [case for later in self._plan.cohorts[index + 1 :] for case in later.runnable] * total
        for number in self._numbers(cohort, records):
            if total > 1 or self._question is not None:  # each one is a fresh process
                self._close(cohort)
            left = [
                case for case in cohort.runnable if case.case_id not in records or not records[case.case_id].failure
            ]
            if left:
                self._invoke(left, number, references, records, left * max(0, total - 1 - number) + after, index)
        self._judge_telemetry(records)
        self._observer.gpus.judge(records.values(), self._observer.collect())
        for record in records.values():
            record.note_differences()
        if self._settings.profile:
            self._profile(records)
        asleep = suspended_s() - suspended
        if asleep > _SUSPENDED_S:
            for record in records.values():
                text = f"the machine was suspended for {asleep:.1f} s while the cohort was measured; measure it again"
                record.last.warn("H01", asleep, _SUSPENDED_S, text)
        return references.name

    def _profile(self, records: Mapping[str, Record]) -> None:
        """Profile the cases that have a number. All is measured: a wish to stop ends this, and takes nothing away."""
        for record in records.values():
            if record.failure is None and self._stop.reason is None:
                self._notify(Stage(f"{record.last.name}: profiling"))
                with self._stop.deferred():
                    layers.profile(record.last, self._loader.subject(record.case))

    def _judge_telemetry(self, records: Mapping[str, Record]) -> None:
        """Find out what the samplers cost, from the rounds of all cases and invocations."""
        if self._observer.pauses is None:
            return
        medians = itertools.chain.from_iterable(record.round_medians for record in records.values())
        effect, finding = self._observer.pauses.judge(medians)
        for record in records.values():
            record.telemetry_cost = effect.value - 1.0 if effect else None
            if finding is not None:
                record.last.warn(*finding)

    def _numbers(self, cohort: Cohort, records: Mapping[str, Record]) -> Iterator[int]:
        """Yield the numbers of the invocations: as many as are wanted, or until a comparison is settled."""
        if self._question is None:
            yield from range(self._settings.rule.invocations)
            return
        for number in itertools.count():
            if self._question.settled(cohort.cohort_id, records, number):
                return
            yield number

    def _close(self, cohort: Cohort) -> None:
        for session_id in {case.session.session_id for case in cohort.runnable}:
            self._sessions[session_id].close()

    def _invoke(
        self,
        cases: Sequence[Case],
        number: int,
        references: References,
        records: dict[str, Record],
        later: list[Case],
        seed: int,
    ) -> None:
        """Measure cases in one process each, in groups that are interleaved."""
        waiting = [
            (group, self._settings.interleave) for group in grouped(cases, self._settings.interleave, self._reference)
        ]
        restarts: Counter[str] = Counter()
        next_round = 0
        while waiting:
            cases, interleave = waiting.pop(0)
            members, deferred = self._loader.open(cases, interleave, number, references, records)
            if deferred:
                waiting.append((deferred, "session"))
            group = Group(
                members,
                records,
                inputs=lambda member: self._loader.subject(member.case).inputs,
                load=self._loader.again,
                settings=self._settings,
                budget=self._budget,
                stop=self._stop,
                others=self._others,
                notify=self._notify,
                failures=self._loader.failures,
                observer=self._observer,
                rounds=ROUNDS if self._question else None,
                first_round=next_round,
            )
            group.conduct([case for cases, _ in waiting for case in cases] + later, seed + 1000 * number)
            next_round = group.next_round + group.next_round % 2  # rounds with and without samplers come in pairs
            self._loader.check(members, references, "after")
            lost = [member for member in members if member.alive and member.lost]
            if deferred:  # there was no memory for them beside this group
                for member in members:
                    member.session.close()
            again = [member for member in lost if restarts[member.case.session.session_id] < MAX_RESTARTS]
            if again:  # another case of their session took the worker down
                restarts.update({member.case.session.session_id for member in again})
                waiting.append(([member.case for member in again], interleave))
            for member in lost:
                if member not in again:
                    member.session.close()
                    member.fail(member.session.death or WorkerCrashed("its worker was lost again"))

    # --- ends ---------------------------------------------------------------------------------------------------

    def _measured(
        self,
        cohort: Cohort,
        state: State,
        records: Mapping[str, Record],
        reference: str | None,
        *,
        interrupted: str | None = None,
    ) -> Measured:
        made = tables.tables(
            cohort,
            records,
            self._subjects,
            reference=reference or self._reference,
            run_folder=self._run_folder,
            interrupted=interrupted,
        )
        if self._question is not None and interrupted is None:
            made["comparisons"] = self._question.rows(cohort.cohort_id, records)
        made["telemetry"] = self._observer.take(cohort.cohort_id)
        for row in made["cases"]:
            self._notify(CaseDone(dict(row)))  # who listens must not change what is stored
        return Measured(cohort_id=cohort.cohort_id, state=state, tables=made)

    def _release(self, index: int, records: Mapping[str, Record]) -> None:
        """Close what no later cohort needs; a worker that cannot even close is started anew for the next one."""
        later = [case for cohort in self._plan.cohorts[index + 1 :] for case in cohort.runnable]
        for session_id, session in self._sessions.items():
            keys = {case.instance_key for case in later if case.session.session_id == session_id}
            mine = [record.last for record in records.values() if record.last.session is session]
            dropped = session.take_dropped_bytes()
            if dropped:
                for member in mine:
                    member.warn(
                        "L01", dropped, 0, f"{dropped} bytes of its log were dropped: it is timed while it prints"
                    )
            try:
                session.keep_only(keys)
                judge.add_left(mine)
            except CaseError as error:
                for member in mine:
                    member.warn("R03", None, None, f"closing it failed, its worker was ended: {error.message}")
                session.close()
