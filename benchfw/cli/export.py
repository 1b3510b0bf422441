"""`benchfw export`."""

from __future__ import annotations

from pathlib import Path

import click

from benchfw.cli import completers, options
from benchfw.cli.conversion import FORMAT, Request, conversion, convert


@click.command()
@click.argument("model", shell_complete=completers.models)
@click.option(
    "--batch",
    metavar="N|MIN:OPT:MAX|dynamic",
    help="Size of the batch axis; `dynamic` is 1:2:8, sizes at which outputs are compared.  [default: 1]",
)
@click.option("--precision", metavar="NAME", help="Precision, as fp16.  [default: that of the model]")
@click.option("--opset", type=click.IntRange(min=1), help="ONNX operator set.  [default: that of the step]")
@options.inputs
@conversion
def command(
    model: str,
    batch: str | None,
    precision: str | None,
    opset: int | None,
    inputs: tuple[str, ...],
    output: Path,
    sizes: tuple[str, ...],
    overrides: tuple[str, ...],
    force: bool,
    rebuild: bool,
    as_json: bool,
) -> int:
    """Write MODEL (builtin:NAME, python:MODULE:CALLABLE, an ONNX file) as ONNX, for one shape or with dynamic axes.

    The artifact goes through the cache, where a run with the same options finds it; FILE is a copy.
    """
    from benchfw import plugins
    from benchfw.cli.inputs import split_model
    from benchfw.cli.steps import given_options
    from benchfw.errors import UsageError

    registry = plugins.registry()
    source = registry.model_source(split_model(registry, model)[0]).format
    steps = [step.name for step in registry.steps.values() if step.source == source != step.target == FORMAT]
    if opset is not None and not steps:
        raise UsageError(f"--opset {opset}: no step exports {source!r}", hint="an ONNX model keeps its opset")
    wishes = [*([f"opset={opset}"] if opset is not None else []), *overrides]
    if not steps and (alone := [text for text in overrides if "." not in text.partition("=")[0]]):
        raise UsageError(f"--set {alone[0]}: no step exports {source!r}", hint="--set STEP.KEY=VALUE for other steps")
    request = Request(
        model=model,
        output=output,
        batch=batch,
        sizes=sizes,
        inputs=inputs,
        precision=precision,
        given=given_options(registry, steps[0] if steps else "", wishes),
        force=force,
        rebuild=rebuild,
    )
    return convert(registry, request, as_json=as_json)
