"""`benchfw quantize`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchfw.cli import completers
from benchfw.cli.conversion import Request, conversion, convert

_STEP = "Int8Onnx"


@click.command()
@click.argument("model", metavar="IN.onnx", shell_complete=completers.models)
@click.option(
    "--recipe", metavar="NAME", help="For whom, as the step that quantises calls them: cpu, ….  [default: cpu]"
)
@click.option(
    "--calibration",
    metavar="FOLDER",
    help="Folder of .npy, .npz or images, or python:MODULE:CALLABLE.  [default: random inputs]",
)
@click.option("--method", metavar="NAME", help="How ranges are found: minmax, entropy or percentile.")
@click.option(
    "--batch",
    metavar="N|MIN:OPT:MAX|dynamic",
    help="One batch to make it for, or sizes at which outputs are compared.  [default: 1:2:8 if the axis is dynamic]",
)
@conversion
def command(
    model: str,
    recipe: str | None,
    calibration: str | None,
    method: str | None,
    batch: str | None,
    output: Path,
    sizes: tuple[str, ...],
    overrides: tuple[str, ...],
    force: bool,
    rebuild: bool,
    as_json: bool,
) -> int:
    """Write an int8 copy of an ONNX model, with quantise and dequantise nodes (QDQ) around what computes in int8.

    It fails if nothing could be quantised. What shall stay as it is: --set 'nodes_to_exclude=["NAME"]'.
    """
    from benchfw import plugins
    from benchfw.cli.steps import given_options

    registry = plugins.registry()
    step = registry.step(_STEP)
    named = {"recipe": recipe, "calibration": calibration, "method": method}
    wishes = [f"{name}={json.dumps(value)}" for name, value in named.items() if value is not None]
    request = Request(
        model=model,
        output=output,
        batch=batch,
        sizes=sizes,
        precision="int8",
        given=given_options(registry, step.name, [*wishes, *overrides]),
        force=force,
        rebuild=rebuild,
        keep_axes=True,
    )
    return convert(registry, request, as_json=as_json)
