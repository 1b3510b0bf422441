"""Two scenarios as the arms of one comparison: their plans, merged into cohorts that hold both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchfw.errors import UsageError
from benchfw.scenario.load import Loaded
from benchfw.scenario.plan import Case, Cohort, Plan

BASELINE, CONTROL, CANDIDATE = "a", "control", "b"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Cases of one cohort that are compared, by their `case_id`.

    Attributes:
        cohort_id: The cohort.
        baseline: Of arm `a`.
        control: The same once more, in another process: what differs between these two is noise.
        candidate: Of arm `b`.
    """

    cohort_id: str
    baseline: str
    control: str
    candidate: str


def only(loaded: Loaded, backends: frozenset[str]) -> Loaded:
    """Return a scenario with some of its backends alone, the reference included in what goes; all for none named."""
    if not backends:
        return loaded
    scenario = loaded.scenario
    kept = [entry for entry in scenario.backend if entry.label in backends]
    reference = scenario.accuracy.reference
    accuracy = scenario.accuracy
    if reference not in backends:
        accuracy = accuracy.model_copy(update={"reference": None})
    return replace(loaded, scenario=scenario.model_copy(update={"backend": kept, "accuracy": accuracy}))


def arm_of(plan: Plan, arm: str) -> Plan:
    """Return a plan whose sessions and cases carry the name of an arm."""
    return Plan(
        cohorts=tuple(
            replace(cohort, cases=tuple(_labelled(case, arm) for case in cohort.cases)) for cohort in plan.cohorts
        )
    )


def _labelled(case: Case, arm: str) -> Case:
    session = replace(case.session, session_id=f"{arm}-{case.session.session_id}", arm=arm)
    return replace(case, case_id=f"{arm}/{case.case_id}", session=session)


def merge(a: Plan, b: Plan) -> tuple[Plan, list[Pair]]:
    """Return the plan of both arms and the control, and what is compared with what.

    Arms of one session each are compared whatever these are called; of several, those of the same name and precision.

    Args:
        a, b: Plans of the arms, not labelled yet.

    Raises:
        UsageError: The arms have different shapes or sessions.
    """
    ours, theirs = ({cohort.cohort_id: cohort for cohort in plan.cohorts} for plan in (a, b))
    if set(ours) != set(theirs):
        alone = ", ".join(sorted(set(ours) ^ set(theirs)))
        raise UsageError(f"only one of the arms has the shapes {alone}", hint="give both the same sweeps and shapes")
    cohorts, pairs = [], []
    for cohort_id, cohort in ours.items():
        found = list(_partners(cohort, theirs[cohort_id]))
        labelled = [_labelled(mine, arm) for arm in (BASELINE, CONTROL) for mine, _ in found]
        labelled += [_labelled(other, CANDIDATE) for _, other in found]
        cohorts.append(Cohort(cohort_id=cohort_id, cases=tuple(labelled)))
        pairs += [
            Pair(
                cohort_id=cohort_id,
                baseline=_labelled(mine, BASELINE).case_id,
                control=_labelled(mine, CONTROL).case_id,
                candidate=_labelled(other, CANDIDATE).case_id,
            )
            for mine, other in found
        ]
    return Plan(cohorts=tuple(cohorts)), pairs


def _partners(mine: Cohort, theirs: Cohort) -> Iterator[tuple[Case, Case]]:
    if len(mine.cases) == len(theirs.cases) == 1:
        yield mine.cases[0], theirs.cases[0]
        return
    others = {_key(case): case for case in theirs.cases}
    keys = [_key(case) for case in mine.cases]
    if set(keys) != set(others):
        alone = ", ".join(sorted({f"{name} ({kind})" for name, kind in set(keys) ^ set(others)}))
        raise UsageError(
            f"only one of the arms has {alone}", hint="choose one backend per arm: --a backend=NAME --b backend=NAME"
        )
    for key, case in zip(keys, mine.cases, strict=True):
        yield case, others[key]


def _key(case: Case) -> tuple[str, str]:
    """Return what makes a case the partner of another one: its session, and its artifact with what is timed of it."""
    return case.session.session_id, " ".join(filter(None, (case.artifact_kind, case.device_label)))
