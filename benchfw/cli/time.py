"""`benchfw time`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchfw.cli import completers, options

if TYPE_CHECKING:
    from benchfw.plugins import Registry


@click.command()
@click.argument("model", shell_complete=completers.models)
@click.option(
    "--backend",
    required=True,
    metavar="NAME",
    shell_complete=completers.installed_backends,
    help="Backend, as in `benchfw backends`.",
)
@click.option("--batch", type=click.IntRange(min=1), default=None, help="Size of the batch axis.  [default: 1]")
@click.option("--precision", default="fp32", show_default=True, help="Precision to compute in.")
@click.option("--size", "sizes", multiple=True, metavar="AXIS=N", help="Size of another named axis; repeatable.")
@options.inputs
@click.option("--threads", type=click.IntRange(min=1), help="Threads.  [default: what affinity and quota allow]")
@options.effort
@options.overrides
@options.results
@options.no_wait
@options.allow_shared
@options.rebuild
@options.verbosity
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
    results: Path,
    no_wait: bool,
    allow_shared: bool,
    rebuild: bool,
    verbosity: str | None,
    as_json: bool,
) -> int:
    """Time MODEL (an ONNX file, builtin:NAME, python:MODULE:CALLABLE) on one backend, at one shape.

    Inputs are read from the model where it says what they are; the leading named axis of the first one is the batch.
    """
    from benchfw import plugins
    from benchfw.cli import session
    from benchfw.cli.inputs import split_model
    from benchfw.executors.options import backend_options, step_options
    from benchfw.scenario import from_document
    from benchfw.spec.executor import Job

    registry = plugins.registry()
    registry.backend(backend)
    model = ":".join(split_model(registry, model))
    document: dict[str, Any] = {
        "name": "time",
        "model": {"ref": model},
        "backend": [{"use": backend, "precision": [precision]}],
        "measure": {"effort": effort or "quick"},
        **({"threads": threads} if threads else {}),
    }
    document |= _shapes(registry, model, batch, sizes, inputs, document["model"])
    with registry.explaining():
        loaded = from_document(
            document,
            source="benchfw time",
            root=Path.cwd(),
            overrides=overrides,
            backends=registry.backends,
            options=backend_options(registry, registry.backends),
            steps=step_options(registry),
            samplers=registry.samplers,
        )
    job = Job(
        document=loaded.document,
        source=loaded.source,
        root=str(loaded.root),
        out=str(results),
        request={"file": None},
        wait=not no_wait,
        shared=allow_shared,
        rebuild=rebuild,
    )
    outcome = session.run(job, verbosity=verbosity or ("quiet" if as_json else None))
    session.report(outcome, as_json=as_json)
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
    from benchfw.cli.inputs import find_inputs, named_axes
    from benchfw.errors import UsageError

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
    from benchfw.errors import UsageError

    axis, _, size = text.partition("=")
    if not size.isdecimal() or not int(size):
        raise UsageError(f"--size {text}: is not AXIS=N")
    return axis, int(size)
