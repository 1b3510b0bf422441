"""Options of steps that change nothing, because nothing is made by these steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchfw.artifacts import Wanted, find_route
from benchfw.errors import Unsupported
from benchfw.registry import Registry
from benchfw.scenario import Scenario
from benchfw.spec.artifact import StepInfo

Route = Sequence[StepInfo]


def unused(given: Iterable[str], steps: Mapping[str, StepInfo], routes: Iterable[Route]) -> Iterator[tuple[str, str]]:
    """Yield the steps that are on none of these routes, each with a sentence that says why it does not run.

    Args:
        given: Names of the steps that somebody has given options.
        steps: Every step that plugins provide.
        routes: From the model to what is wanted.
    """
    running = dict.fromkeys(step.name for route in routes for step in route)
    for name in given:
        if name in steps and name not in running:
            step = steps[name]
            makes = f"{step.target}{f' in {_any(step.makes)}' if step.makes else ''} of {step.source}"
            others = f"these do: {', '.join(running)}" if running else "no step does"
            yield name, f"{name} does not run, which makes {makes}; {others}"


def unused_tables(scenario: Scenario, registry: Registry) -> list[str]:
    """Return a warning for each table `[steps.NAME]` whose step is on the way to no installed backend of a scenario."""
    if not scenario.steps:
        return []
    found = unused(scenario.steps, registry.steps, list(_routes(scenario, registry)))
    remedy = "ask for a precision or a backend that needs it, or remove the table"
    return [f"warning: [steps.{name}] changes nothing: {why}; {remedy}" for name, why in found]


def _routes(scenario: Scenario, registry: Registry) -> Iterator[Route]:
    """Yield all routes that cases can take from a model in fp32, whatever their sweep."""
    source = registry.model_source(scenario.model.ref.partition(":")[0])
    infos = ((entry, registry.backends.get(entry.use)) for entry in scenario.backend)
    wishes = (
        Wanted.by(info, precision, specialize=specialize, asked=scenario.steps)
        for entry, info in infos
        if info is not None
        for precision in entry.precision
        if precision in info.capabilities.precisions
        for specialize in (True, False)
    )
    for wish in wishes:
        try:
            yield find_route(source.format, wish, registry.steps.values())
        except Unsupported:
            continue


def _any(names: Sequence[str]) -> str:
    return " or ".join(names)
