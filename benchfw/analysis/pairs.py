"""Which case is compared with which: the same case of two runs, cases of one run by a label, arms of `benchfw ab`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchfw.analysis.labels import BY, Difference, label_differences, run_differences
from benchfw.analysis.runs import Row, Run
from benchfw.errors import UsageError
from benchfw.store.export import did_you_mean

DISTURBED = frozenset({"CONTENDED", "THROTTLED", "UNSTABLE"})
"""Verdicts of numbers that something else had a hand in."""

NOT_MEASURED = frozenset({"SKIPPED", "UNSUPPORTED"})
"""Statuses of cases that were not meant to be measured here."""

_ARTIFACT_LABELS = frozenset({"precision", "profile"})
"""Labels that cases of one `[[backend]]` differ in; the others are those of two."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A case and its baseline.

    Attributes:
        run, baseline_run: Their runs; one and the same for cases that took turns.
        case, baseline: Their rows; None for one that is missing there.
        control: Row of the case that repeats the baseline in the same run, whose difference is noise.
        differences: What differs between their labels and machines.
    """

    run: Run
    baseline_run: Run
    case: Row | None
    baseline: Row | None
    control: Row | None = None
    differences: Sequence[Difference] = field(default=())

    @property
    def known(self) -> Row:
        """The row that names the pair: the case's, or its baseline's where that is missing."""
        found = self.case or self.baseline
        assert found is not None
        return found

    @property
    def took_turns(self) -> bool:
        """Whether both were measured in the same rounds."""
        case, baseline = self.case or {}, self.baseline or {}
        turns = case.get("interleave")
        if self.run is not self.baseline_run or turns != baseline.get("interleave"):
            return False
        return turns == "all" or (turns == "session" and case.get("session_id") == baseline.get("session_id"))

    @property
    def of_arms(self) -> bool:
        """Whether they are arms of one comparison."""
        return self.run is self.baseline_run and (self.case or {}).get("arm") == "b"

    def obstacle(self, *, force: bool) -> str | None:
        """Return why the two cannot be compared, if they cannot; `force` passes over labels and disturbances."""
        for row, where, run in ((self.baseline, "baseline", self.baseline_run), (self.case, "case", self.run)):
            if row is None:
                return f"the {where} is missing in {run.run_id}"
            if row.get("status") != "OK":
                return f"the {where} is {row.get('status')}: {row.get('status_reason') or 'it gives no reason'}"
            if row.get("verdict") == "NO_STEADY_STATE":
                return f"the {where} is NO_STEADY_STATE: {row.get('verdict_reason') or 'it gives no reason'}"
        return None if force else self._refused()

    def objections(self) -> list[str]:
        """Return what forbids a comparison unless somebody insists."""
        found = [str(item) for item in self.differences if item.refused]
        verdicts = [(row or {}).get("verdict") for row in (self.baseline, self.case)]
        disturbed = DISTURBED.intersection(verdicts)
        if disturbed and (verdicts[0] != verdicts[1] or "CONTENDED" in disturbed):
            found.append(f"verdict {verdicts[0]} → {verdicts[1]}")
        return found

    def _refused(self) -> str | None:
        found = self.objections()
        return f"not comparable: {', '.join(found)}" if found else None


def across(runs: Sequence[Run], baseline: Run) -> Iterator[Pair]:
    """Yield each case of each other run with the same case of the baseline, missing ones included."""
    for run in runs:
        if run is baseline:
            continue
        facts = run_differences(baseline, run)
        for case_id in dict.fromkeys([*baseline.cases, *run.cases]):
            case, base = run.cases.get(case_id), baseline.cases.get(case_id)
            labels = label_differences(base, case) if case and base else []
            yield Pair(
                run=run, baseline_run=baseline, case=case, baseline=base, differences=_refused_first(labels + facts)
            )


def within(run: Run, by: str, value: str | None = None) -> Iterator[Pair]:
    """Yield each case of a run with the case of its cohort that has the baseline's value of a label.

    Of several that could be its baseline it is the one that differs in the fewest labels.

    Args:
        run: The run.
        by: The label, one of `BY`.
        value: The baseline's value; by default that of the run's first case.

    Raises:
        UsageError: There is no such label or value.
    """
    if by not in BY:
        raise UsageError(f"cases cannot be compared by {by!r:.80}{did_you_mean(by, BY)}", hint=f"by {', '.join(BY)}")
    values = list(dict.fromkeys(_text(row, by) for row in run.cases.values()))
    if value is None:
        value = values[0] if values else ""
    if value not in values:
        shown = ", ".join(f"{item:.40}" for item in values)
        raise UsageError(f"no case of {run.run_id} has {by} {value!r:.80}", hint=f"there are: {shown}")
    bases = [row for row in run.cases.values() if _text(row, by) == value]
    for case in run.cases.values():
        if _text(case, by) == value:
            continue
        fitting = [row for row in bases if _fits(row, case, by)]
        compared = [(_differences(row, case, by), row) for row in fitting]
        compared.sort(key=lambda item: (_count_refused(item[0]), len(item[0])))
        differences, base = compared[0] if compared else ([], None)
        yield Pair(run=run, baseline_run=run, case=case, baseline=base, differences=differences)


def arms(run: Run) -> Iterator[Pair]:
    """Yield each case of arm `b` of a run of `benchfw ab` with its case of arm `a`, and what repeats that.

    The table `comparisons` says which; a case that it does not name goes with the one of its cohort that has the same
    name, precision and profile.
    """
    partner = {str(row.get("case_id")): str(row.get("baseline")) for row in run.comparisons}
    by_arm: dict[str, list[Row]] = {"a": [], "b": [], "control": []}
    for row in run.cases.values():
        by_arm.get(str(row.get("arm")), []).append(row)
    for base in by_arm["a"]:
        case = _partner(base, by_arm["b"], partner)
        labels = label_differences(base, case) if case else []
        yield Pair(
            run=run,
            baseline_run=run,
            case=case,
            baseline=base,
            control=_partner(base, by_arm["control"], partner),
            differences=[Difference(item.label, item.baseline, item.current, False) for item in labels],
        )


def _partner(base: Row, rows: list[Row], partner: dict[str, str]) -> Row | None:
    named = [row for row in rows if partner.get(str(row.get("case_id"))) == base.get("case_id")]
    labels = ("cohort", "name", "precision", "profile")
    free = [row for row in rows if row.get("case_id") not in partner]
    alike = [row for row in free if all(row.get(label) == base.get(label) for label in labels)]
    return next(iter([*named, *alike]), None)


def _fits(baseline: Row, case: Row, by: str) -> bool:
    """Say whether one can be the baseline of the other: the same point of the sweep and the same artifact.

    Precisions are labels that must agree, so that the same one is preferred and another one refused. A backend that
    makes no difference between artifacts has the profile `any`, which fits both.
    """
    same = ["cohort", "model"]
    if by in _ARTIFACT_LABELS:
        same.append("name")
    elif by not in ("name", "backend"):
        same.append("backend")
    profiles = {baseline.get("profile"), case.get("profile")}
    fits = by == "profile" or len(profiles) == 1 or "any" in profiles
    return fits and all(baseline.get(label) == case.get(label) for label in same)


def _differences(baseline: Row, case: Row, by: str) -> list[Difference]:
    """Return what differs besides what is compared by."""
    known = {by} if by in _ARTIFACT_LABELS else {by, "name", "backend"}
    return [item for item in label_differences(baseline, case, BY[by]) if item.label not in known]


def _count_refused(differences: Sequence[Difference]) -> int:
    return sum(item.refused for item in differences)


def _refused_first(differences: list[Difference]) -> list[Difference]:
    return sorted(differences, key=lambda item: not item.refused)


def _text(row: Row, label: str) -> str:
    return str(row.get(label))
