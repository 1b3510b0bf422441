"""Asks a model for its inputs and outputs, without a scenario."""

from __future__ import annotations

from pathlib import Path

from benchfw.artifacts import Builder, Cache
from benchfw.environments import Environment
from benchfw.executors.scratch import scratch
from benchfw.plugins import Registry
from benchfw.requirements import distributions
from benchfw.spec.tensors import IoSpec
from benchfw.supervisor import Worker, hand_over


def describe_model(registry: Registry, ref: str, root: Path) -> IoSpec | None:
    """Resolve a model for its inputs and outputs alone; None where its source does not know them.

    Raises:
        UnknownName: No plugin provides the scheme.
        CaseError: The model cannot be resolved.
    """
    scheme, _, target = ref.partition(":")
    source = registry.model_source(scheme)
    with scratch(Path.cwd()) as folder:
        code = hand_over(folder / "code", {source.factory})
        builder = Builder(
            start=lambda: Worker(
                python=Environment().python,
                code=code,
                log=folder / "log",
                distributions=distributions(source.requires),
            ),
            cache=Cache.default(),
            steps={},
            options=lambda name, preset: {},
            timeout=1200.0,
        )
        try:
            return builder.resolve(source, target, root=root, seed=0, weights=None).io
        finally:
            builder.close()
