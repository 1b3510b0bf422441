"""From a case to a member that can be measured: its artifact is made, loaded and bound, its outputs are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager

from benchfw.errors import CaseError
from benchfw.measure import warmup
from benchfw.measure.exhausted import Exhausted, memory_is_short
from benchfw.measure.failures import failures, told_later
from benchfw.measure.gates import providers
from benchfw.measure.lanes import Load
from benchfw.measure.member import Member
from benchfw.measure.observer import Observer
from benchfw.measure.record import Record
from benchfw.measure.references import References
from benchfw.measure.session import LiveSession
from benchfw.measure.settings import Settings
from benchfw.measure.subject import Subject
from benchfw.scenario import Case
from benchfw.spec.events import Event, Stage


class Loader:
    """Loads the cases of a plan, each in the worker of its session.

    Args:
        sessions: The workers, by `session_id`.
        subjects: What each session runs, likewise.
        settings: How much is measured.
        observer: Watches the machine.
        reference: Name of the backend whose outputs the others are compared with.
        exhausted: Cases that ran out of memory in an earlier attempt.
        notify: Told what happens.
    """

    def __init__(
        self,
        sessions: Mapping[str, LiveSession],
        subjects: Mapping[str, Subject],
        *,
        settings: Settings,
        observer: Observer,
        reference: str | None,
        exhausted: Iterable[Case],
        notify: Callable[[Event], None],
    ) -> None:
        self._sessions = sessions
        self._subjects = subjects
        self._settings = settings
        self._observer = observer
        self._reference = reference
        self._exhausted = Exhausted()
        for case in exhausted:
            self._exhausted.note(case)
        self._notify = notify

    def subject(self, case: Case) -> Subject:
        """Return what a case's session runs."""
        return self._subjects[case.session.session_id]

    def make_all(self, cases: Iterable[Case]) -> None:
        """Make every artifact before anything is measured; what fails is told again when its case is loaded."""
        for case in cases:
            if case.status is None:
                with told_later():
                    self._sessions[case.session.session_id].open_device()
                    for build in range(self._settings.rule.builds):
                        self.subject(case).make(case, build)
        for subject in self._subjects.values():
            subject.builder.end_worker()

    def can_load(self, case: Case) -> bool:
        """Say whether a case that was skipped can be loaded now, or fails of something else, which is to be told."""
        session = self._sessions[case.session.session_id]
        try:
            with told_later(but="SKIPPED"):
                self._exhausted.spare(case)
                session.instance(case, lambda: self.subject(case).make(case))
        except CaseError:
            return False
        return True

    def open(
        self,
        cases: Sequence[Case],
        interleave: str,
        number: int,
        references: References,
        records: dict[str, Record],
    ) -> tuple[list[Member], list[Case]]:
        """Load, bind and check cases one by one while there is memory; return them and those to be deferred."""
        group: list[Member] = []
        for place, case in enumerate(cases):
            session = self._sessions[case.session.session_id]
            if group and not session.is_open and memory_is_short(self._sessions.values()):
                for member in group:
                    member.interleave = "session"
                return group, list(cases[place:])
            member = Member(case, session, self._settings, self._observer, number=number, interleave=interleave)
            group.append(member)
            records.setdefault(case.case_id, Record(case)).members[number] = member
            self._load_member(member)
            self.check([member], references, "before")
            if self._reference and references.name not in (None, self._reference):
                member.warn("R01", None, None, f"{self._reference} gave no outputs: {references.name} is the reference")
        return group, []

    def _load_member(self, member: Member) -> None:
        case, subject = member.case, self.subject(member.case)
        with self.failures(member):
            self._exhausted.spare(case)
            self._notify(Stage(f"{member.name}: loading"))
            instance = member.session.instance(case, lambda: subject.make(case, member.build))
            for note in instance.made.notes:
                member.warn("A01", None, None, f"made again: {note}")
            for text in instance.made.warnings:
                member.warn("A02", None, None, text)
            member.bind(instance, subject.inputs, subject.model.io.inputs if subject.model.io else ())
            warmup.first_calls(member)
            member.read_facts()
            providers.check(member)

    def again(self, member: Member) -> Load:
        """Return what loads the artifact of a member in another worker of its session."""
        return lambda session: session.instance(
            member.case, lambda: self.subject(member.case).make(member.case, member.build)
        )

    def failures(self, member: Member) -> AbstractContextManager[None]:
        """Turn what goes wrong with a member into the status of its row; see `failures.failures`."""
        return failures(member, self._exhausted)

    def check(self, members: Sequence[Member], references: References, moment: str) -> None:
        """Compare the outputs of those that can be asked for them, `before` or `after` the timing."""
        for member in members:
            if member.ready:
                subject = self.subject(member.case)
                with self.failures(member):
                    references.check(member, moment, subject.inputs, subject.model.model_hash)
