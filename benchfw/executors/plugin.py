"""Registers the executor of this machine. Light: imported with every command."""

from __future__ import annotations

from benchfw.spec.executor import ExecutorInfo
from benchfw.spec.hooks import hookimpl


@hookimpl
def benchfw_register_executors() -> list[ExecutorInfo]:
    return [
        ExecutorInfo(
            name="local", summary="on this machine, one run at a time", factory="benchfw.executors.local:LocalExecutor"
        )
    ]
