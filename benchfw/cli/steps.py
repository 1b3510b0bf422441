"""Options of artifact steps as the command line gives them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchfw.plugins import Registry


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
