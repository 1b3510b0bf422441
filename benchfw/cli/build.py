"""`benchfw build`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchfw.cli import completers, options

if TYPE_CHECKING:
    from benchfw.artifacts import Made
    from benchfw.plugins import Registry
    from benchfw.spec.artifact import StepInfo
    from benchfw.spec.tensors import Profile


@click.command()
@click.argument("model", shell_complete=completers.models)
@click.option(
    "--for",
    "runtime",
    required=True,
    metavar="RUNTIME",
    shell_complete=completers.runtimes,
    help="Runtime that the engine is for, of those that installed plugins build for.",
)
@click.option("--batch", type=click.IntRange(min=1), help="Build for this batch alone.  [default: 1]")
@click.option("--min", "low", type=click.IntRange(min=1), help="Smallest batch of an engine for several.")
@click.option("--opt", "best", type=click.IntRange(min=1), help="Batch to optimise that engine for.")
@click.option("--max", "high", type=click.IntRange(min=1), help="Largest batch of that engine.")
@click.option(
    "--size", "sizes", multiple=True, metavar="AXIS=N|MIN:OPT:MAX", help="Sizes of another named axis; repeatable."
)
@click.option("--precision", metavar="NAME", help="Precision of the engine, as fp16.  [default: that of the model]")
@options.inputs
@options.environment
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a copy here, its side-car to FILE.json, its layers to FILE.layers.json; the engine stays in the cache.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the step that builds, as in --set workspace=2GiB; STEP.KEY=VALUE for one of another step.",
)
@options.rebuild
@click.option(
    "--log",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep what the builder prints; --set log=verbose lets it print all.",
)
@options.json_output
def command(
    model: str,
    runtime: str,
    batch: int | None,
    low: int | None,
    best: int | None,
    high: int | None,
    sizes: tuple[str, ...],
    precision: str | None,
    inputs: tuple[str, ...],
    environment: str | None,
    scenario: Path | None,
    output: Path | None,
    overrides: tuple[str, ...],
    rebuild: bool,
    log: Path | None,
    as_json: bool,
) -> int:
    """Build an engine of MODEL (an ONNX file, builtin:NAME, python:MODULE:CALLABLE) for a runtime, ahead of a run.

    The engine goes into the cache, where a run with the same options finds it. Give --batch, or --min, --opt and --max
    for an engine that takes several. An engine for another version of a runtime is built in an environment that has it.
    """
    from benchfw import plugins
    from benchfw.artifacts import Wanted
    from benchfw.cli.conversion import FORMAT
    from benchfw.cli.environments import given_environment
    from benchfw.cli.inputs import input_specs, split_model
    from benchfw.cli.shapes import batch_range, make_profile, parse_sizes
    from benchfw.cli.steps import check_given, given_options
    from benchfw.cli.text import say
    from benchfw.environments import Environment
    from benchfw.executors.making import making

    registry = plugins.registry()
    step = _step(registry, runtime)
    given = given_options(registry, step.name, overrides)
    wanted_batch, wanted_sizes = batch_range(batch, low, best, high), parse_sizes(sizes)
    scheme, target = split_model(registry, model)
    where = given_environment(environment, scenario) or Environment()
    _check_files(output, log, Path(target) if scheme == FORMAT else None)
    with making(
        registry,
        environments={where.name: where},
        rebuild=rebuild,
        log=log,
        notify=lambda text: say(f"  {text}"),
    ) as builder:
        resolved = builder.resolve(registry.model_source(scheme), target, root=Path.cwd(), seed=0, weights=None)
        specs = input_specs(model, resolved.io, inputs)
        profile = make_profile(specs, wanted_batch, wanted_sizes)
        wanted = Wanted(
            accepts=(step.target,),
            precision=precision,
            specialize=profile.static and bool(profile.axes),
            given={step.name: {}, **given},
            presets=_presets(registry, step),
            environment=where.name,
        )
        check_given(registry, resolved.artifact, wanted, given)
        made = builder.make(resolved.artifact, wanted, inputs=specs, profile=profile)
    path = _copied(Path(made.artifact.path), output)
    _show(made, profile, path, runtime, as_json)
    return 0


def _step(registry: Registry, runtime: str) -> StepInfo:
    """Return the step that builds for a runtime.

    Raises:
        UsageError: No plugin has one.
    """
    import difflib

    from benchfw.errors import UsageError

    known = {step.runtime: step for step in registry.steps.values() if step.runtime}
    if runtime in known:
        return known[runtime]
    near = difflib.get_close_matches(runtime, known, n=1)
    first = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"
    raise UsageError(f"--for {runtime}: no plugin builds for it", hint="\n".join([first, *registry.unusable()]))


def _presets(registry: Registry, step: StepInfo) -> Mapping[str, Mapping[str, Any]]:
    """Return what the first backend that loads such engines wants of the steps before."""
    users = (info for info in registry.backends.values() if step.target in info.accepts)
    return next((info.step_options for info in users), {})


def _check_files(output: Path | None, log: Path | None, source: Path | None) -> None:
    """Refuse to write over the model, or over anything but an engine that was written here before.

    Raises:
        UsageError: So it would be.
    """
    from benchfw.cli.conversion import check_output
    from benchfw.errors import UsageError

    for option, file in (("-o", output), ("--log", log)):
        if file is not None:
            check_output(option, file, source)
    if output is not None and output.exists() and not _beside(output).exists():
        raise UsageError(
            f"{output} is there already, and is no engine that benchfw has built", hint="choose another name"
        )


def _beside(output: Path) -> Path:
    """Return where the side-car of a copy lies."""
    return output.with_name(f"{output.name}.json")


def _copied(engine: Path, output: Path | None) -> Path:
    """Copy an engine, what lies beside it and its side-car, each in one step, and return where the engine now is.

    Raises:
        ResultError: They cannot be written.
    """
    from benchfw.artifacts.cache import SIDECAR
    from benchfw.errors import ResultError

    if output is None:
        return engine
    others = sorted(file for file in engine.parent.iterdir() if file.name not in (engine.name, SIDECAR))
    copies = [(file, output.with_name(f"{output.name}.{file.name}")) for file in others]
    for source, target in ((engine, output), *copies, (engine.with_name(SIDECAR), _beside(output))):
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            shutil.copyfile(source, draft)
            os.replace(draft, target)
        except OSError as error:
            hint = f"free some space or choose another place; the engine is {engine}"
            raise ResultError(f"-o {target} cannot be written: {error.strerror}", hint=hint) from error
        finally:
            draft.unlink(missing_ok=True)
    return output


def _show(made: Made, profile: Profile, path: Path, runtime: str, as_json: bool) -> None:
    from benchfw.cli.console import literal, make_console, print_json
    from benchfw.cli.shapes import range_text
    from benchfw.store.files import size_text

    axes = {name: range_text(axis) for name, axis in profile.axes.items()}
    size = path.stat().st_size
    if as_json:
        print_json(
            {
                "path": str(path),
                "runtime": runtime,
                "format": made.artifact.format,
                "precision": made.artifact.precision,
                "bytes": size,
                "seconds": round(made.seconds, 3),
                "steps": list(made.steps),
                "profile": axes,
                "warnings": list(made.warnings),
                "notes": list(made.notes),
                "meta": dict(made.artifact.meta),
            }
        )
        return
    console = make_console()
    took = f"{made.seconds:.1f} s" if made.seconds else "from the cache"
    lines = {
        "engine": str(path),
        "size": f"{size_text(size)}, {made.artifact.precision}",
        "made": f"{took}, {' -> '.join(made.steps)}",
        "profile": ", ".join(f"{name} {sizes}" for name, sizes in axes.items()) or "fixed",
    }
    for name, text in lines.items():
        console.print(literal(f"{name:<8} {text}"), soft_wrap=True)
    for text in (*made.notes, *made.warnings):
        console.print(literal(f"{'warning':<8} {text}", lines=True), soft_wrap=True)
