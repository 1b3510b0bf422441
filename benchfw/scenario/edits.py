"""What plugins change of a plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from benchfw.errors import PluginError
from benchfw.scenario.plan import Case, Plan
from benchfw.spec.plan import PlanEdit, PlannedCase


def planned_cases(plan: Plan) -> tuple[PlannedCase, ...]:
    """Return a plan as plugins see it."""
    return tuple(
        PlannedCase(
            case_id=case.case_id,
            cohort_id=case.cohort_id,
            backend=case.session.entry.use,
            name=case.session.entry.label,
            precision=case.session.precision,
            environment=case.session.environment,
            sizes=dict(case.sizes),
            sweeps=case.sweeps,
            status=case.status,
        )
        for case in plan.cases
    )


def edited(plan: Plan, edits: Iterable[tuple[str, PlanEdit]]) -> Plan:
    """Apply edits, each with the name of its plugin, in their order.

    Raises:
        PluginError: An edit names what is not in the plan.
    """
    for plugin, edit in edits:
        _check("skips the case", plugin, edit.skip, {case.case_id for case in plan.cases})
        _check("moves the cohort", plugin, edit.first, {cohort.cohort_id for cohort in plan.cohorts})
        places = {cohort_id: place for place, cohort_id in enumerate(edit.first)}
        cohorts = sorted(plan.cohorts, key=lambda cohort: places.get(cohort.cohort_id, len(places)))
        plan = Plan(
            cohorts=tuple(
                replace(cohort, cases=tuple(_skipped(case, plugin, edit) for case in cohort.cases))
                for cohort in cohorts
            )
        )
    return plan


def _check(does: str, plugin: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise PluginError(
                f"the plugin {plugin} {does} {name!r}, which is not in the plan", hint=f"BENCHFW_BLOCK_PLUGINS={plugin}"
            )


def _skipped(case: Case, plugin: str, edit: PlanEdit) -> Case:
    if case.status is not None or case.case_id not in edit.skip:
        return case
    reason = f"the plugin {plugin} left it out: {edit.skip[case.case_id]}"
    return replace(case, status="SKIPPED", reason=reason, remedy=f"BENCHFW_BLOCK_PLUGINS={plugin}")
