"""`benchfw time`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchfw.cli import options

if TYPE_CHECKING:
    from benchfw.plugins import Registry


@click.command()
@click.argument("model")
@click.option("--backend", required=True, metavar="NAME", help="Backend, as in `benchfw backends`.")
@click.option("--batch", type=click.IntRange(min=1), default=None, help="Size of the batch axis.  [default: 1]")
@click.option("--precision", default="fp32", show_default=True, help="Precision to compute in.")
@click.option("--size", "sizes", multiple=True, metavar="AXIS=N", help="Size of another named axis; repeatable.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=DIMxDIM[:DTYPE]",
    help="An input, for models that do not say what theirs are, as in --input x=batchx3x224x224.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads.  [default: what affinity and quota allow]")
@options.effort
@options.overrides
@options.out
@options.no_wait
@options.allow_shared
@options.json_output
def command(
    model: str,
    backend: str,
    batch: int | None,
    precision: str,
    sizes: tuple[str, ...],
    inputs: tuple[str, ...],
    threads: int | None,
    effort: str | None,
    overrides: tuple[str, ...],
    out: Path,
    no_wait: bool,
    allow_shared: bool,
    as_json: bool,
) -> int:
    """Time MODEL (onnx:PATH, builtin:NAME, python:MODULE:CALLABLE) on one backend, at one shape.

    Inputs are read from the model where it says what they are; the leading named axis of the first one is the batch.
    """
    from benchfw import plugins
    from benchfw.cli import session
    from benchfw.cli.console import report
    from benchfw.executors.local import backend_options, step_options
    from benchfw.scenario import from_document
    from benchfw.spec.executor import Job

    registry = plugins.registry()
    registry.backend(backend)
    document: dict[str, Any] = {
        "name": "time",
        "model": {"ref": model},
        "backend": [{"use": backend, "precision": [precision]}],
        "measure": {"effort": effort or "quick"},
        **({"threads": threads} if threads else {}),
    }
    document |= _shapes(registry, model, batch, sizes, inputs, document["model"])
    loaded = from_document(
        document,
        source="benchfw time",
        root=Path.cwd(),
        overrides=overrides,
        backends=registry.backends,
        options=backend_options(registry, {backend}),
        steps=step_options(registry),
        samplers=registry.samplers,
    )
    job = Job(
        document=loaded.document,
        source=loaded.source,
        root=str(loaded.root),
        out=str(out),
        request={"file": None},
        wait=not no_wait,
        shared=allow_shared,
    )
    outcome = session.run(job, quiet=as_json)
    report(outcome.rows, outcome.run_id, outcome.folder, as_json=as_json)
    session.tell_how_to_resume(outcome)
    return session.exit_code(outcome, strict=True)


def _shapes(
    registry: Registry,
    model: str,
    batch: int | None,
    sizes: tuple[str, ...],
    inputs: tuple[str, ...],
    table: dict[str, Any],
) -> dict[str, Any]:
    """Fill in the model's inputs and return `shapes` and the sweep."""
    from benchfw.errors import UsageError

    table["inputs"] = _given(inputs) if inputs else _described(registry, model)
    shapes = [item["shape"] for item in table["inputs"].values()]
    axes = list(dict.fromkeys(dim for shape in shapes for dim in shape if isinstance(dim, str)))
    leading = shapes[0][0] if shapes and shapes[0] else None
    if "batch" not in axes and isinstance(leading, str):  # the leading axis is the batch, whatever the graph calls it
        for shape in shapes:
            shape[:] = ["batch" if dim == leading else dim for dim in shape]
        axes[axes.index(leading)] = "batch"
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


def _described(registry: Registry, model: str) -> dict[str, Any]:
    from benchfw.errors import UsageError
    from benchfw.executors.describe import describe_model
    from benchfw.scenario.resolved import described_input

    if model.startswith("null:"):
        return {}
    io = describe_model(registry, model, Path.cwd())
    if io is None:
        raise UsageError(f"{model} does not say what its inputs are", hint="--input x=batchx3x224x224")
    return {spec.name: described_input(spec).model_dump(exclude_none=True) for spec in io.inputs}


def _given(inputs: tuple[str, ...]) -> dict[str, Any]:
    from benchfw.errors import UsageError

    given: dict[str, Any] = {}
    for text in inputs:
        name, equals, rest = text.partition("=")
        shape, _, dtype = rest.partition(":")
        if not equals or not shape:
            raise UsageError(f"--input {text}: is not NAME=DIMxDIM[:DTYPE]", hint="--input x=batchx3x224x224:float32")
        dims = [int(dim) if dim.isdecimal() else dim for dim in shape.split("x")]
        given[name] = {"shape": dims, "dtype": dtype or "float32"}
        if given[name]["dtype"].startswith(("int", "uint")):
            given[name] |= {"low": 0.0, "high": 2.0}
    return given


def _assignment(text: str) -> tuple[str, int]:
    from benchfw.errors import UsageError

    axis, _, size = text.partition("=")
    if not size.isdecimal() or not int(size):
        raise UsageError(f"--size {text}: is not AXIS=N")
    return axis, int(size)
