"""`benchfw check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchfw.cli import completers, options

if TYPE_CHECKING:
    from benchfw.environments import Environment
    from benchfw.executors.checking import Checked
    from benchfw.plugins import Registry
    from benchfw.scenario import Loaded
    from benchfw.spec.tensors import AxisRange


@click.command()
@click.argument("model", shell_complete=completers.models)
@click.option(
    "--backend",
    "backends",
    required=True,
    multiple=True,
    metavar="NAME",
    shell_complete=completers.installed_backends,
    help="Backend to check, as in `benchfw backends`; repeatable.",
)
@click.option(
    "--against",
    metavar="NAME",
    shell_complete=completers.installed_backends,
    help="Reference, in fp32.  [default: the first backend that takes the model as it is]",
)
@click.option(
    "--inputs",
    "folder",
    metavar="FOLDER",
    help="Folder of `.npy` or `.npz` samples to use instead of random values.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Inputs to compare, a batch each.  [default: the whole folder, or 4 random ones]",
)
@click.option("--batch", metavar="N|MIN:OPT:MAX", help="Size of the batch axis.  [default: 1]")
@click.option("--precision", "precisions", multiple=True, help="Precision to compute in; repeatable.  [default: fp32]")
@click.option(
    "--size", "sizes", multiple=True, metavar="AXIS=N|MIN:OPT:MAX", help="Size of another named axis; repeatable."
)
@click.option("--steps", metavar="NAME,…", default="", help="Artifact steps to ask for, but for the reference.")
@options.inputs
@options.environment
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of weights and inputs.")
@options.threads
@click.option("--bisect", is_flag=True, help="Find the first tensor that departs, where an output has failed.")
@options.overrides
@options.verbosity
@options.json_output
def command(
    model: str,
    backends: tuple[str, ...],
    against: str | None,
    folder: str | None,
    samples: int | None,
    batch: str | None,
    precisions: tuple[str, ...],
    sizes: tuple[str, ...],
    steps: str,
    inputs: tuple[str, ...],
    environment: str | None,
    scenario: Path | None,
    seed: int,
    threads: int | None,
    bisect: bool,
    overrides: tuple[str, ...],
    verbosity: str | None,
    as_json: bool,
) -> int:
    """Compare the outputs of MODEL on backends with those of a reference. Nothing is timed.

    A size MIN:OPT:MAX compares the dynamic artifact at these three points. Exit code 5: outputs are too far off; 3: a
    backend could not run.
    """
    from benchfw import plugins
    from benchfw.cli import session
    from benchfw.cli.accuracy import show
    from benchfw.cli.environments import environment_tables, given_environment
    from benchfw.cli.inputs import split_model
    from benchfw.cli.progress import progress
    from benchfw.executors.bisecting import bisect as bisect_case
    from benchfw.executors.checking import checking

    registry = plugins.registry()
    for name in (*backends, *([against] if against else [])):
        registry.backend(name)
    model = ":".join(split_model(registry, model))
    where = given_environment(environment, scenario)
    table: dict[str, Any] = {"ref": model, "seed": seed, **({"data": folder} if folder else {})}
    document: dict[str, Any] = {
        "name": "check",
        "model": table,
        "backend": _backends(registry, model, backends, against, precisions or ("fp32",), where),
        **environment_tables(where),
        "steps": {name: {} for name in filter(None, map(str.strip, steps.split(",")))},
        **({"threads": threads} if threads else {}),
    }
    document |= _shapes(registry, model, batch, sizes, inputs, table)
    loaded = _load(registry, document, overrides)
    verbosity = verbosity or ("quiet" if as_json else None)
    with (
        session.stoppable(quiet=verbosity == "quiet") as stop,
        progress(verbosity) as notify,
        checking(loaded, registry, stop=stop, notify=notify) as checker,
    ):
        found = checker.run(samples)
        failed = [item for item in found if item.verdict == "fail"]
        bisections = [bisect_case(checker, item) for item in failed] if bisect else None
    show(loaded.scenario, found, bisections, as_json=as_json)
    return _exit_code(found)


def _exit_code(found: list[Checked]) -> int:
    if any(item.verdict == "fail" for item in found):
        return 5
    return 3 if any(item.status != "OK" for item in found) else 0


def _load(registry: Registry, document: dict[str, Any], overrides: tuple[str, ...]) -> Loaded:
    from benchfw.executors.options import backend_options, step_options
    from benchfw.scenario import from_document

    with registry.explaining():
        return from_document(
            document,
            source="benchfw check",
            root=Path.cwd(),
            overrides=overrides,
            backends=registry.backends,
            options=backend_options(registry, registry.backends),
            steps=step_options(registry),
            samplers=registry.samplers,
        )


def _backends(
    registry: Registry,
    model: str,
    names: tuple[str, ...],
    against: str | None,
    precisions: tuple[str, ...],
    where: Environment | None,
) -> list[dict[str, Any]]:
    """Return the backends' tables, that of the reference first, which runs on this interpreter."""
    from benchfw.executors.checking import REFERENCE

    reference = against or _default_reference(registry, model)
    tables: list[dict[str, Any]] = [{"use": reference, "name": REFERENCE}]
    more = {"precision": list(precisions), **({"environment": where.name} if where else {})}
    return tables + [{"use": name, **more} for name in dict.fromkeys(names)]


def _default_reference(registry: Registry, model: str) -> str:
    """Return the first backend that computes in fp32 on the CPU what it is given without any conversion."""
    from benchfw.errors import UsageError

    format_ = registry.model_source(model.partition(":")[0]).format
    for info in registry.backends.values():
        capabilities = info.capabilities
        if format_ in info.accepts and "fp32" in capabilities.precisions and "cpu" in capabilities.devices:
            return info.name
    raise UsageError(
        f"no installed backend takes a model of the format {format_!r} as it is", hint="--against NAME names one"
    )


def _shapes(
    registry: Registry,
    model: str,
    batch: str | None,
    sizes: tuple[str, ...],
    inputs: tuple[str, ...],
    table: dict[str, Any],
) -> dict[str, Any]:
    """Fill in the model's inputs and return `shapes` and the sweep."""
    from dataclasses import asdict

    from benchfw.cli.inputs import find_inputs
    from benchfw.cli.shapes import make_profile, parse_sizes
    from benchfw.spec.tensors import TensorSpec

    table["inputs"] = find_inputs(registry, model, inputs, Path.cwd())
    specs = [
        TensorSpec(name=name, dtype=item.get("dtype", "float32"), shape=tuple(item["shape"]))
        for name, item in table["inputs"].items()
    ]
    profile = make_profile(specs, _batch(batch), parse_sizes(sizes))
    return {
        "shapes": {name: asdict(axis) for name, axis in profile.axes.items()},
        "sweep": [{"kind": "fixed" if profile.static else "min-opt-max"}],
    }


def _batch(text: str | None) -> AxisRange | None:
    from benchfw.cli.shapes import parse_sizes
    from benchfw.errors import UsageError

    try:
        return parse_sizes([f"batch={text}"])["batch"] if text is not None else None
    except UsageError as error:
        raise UsageError(f"--batch {text}: is neither N nor MIN:OPT:MAX, ascending and above 0") from error
