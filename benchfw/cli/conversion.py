"""What `export`, `simplify` and `quantize` share: make an ONNX artifact through the cache and copy it out of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchfw.cli import options

if TYPE_CHECKING:
    from benchfw.artifacts import Builder, Made
    from benchfw.plugins import Registry
    from benchfw.spec.tensors import AxisRange, Profile

FORMAT = "onnx"
DYNAMIC = "dynamic"
_ANY_BATCH = "1:2:8"
"""What `dynamic` stands for; ONNX itself sets no bounds, these are the sizes that outputs are compared at."""


def conversion(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that these commands share."""
    for option in (
        options.json_output,
        options.rebuild,
        click.option("--force", is_flag=True, help="Replace FILE if it is there."),
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Any option of the step, as in docs/reference/backends.md; STEP.KEY=VALUE for one of another step.",
        ),
        click.option(
            "--size",
            "sizes",
            multiple=True,
            metavar="AXIS=N|MIN:OPT:MAX",
            help="Sizes of another named axis; repeatable.",
        ),
        click.option(
            "-o",
            "--output",
            required=True,
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Where to write; weights that do not fit into one file go to FILE.data.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True, kw_only=True)
class Request:
    """What shall be made.

    Attributes:
        model: A path or a reference.
        output: The file to write.
        batch: `N`, `MIN:OPT:MAX` or `dynamic`.
        sizes: `AXIS=N` or `AXIS=MIN:OPT:MAX`.
        inputs: `NAME=DIMxDIM[:DTYPE]`, for models that do not say what theirs are.
        precision: Precision of the result; None for that of the model.
        given: Options of steps, by their names; to name a step is to ask for it.
        force: Replace what is there.
        rebuild: Make anew what the cache has.
        keep_axes: Named axes stay dynamic unless a size is given.
    """

    model: str
    output: Path
    batch: str | None
    sizes: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    precision: str | None = None
    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    force: bool = False
    rebuild: bool = False
    keep_axes: bool = False


def convert(registry: Registry, request: Request, *, as_json: bool) -> int:
    """Make what is asked for, copy it to its place and print what it is.

    Raises:
        UsageError: The output is there already, or the sizes do not fit the model.
        CaseError: A step failed, or there is no route.
    """
    from benchfw.artifacts import Wanted
    from benchfw.cli.inputs import input_specs, split_model
    from benchfw.cli.signals import interruptible
    from benchfw.cli.steps import check_given
    from benchfw.cli.text import say
    from benchfw.executors.making import making

    scheme, target = split_model(registry, request.model)
    _check_output(request.output, Path(target) if scheme == FORMAT else None, force=request.force)
    with (
        interruptible(),
        making(registry, rebuild=request.rebuild, notify=lambda text: say(f"  {text}")) as builder,
    ):
        model = builder.resolve(registry.model_source(scheme), target, root=Path.cwd(), seed=0, weights=None)
        _check_precision(request, model.artifact.precision)
        inputs = input_specs(request.model, model.io, request.inputs)
        axes = {dim for spec in inputs for dim in spec.shape if isinstance(dim, str)}
        profile = _profile(request, axes, inputs)
        wanted = Wanted(
            accepts=(FORMAT,),
            precision=request.precision,
            specialize=profile.static and bool(profile.axes),
            given=request.given,
        )
        check_given(registry, model.artifact, wanted, request.given)
        made = builder.make(model.artifact, wanted, inputs=inputs, profile=profile)
        facts = _copy_out(builder, registry, Path(made.artifact.path), request.output)
    _show(_described(request.output, made, profile, facts), as_json=as_json)
    return 0


def _profile(request: Request, axes: set[str], inputs: Any) -> Profile:
    from benchfw.cli.shapes import BATCH, make_profile, parse_sizes

    sizes = parse_sizes(request.sizes)
    batch = request.batch
    if batch is None and request.keep_axes and BATCH in axes and BATCH not in sizes:
        batch = DYNAMIC
    return make_profile(inputs, _range(batch) if batch is not None else None, sizes)


def _range(text: str) -> AxisRange:
    """Return the range of `--batch`.

    Raises:
        UsageError: It is none.
    """
    from benchfw.cli.shapes import parse_sizes
    from benchfw.errors import UsageError

    try:
        return parse_sizes([f"batch={_ANY_BATCH if text == DYNAMIC else text}"])["batch"]
    except UsageError as error:
        raise UsageError(f"--batch {text}: is neither N, MIN:OPT:MAX nor {DYNAMIC}") from error


def _check_precision(request: Request, precision: str) -> None:
    from benchfw.errors import UsageError

    if request.precision is not None and request.keep_axes and precision == request.precision:
        raise UsageError(f"{request.model} computes in {precision} already", hint="benchfw inspect tells more")


def check_output(option: str, file: Path, source: Path | None) -> None:
    """Refuse a file that cannot be written, or that is the model that is read.

    Raises:
        UsageError: It is one of them; the message begins with the option.
    """
    from benchfw.errors import UsageError

    if not file.parent.is_dir():
        raise UsageError(f"{option} {file}: there is no folder {file.parent}")
    if source is not None and file.exists() and file.samefile(source):
        raise UsageError(f"{option} {file} is the model itself, which is never changed", hint="choose another name")


def _check_output(output: Path, source: Path | None, *, force: bool) -> None:
    """Refuse to write over what is there, and over the model that is read whatever anybody says.

    Raises:
        UsageError: So it would be.
    """
    from benchfw.errors import UsageError

    data = _data_of(output)
    check_output("-o", output, source)
    if data.exists() and not output.exists():
        raise UsageError(f"{data} is there and belongs to something else", hint="choose another name, or remove it")
    if output.exists() and not force:
        raise UsageError(f"{output} is there already", hint="choose another name, or --force to replace it")


def _data_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def _copy_out(builder: Builder, registry: Registry, source: Path, output: Path) -> dict[str, Any]:
    """Copy an artifact and its external data to a folder beside the output, then move them to their place.

    Raises:
        CaseError: It cannot be read or written.
        ResultError: It cannot be moved there, or there is no room for it.
    """
    from benchfw.artifacts.builder import is_full
    from benchfw.errors import BackendError, ResultError

    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
        try:
            draft = folder / output.name
            facts = builder.ask_format(
                "copy", registry.formats[FORMAT], path=str(source), destination=str(draft.absolute())
            )
            for file in (_data_of(draft), draft):  # the model last: what it names is there by then
                if file.exists():
                    os.replace(file, output.with_name(file.name))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise ResultError(f"{output} cannot be written: {error.strerror}", hint="-o names another place") from error
    except BackendError as error:
        if not is_full(error):
            raise
        hint = "free some space, or -o names another place"
        raise ResultError(f"{output} cannot be written: {error.message}", hint=hint) from error
    return dict(facts)


def _described(output: Path, made: Made, profile: Profile, facts: Mapping[str, Any]) -> dict[str, Any]:
    from benchfw.cli.shapes import range_text

    data = _data_of(output)
    files = [path for path in (output, data) if path.exists() and (path == output or facts.get("external_data"))]
    return {
        "path": str(output),
        "files": [{"path": str(path), "bytes": path.stat().st_size} for path in files],
        "bytes": sum(path.stat().st_size for path in files),
        "nodes": facts.get("nodes"),
        "opset": facts.get("opset"),
        "precision": made.artifact.precision,
        "profile": {axis: range_text(sizes) for axis, sizes in profile.axes.items()},
        "seconds": round(made.seconds, 3),
        "steps": [{"step": step, **meta} for step, meta in zip(made.steps, made.metas, strict=True)],
        "warnings": list(made.warnings),
        "notes": list(made.notes),
    }


def _show(told: Mapping[str, Any], *, as_json: bool) -> None:
    from benchfw.cli.console import literal, make_console, print_json

    if as_json:
        print_json(told)
        return
    console = make_console()
    for line in _lines(told):
        console.print(literal(line, lines=True), soft_wrap=True)


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    from benchfw.store.files import size_text

    size = size_text(told["bytes"])
    yield f"{told['path']}: {size}, {told['nodes']} nodes, opset {told['opset']}, {told['precision']}"
    for item in told["files"][1:]:
        yield f"  with {item['path']}: {size_text(item['bytes'])}"
    if told["profile"]:
        yield f"sizes: {', '.join(f'{axis} {sizes}' for axis, sizes in told['profile'].items())}"
    if not told["steps"]:
        yield "no step was needed: it is a copy"
    for step in told["steps"]:
        yield f"{step['step']}:"
        yield from (f"  {name}: {_text(step[name])}" for name in step if name not in ("step", "warnings"))
    if told["steps"]:
        yield f"made in {told['seconds']:.1f} s" if told["seconds"] else "made before: from the cache"
    yield from (f"warning: {text}" for text in (*told["notes"], *told["warnings"]))


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
