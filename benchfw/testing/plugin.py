"""Registers the fake backends: `BENCHFW_PLUGINS=benchfw.testing.plugin`."""

from __future__ import annotations

from benchfw.spec import BackendInfo, Capabilities
from benchfw.spec.hooks import hookimpl


@hookimpl
def benchfw_register_backends() -> list[BackendInfo]:
    return [
        BackendInfo(
            name=name,
            summary=summary,
            factory="benchfw.testing.fakes:FakeBackend",
            options="benchfw.testing.options:FakeOptions",
            accepts=("*",),
            provider="fake",
            capabilities=Capabilities(precisions=("fp32", "fp16"), specializes=specializes),
        )
        for name, summary, specializes in (
            ("fake", "a backend for tests; one artifact serves all shapes", False),
            ("fake-special", "a backend for tests; artifacts are made for shapes", True),
        )
    ]
