"""The hooks by which plugins enter, all on one page. Used in the parent only.

A plugin is a module, named by an entry point in the group `benchfw`, whose functions carry `@hookimpl`:

    from benchfw.spec.hooks import hookimpl

    @hookimpl
    def benchfw_register_backends() -> list[BackendInfo]: ...

Hooks register, classes work: a hook is called once per process, returns light data and imports no framework.
A hook that raises makes its plugin broken: it is listed with the reason and everything else works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from benchfw.spec.artifact import ModelSourceInfo, StepInfo
    from benchfw.spec.backend import BackendInfo

PROJECT = "benchfw"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def benchfw_register_backends() -> list[BackendInfo]:  # type: ignore[empty-body]
    """Return the backends of this plugin. Two plugins with one name: both are named and the second is broken."""


@hookspec
def benchfw_register_model_sources() -> list[ModelSourceInfo]:  # type: ignore[empty-body]
    """Return the schemes of model references that this plugin resolves."""


@hookspec
def benchfw_register_steps() -> list[StepInfo]:  # type: ignore[empty-body]
    """Return the conversions between artifact formats that this plugin can make."""
