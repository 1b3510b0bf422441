"""Tables of a scenario that change nothing: options of steps that do not run, tolerances that nothing is held to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchfw.artifacts import Wanted, find_route
from benchfw.errors import Unsupported
from benchfw.registry import Registry
from benchfw.scenario import Scenario
from benchfw.scenario.schema import BackendEntry
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


def unused_tables(scenarios: Sequence[Scenario], registry: Registry) -> list[str]:
    """Return a warning for each table that changes nothing.

    That is one of options of a step that is on the way to no installed backend it is for, and the tolerance of a
    precision that no backend is asked for. `[steps.NAME]` is for all backends of a scenario, a table `steps.NAME` of a
    backend for that one.

    Args:
        scenarios: Those of one run. The arms of a comparison may be backends of one file: what one of them does not
            need, the other may.
        registry: What plugins provide.
    """
    entries = [(scenario, entry) for scenario in scenarios for entry in scenario.backend]
    routes = [
        (entry, list(_routes(scenario, entry, registry)))
        for scenario, entry in entries
        if (scenario.steps or entry.steps) and entry.use in registry.backends
    ]
    given = dict.fromkeys(name for scenario in scenarios for name in scenario.steps)
    shared = unused(given, registry.steps, [route for _, found in routes for route in found])
    remedy = "ask for a precision or a backend that needs it, or remove the table"
    warnings = [f"warning: [steps.{name}] changes nothing: {why}; {remedy}" for name, why in shared]
    remedy = "ask this backend for a precision that needs it, or remove the table"
    for entry, found in routes:
        where = f"of the backend {entry.label!r}"
        own = unused(entry.steps, registry.steps, found)
        warnings += [f"warning: steps.{name} {where} changes nothing: {why}; {remedy}" for name, why in own]
    asked = {precision for _, entry in entries for precision in entry.precision}
    for name in dict.fromkeys(name for scenario in scenarios for name in scenario.accuracy.tolerance):
        if name not in asked:
            where = f"[accuracy.tolerance.{name}]"
            warnings.append(f"warning: {where} changes nothing: no backend is asked for {name}; remove the table")
    return warnings


def _routes(scenario: Scenario, entry: BackendEntry, registry: Registry) -> Iterator[Route]:
    """Yield all routes that cases of a backend can take from a model in fp32, whatever their sweep."""
    source = registry.model_source(scenario.model.ref.partition(":")[0])
    info = registry.backend(entry.use)
    for precision in entry.precision:
        if precision in info.capabilities.precisions:
            for specialize in (True, False):
                wanted = Wanted.by(info, precision, specialize=specialize, given=scenario.steps_of(entry))
                with contextlib.suppress(Unsupported):
                    yield find_route(source.format, wanted, registry.steps.values())


def _any(names: Sequence[str]) -> str:
    return " or ".join(names)
