"""What commands share that measure one model on one backend at one shape, without a scenario file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchfw import plugins
from benchfw.cli.environments import environment_tables
from benchfw.cli.inputs import find_inputs, named_axes, split_model
from benchfw.environments import Environment
from benchfw.errors import UsageError
from benchfw.executors.options import backend_options, step_options
from benchfw.plugins import Registry
from benchfw.scenario import Loaded, from_document


def load_single(
    name: str,
    model: str,
    backend: str,
    *,
    precision: str,
    batch: int | None,
    sizes: Sequence[str],
    inputs: tuple[str, ...],
    threads: int | None,
    measure: Mapping[str, Any],
    overrides: Sequence[str],
    environment: Environment | None = None,
) -> Loaded:
    """Return the scenario of one case.

    Args:
        name: Of the command, and of the scenario.
        model: Reference of the model.
        backend: Name of the backend.
        precision: Precision to compute in.
        batch: Size of the batch axis; None for 1, or for what the model fixes.
        sizes: `AXIS=N` of other axes.
        inputs: `NAME=DIMxDIM[:DTYPE]`, for models that do not say what their inputs are.
        threads: None for what affinity and quota allow.
        measure: The table `[measure]`.
        overrides: `KEY=VALUE`, as of `--set`.
        environment: Where the backend runs; None for this interpreter.

    Raises:
        UnknownName: No plugin provides the backend or the model's scheme.
        UsageError: Inputs or sizes do not fit the model.
        ScenarioError: The scenario has faults.
        CaseError: The model cannot be resolved.
    """
    registry = plugins.registry()
    registry.backend(backend)
    model = ":".join(split_model(registry, model))
    document: dict[str, Any] = {
        "name": name,
        "model": {"ref": model},
        "backend": [
            {"use": backend, "precision": [precision]} | ({"environment": environment.name} if environment else {})
        ],
        **environment_tables(environment),
        "measure": dict(measure),
        **({"threads": threads} if threads else {}),
    }
    document |= _shapes(registry, model, batch, sizes, inputs, document["model"])
    with registry.explaining():
        return from_document(
            document,
            source=f"benchfw {name}",
            root=Path.cwd(),
            overrides=overrides,
            backends=registry.backends,
            options=backend_options(registry, registry.backends),
            steps=step_options(registry),
            samplers=registry.samplers,
        )


def _shapes(
    registry: Registry,
    model: str,
    batch: int | None,
    sizes: Sequence[str],
    inputs: tuple[str, ...],
    table: dict[str, Any],
) -> dict[str, Any]:
    """Fill in the model's inputs and return `shapes` and the sweep."""
    table["inputs"] = find_inputs(registry, model, inputs, Path.cwd())
    axes = named_axes(table["inputs"])
    leading = next((item["shape"][0] for item in table["inputs"].values() if item["shape"]), None)
    if batch is not None and "batch" not in axes:
        if leading != batch:
            raise UsageError(
                f"--batch {batch}: the model's inputs have a fixed batch of {leading}", hint="leave --batch out"
            )
        batch = None
    wanted = {"batch": batch or 1} | dict(_assignment(text) for text in sizes)
    missing = [axis for axis in axes if axis not in wanted]
    if missing:
        raise UsageError(f"the model's axis {missing[0]!r} has no size", hint=f"--size {missing[0]}=N")
    unknown = [axis for axis in wanted if axis not in axes and axis != "batch"]
    if unknown:
        raise UsageError(f"--size {unknown[0]}: the model has no such axis; it has {', '.join(axes) or 'none'}")
    ranges = {axis: dict.fromkeys(("min", "opt", "max"), wanted[axis]) for axis in axes}
    return {"shapes": ranges, "sweep": [{"kind": "fixed"}]}


def _assignment(text: str) -> tuple[str, int]:
    axis, _, size = text.partition("=")
    if not size.isdecimal() or not int(size):
        raise UsageError(f"--size {text}: is not AXIS=N")
    return axis, int(size)
