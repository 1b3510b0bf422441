"""The hooks by which plugins enter, all on one page. Called in the parent only, never in a worker.

A plugin is a module, named by an entry point in the group `benchfw`, whose functions carry `@hookimpl`:

    from benchfw.spec.hooks import hookimpl

    @hookimpl
    def benchfw_register_backends() -> list[BackendInfo]: ...

A hook may take fewer arguments than its specification has, and return None for nothing.

**Registration**, `benchfw_register_*`: called once per process, before anything else. It returns light data and imports
no framework; classes are named by strings. A raise, a name that another plugin has registered, a field that is not what
its class says, or a registration that was written for a newer contract makes the whole plugin broken: nothing of it is
used, `benchfw backends` lists it with the reason, and everything else works. So does a module without any hook.

**During a run**, the others: called where the run takes place, which may be another machine (see `Executor`), and
between blocks, so that they disturb no measurement; but the run waits for them. What a raise means stands with each.

What a plugin prints goes to stderr. `sys.exit` counts as a raise; a KeyboardInterrupt is the user's and ends the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from benchfw.spec.artifact import FormatInfo, ModelSourceInfo, StepInfo
    from benchfw.spec.backend import BackendInfo
    from benchfw.spec.command import CommandInfo
    from benchfw.spec.events import Event
    from benchfw.spec.executor import ExecutorInfo
    from benchfw.spec.plan import PlanEdit, PlannedCase
    from benchfw.spec.sampler import SamplerInfo

PROJECT = "benchfw"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# --- registration ---------------------------------------------------------------------------------------------------


@hookspec
def benchfw_register_backends() -> list[BackendInfo]:  # type: ignore[empty-body]
    """Return backends: what runs a model. Their classes live in workers."""


@hookspec
def benchfw_register_model_sources() -> list[ModelSourceInfo]:  # type: ignore[empty-body]
    """Return schemes of model references (`onnx:`), and what resolves them. Their classes live in workers."""


@hookspec
def benchfw_register_steps() -> list[StepInfo]:  # type: ignore[empty-body]
    """Return conversions between artifact formats. Their classes live in workers."""


@hookspec
def benchfw_register_formats() -> list[FormatInfo]:  # type: ignore[empty-body]
    """Return formats of artifacts, and what tells of their files (`benchfw inspect`). Their classes live in workers."""


@hookspec
def benchfw_register_executors() -> list[ExecutorInfo]:  # type: ignore[empty-body]
    """Return ways to run a scenario elsewhere, or otherwise, than `local` does. Their classes live in the parent."""


@hookspec
def benchfw_register_samplers() -> list[SamplerInfo]:  # type: ignore[empty-body]
    """Return sources of telemetry. Their classes live in the sampler process."""


@hookspec
def benchfw_register_commands() -> list[CommandInfo]:  # type: ignore[empty-body]
    """Return commands of the command line. They are imported in the parent when they are called."""


# --- during a run ---------------------------------------------------------------------------------------------------


@hookspec
def benchfw_edit_plan(scenario: Mapping[str, Any], cases: Sequence[PlannedCase]) -> PlanEdit | None:
    """Skip cases or move cohorts to the front. Called when the plan is made, also by `benchfw plan` and `--resume`.

    A raise, or an edit that names what is not in the plan, ends the command with an error: measuring something else
    than what was meant is worse than measuring nothing.

    Args:
        scenario: The scenario as plain values.
        cases: All cases, in the order in which they would be measured.
    """


@hookspec
def benchfw_add_metadata(scenario: Mapping[str, Any], root: Path) -> Mapping[str, Any]:  # type: ignore[empty-body]
    """Return facts about this run for its manifest, JSON values only. Called once, when a run begins, not when resumed.

    They stand under `metadata` and the plugin's name. A raise, or something that JSON cannot hold, is written there in
    their place, and the run goes on.

    Args:
        scenario: The scenario as plain values.
        root: Folder of the scenario file.
    """


@hookspec
def benchfw_on_event(event: Event) -> None:
    """Be told what happens in a run: one of the classes of `benchfw.spec.events`.

    A raise is told to the user, once, and this plugin is told nothing more in this run; the run goes on.
    """
