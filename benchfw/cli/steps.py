"""Options of artifact steps as the command line gives them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchfw.artifacts import Wanted
    from benchfw.plugins import Registry
    from benchfw.spec.artifact import Artifact


def given_options(registry: Registry, step: str, overrides: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the options that `--set` gives, by the names of steps.

    Args:
        registry: What plugins provide.
        step: The step that `KEY=VALUE` is for.
        overrides: `KEY=VALUE`, or `STEP.KEY=VALUE` for another step.

    Raises:
        ScenarioError: They are not what the steps take; it has the nearest valid name.
    """
    from benchfw.errors import ScenarioError
    from benchfw.executors.options import step_options
    from benchfw.scenario.checks import step_faults
    from benchfw.scenario.load import override

    document: dict[str, Any] = {"steps": {}}
    for assignment in overrides:
        place = "" if "." in assignment.partition("=")[0] else f"{step}."
        override(document, f"steps.{place}{assignment}")
    with registry.explaining():
        faults = list(step_faults(document["steps"], step_options(registry)))
        if faults:
            raise ScenarioError("--set", faults)
    return dict(document["steps"])


def check_given(registry: Registry, model: Artifact, wanted: Wanted, given: Iterable[str]) -> None:
    """Refuse options of steps that do not run on the way from a model to what is wanted.

    Args:
        registry: What plugins provide.
        model: The model, whose precision may spare a step.
        wanted: What is made of it.
        given: Names of the steps that somebody has given options.

    Raises:
        UsageError: One of them does not run.
        Unsupported: There is no way.
    """
    from benchfw.artifacts import find_route
    from benchfw.errors import UsageError
    from benchfw.executors.unused import unused

    route = find_route(model.format, wanted, registry.steps.values(), precision=model.precision)
    for name, why in unused(given, registry.steps, [route]):
        makes = registry.steps[name].makes
        hint = f"--precision {makes[0]} asks for it, or leave the option out" if makes else "leave the option out"
        raise UsageError(f"--set {name}.…: {why}", hint=hint)
