"""`benchfw init`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchfw.cli import completers, options

if TYPE_CHECKING:
    from benchfw.errors import UsageError
    from benchfw.plugins import Registry
    from benchfw.scenario.draft import Choice
    from benchfw.spec.backend import BackendInfo


@click.command()
@click.argument("model", shell_complete=completers.models)
@click.option(
    "-o", "--output", type=click.Path(allow_dash=True), help="File to write; - is stdout.  [default: NAME.toml, here]"
)
@options.inputs
@options.verbosity
def command(model: str, output: str | None, inputs: tuple[str, ...], verbosity: str | None) -> int:
    """Write a scenario for MODEL to start from: an ONNX file, python:MODULE:CALLABLE, or builtin:NAME.

    Inputs are read from the model where it says what they are. Every backend that can run the model is in the file,
    those that lack something here as comments. The path of the file goes to stdout; a file is never overwritten.
    """
    from benchfw import plugins
    from benchfw.cli.inputs import find_inputs, named_axes, split_model
    from benchfw.cli.progress import progress
    from benchfw.cli.text import printable, say
    from benchfw.errors import UsageError
    from benchfw.executors.log import log_event
    from benchfw.scenario.draft import draft, scenario_name
    from benchfw.spec.events import Stage
    from benchfw.store.files import path_argument

    registry = plugins.registry()
    scheme, target = split_model(registry, model)
    if scheme == "null":
        raise UsageError(
            f"{model} is no model to start from: it computes nothing",
            hint="MODEL is an ONNX file, python:MODULE:CALLABLE or builtin:NAME",
        )
    name = scenario_name(Path(target.rpartition(":")[2]).name.removesuffix(".onnx"))
    path = Path(output or f"{name}.toml")
    to_stdout = output == "-"
    if to_stdout:
        path = Path(f"{name}.toml")
    elif path.exists() or path.is_symlink():
        raise _is_there(path)
    root = path.parent.resolve()
    ref = f"{scheme}:{_relative(target, root) if scheme == 'onnx' else target}"
    with progress(verbosity) as notify:
        asking = Stage(f"asking {ref} for its inputs")
        log_event(asking)
        notify(asking)
        found = find_inputs(registry, ref, inputs, root)
    choices = _choices(registry, scheme, has_axes=bool(named_axes(found)))
    if all(choice.lacks for choice in choices):
        lacking = [f"{choice.use}: {choice.lacks}" for choice in choices]
        raise UsageError(
            "\n".join([f"no backend that is ready here can run {ref}", *lacking]),
            hint="`benchfw backends` lists them all",
        )
    text = draft(name, ref, found, choices)
    _check(registry, text, path, root)
    if to_stdout:
        sys.stdout.write("\n".join(map(printable, text.split("\n"))) if sys.stdout.isatty() else text)
        return 0
    _write(path, text)
    print(printable(path))
    if verbosity != "quiet":
        say(f"next: benchfw plan {path_argument(path)}, then: benchfw run {path_argument(path)}")
    return 0


def _relative(target: str, root: Path) -> str:
    """Return the path of a model from the folder of the scenario, which is what scenarios start from."""
    path = Path(target)
    return os.path.relpath(path.parent.resolve() / path.name, root)


def _choices(registry: Registry, scheme: str, *, has_axes: bool) -> list[Choice]:
    """Return the backends that a route leads to: those for fp32 first, then those that need fewer conversions."""
    from benchfw.artifacts import Wanted, find_route
    from benchfw.artifacts.routes import ANY
    from benchfw.cli.backends import state_here
    from benchfw.errors import Unsupported
    from benchfw.gpu.presence import has_gpu
    from benchfw.scenario.draft import Choice

    source = registry.model_source(scheme)
    found = []
    for info in registry.backends.values():
        if ANY in info.accepts:  # it never looks at the model: `null`, fakes
            continue
        precision = _first_precision(info)
        try:
            wanted = Wanted.by(info, precision, specialize=has_axes)
            route = find_route(source.format, wanted, registry.steps.values())
        except Unsupported:
            continue
        states = [state_here(each) for each in (info, *route)]
        lacks = next((f"{state['reason']}: {state['install']}" for state in states if not state["ready"]), "")
        if not lacks and "cpu" not in info.capabilities.devices and not has_gpu():
            lacks = "it needs a GPU, and there is none here"
        choice = Choice(use=info.name, summary=info.summary, precision=precision, lacks=lacks)
        found.append((bool(lacks), precision != "fp32", len(route), choice))
    return [choice for *_, choice in sorted(found, key=lambda item: item[:3])]


def _first_precision(info: BackendInfo) -> str:
    precisions = info.capabilities.precisions
    return "fp32" if "fp32" in precisions else precisions[0]


def _check(registry: Registry, text: str, path: Path, root: Path) -> None:
    """Refuse to write what could not be loaded: inputs that no scenario can declare, a reference of two lines."""
    from benchfw.errors import ScenarioError, UsageError
    from benchfw.executors.options import backend_options
    from benchfw.scenario import parse

    try:
        text.encode()
        options = backend_options(registry, set(registry.backends))
        parse(text, source=str(path), root=root, backends=registry.backends, options=options)
    except UnicodeEncodeError as error:
        raise UsageError("a scenario is Unicode, which this name is not", hint="rename the model") from error
    except ScenarioError as error:
        reasons = "; ".join(f"{fault.key} {fault.reason}" for fault in error.faults)
        raise UsageError(f"no scenario can be made of this: {reasons}") from error


def _write(path: Path, text: str) -> None:
    from benchfw.errors import UsageError

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise _is_there(path) from error
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", hint="-o FILE writes to another file"
        ) from error


def _is_there(path: Path) -> UsageError:
    from benchfw.errors import UsageError

    return UsageError(f"{path} is there already", hint="-o FILE writes to another file")
