"""`benchfw simplify`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchfw.cli import completers
from benchfw.cli.conversion import Request, conversion, convert

_STEP = "SimplifiedOnnx"


@click.command()
@click.argument("model", metavar="IN.onnx", shell_complete=completers.models)
@click.option("--tool", metavar="NAME", help="What simplifies: onnxsim, onnxslim or onnxoptimizer.  [default: onnxsim]")
@click.option(
    "--batch",
    metavar="N|MIN:OPT:MAX|dynamic",
    help="One batch to make it for, or sizes at which outputs are compared.  [default: 1:2:8 if the axis is dynamic]",
)
@conversion
def command(
    model: str,
    tool: str | None,
    batch: str | None,
    output: Path,
    sizes: tuple[str, ...],
    overrides: tuple[str, ...],
    force: bool,
    rebuild: bool,
    as_json: bool,
) -> int:
    """Write a simplified copy of an ONNX model: constants folded, needless nodes gone, dynamic axes kept.

    Its outputs are compared with those of the model before anything is written.
    """
    from benchfw import plugins
    from benchfw.cli.steps import given_options

    registry = plugins.registry()
    step = registry.step(_STEP)
    wishes = [*([f"tool={json.dumps(tool)}"] if tool is not None else []), *overrides]
    request = Request(
        model=model,
        output=output,
        batch=batch,
        sizes=sizes,
        given={step.name: {}, **given_options(registry, step.name, wishes)},
        force=force,
        rebuild=rebuild,
        keep_axes=True,
    )
    return convert(registry, request, as_json=as_json)
