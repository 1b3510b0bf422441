"""`benchfw plan`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchfw.cli import completers, options

if TYPE_CHECKING:
    from benchfw.plugins import Registry
    from benchfw.scenario import Case, Loaded, Plan

_LEAST_S = 1.0
"""Warm-up and the three rounds that a case gets even if the budget is too small for them."""


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path), shell_complete=completers.scenarios)
@options.backend
@options.sweep
@options.effort
@options.overrides
@options.json_output
def command(
    scenario: Path,
    backend: tuple[str, ...],
    sweep: tuple[str, ...],
    effort: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    """Show the cases, cohorts, artifact routes, skips and the time of SCENARIO, without running anything."""
    from benchfw.cli import session
    from benchfw.cli.console import print_json
    from benchfw.cli.text import say
    from benchfw.executors.options import backend_options
    from benchfw.executors.unused import unused_tables
    from benchfw.gpu.presence import has_gpu
    from benchfw.scenario import make_plan
    from benchfw.scenario.edits import edited, planned_cases

    registry, loaded = session.load_scenario(scenario, overrides, backend)
    plan = make_plan(
        loaded.scenario,
        backends=registry.backends,
        options=backend_options(registry, registry.backends),
        only_backends=frozenset(backend),
        only_sweeps=frozenset(sweep),
        has_gpu=has_gpu(),
    )
    plan = edited(plan, registry.plan_edits(loaded.document, planned_cases(plan)))
    chosen = effort or loaded.scenario.measure.effort
    rows = [_row(case, registry, loaded) for case in plan.cases]
    warnings = unused_tables([loaded.scenario], registry)
    if as_json:
        told = {"scenario": loaded.scenario.name, "model": loaded.scenario.model.ref, "runs_code": _runs_code(loaded)}
        print_json({**told, "cases": rows, "seconds": _estimate(plan, loaded, chosen), "warnings": warnings})
    else:
        _show(plan, rows, loaded, chosen)
        for text in warnings:
            say(text)
    return 0


def _row(case: Case, registry: Registry, loaded: Loaded) -> dict[str, Any]:
    status, reason, route = case.status, case.reason, ""
    if case.session.info is not None:  # also of a case that is skipped here: another machine may have the device
        why_not, said, route = _route(case, registry, loaded)
        status, reason = (status, reason) if status is not None else (why_not, said)
    return {
        "cohort": case.cohort_id,
        "case_id": case.case_id,
        "session": case.session.session_id,
        "sweep": "+".join(case.sweeps),
        "route": route,
        "status": status or "planned",
        "reason": reason,
        "remedy": case.remedy,
    }


def _route(case: Case, registry: Registry, loaded: Loaded) -> tuple[str | None, str, str]:
    """Return the status, reason and artifact route of a case."""
    from benchfw.artifacts import Wanted, find_route
    from benchfw.artifacts.routes import FULL, precisions_along
    from benchfw.errors import Unsupported

    scheme = loaded.scenario.model.ref.partition(":")[0]
    source = registry.model_source(scheme)
    info = case.session.info
    assert info is not None
    static = case.profile.static and bool(case.profile.axes)
    wanted = Wanted.by(info, case.session.precision, specialize=static, given=case.session.steps)
    try:
        route = find_route(source.format, wanted, registry.steps.values())
    except Unsupported as error:
        return error.status, error.message, ""
    places, precision = [source.format], FULL
    reached = precisions_along(route, FULL, wanted.precision or FULL)
    for step, after in zip(route, reached, strict=True):
        before, precision = precision, after
        options = _options_text(case.session.steps.get(step.name, {}))
        places.append(f"{step.target}{f' in {precision}' if precision != before else ''} ({step.name}{options})")
    return None, "", " -> ".join(places)


def _options_text(options: Mapping[str, Any]) -> str:
    """Return the options that the scenario gives for a step, as they follow its name."""
    texts = [f"{name} = {json.dumps(value, default=str)}" for name, value in options.items()]
    return f": {', '.join(texts)}" if texts else ""


def _estimate(plan: Plan, loaded: Loaded, effort: str) -> tuple[float, float]:
    """Return the least and the most seconds of warm-up and blocks."""
    from benchfw.executors.run import settings_of

    rule = settings_of(loaded.scenario, effort).rule
    cases = sum(len(cohort.runnable) for cohort in plan.cohorts)
    budget = loaded.scenario.measure.budget
    warm_up = rule.invocations * _LEAST_S
    least = cases * (warm_up if budget else rule.min_time + warm_up)
    most = cases * (rule.max_time + rule.invocations * rule.settle_time)
    return least, max(least, min(most, budget or most))


def _show(plan: Plan, rows: list[dict[str, Any]], loaded: Loaded, effort: str) -> None:
    from benchfw.cli.console import literal, make_console

    console = make_console()
    scenario = loaded.scenario
    runs_code = " (runs your code)" if _runs_code(loaded) else ""
    console.print(literal(f"{scenario.name}: {scenario.model.ref}{runs_code}", style="bold"))
    for cohort in plan.cohorts:
        console.print()
        console.print(literal(f"cohort {cohort.cohort_id}"))
        for row in rows:
            if row["cohort"] == cohort.cohort_id and row["status"] == "planned":
                console.print(literal(f"  {row['case_id']}  {row['sweep']}  {row['route']}"), soft_wrap=True)
    skips: dict[str, None] = {}
    for row in rows:
        if row["status"] != "planned":
            remedy = f"; {row['remedy']}" if row["remedy"] else ""
            route = f"; its route: {row['route']}" if row["route"] and row["status"] == "SKIPPED" else ""
            skips[f"{row['status']} {row['session']}: {row['reason']}{remedy}{route}"] = None
    if skips:
        console.print()
    for line in skips:
        console.print(literal(line, lines=True), soft_wrap=True)
    least, most = _estimate(plan, loaded, effort)
    planned = sum(row["status"] == "planned" for row in rows)
    console.print()
    console.print(
        f"{_count(planned, 'case')} to measure in {_count(len(plan.cohorts), 'cohort')}, "
        f"{_duration(least)} to {_duration(most)} at effort {effort}; export, compilation and loading come on top",
        soft_wrap=True,
    )


def _runs_code(loaded: Loaded) -> bool:
    return loaded.scenario.model.ref.startswith("python:")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
