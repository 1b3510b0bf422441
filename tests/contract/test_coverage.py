"""Everything that a user can write or see is in the reference: hooks, options, keys, columns, errors, variables.

What is wanted comes from the code by another way than the generated pages take, so that a generator which leaves
something out is noticed.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, get_args

import click
import pytest
from pydantic import BaseModel

from benchfw import errors, spec
from benchfw.cli import cli
from benchfw.plugins import KINDS, discover, options_model
from benchfw.scenario.schema import Scenario
from benchfw.spec import events, hooks
from benchfw.spec.artifact import StepInfo
from benchfw.spec.backend import BackendInfo
from benchfw.store.schema import TABLES

ROOT = Path(__file__).resolve().parents[2]
OWN = {"benchfw", *(path.name for path in ROOT.glob("plugins/*/benchfw_*"))}
Wanted = Iterator[tuple[str, str]]
"""What marks a section of the page (its heading, or a line of it), and what must stand in that section."""


def hook_names() -> Wanted:
    names = [name for name, value in vars(hooks).items() if hasattr(value, "benchfw_spec")]
    assert names
    for name in [*names, *(f"benchfw_register_{kind.replace(' ', '_')}s" for kind in KINDS)]:
        yield f"### {name}\n", f"def {name}("
        for argument, parameter in inspect.signature(getattr(hooks, name)).parameters.items():
            yield f"### {name}\n", f"{argument}: {parameter.annotation}"


def contract() -> Wanted:
    for name, kind in [(name, getattr(spec, name)) for name in spec.__all__] + [*vars(events).items()]:
        if inspect.isclass(kind) and kind.__module__.startswith("benchfw.spec."):
            own = vars(kind)
            fields = own.get("__annotations__", {})
            for text in [
                *(f"    {field}: " for field in fields),
                *(f"**`{name}(" for name in own if _method(own, name)),
            ]:
                yield f"\nclass {name}", text


def _method(own: Mapping[str, Any], name: str) -> bool:
    return not name.startswith("_") and isinstance(own[name], FunctionType | classmethod | property)


def command_line() -> Wanted:
    return _parameters(click.Context(cli, info_name="benchfw", **cli.context_settings))


def _parameters(context: click.Context) -> Wanted:
    command, section = context.command, f"## {context.command_path}\n"
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option):
            yield from ((section, option) for option in parameter.opts if not parameter.hidden)
        else:
            yield section, str(parameter.metavar or parameter.human_readable_name)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield section, f"\n  {name} "
            yield from _parameters(click.Context(inner, context, name))


def exit_codes() -> Wanted:
    codes = {kind.exit_code for kind in _subclasses(errors.BenchfwError)} | {0, 3, 5, 130, 141}
    yield from (("# Command line", f"{code} ") for code in codes)


def scenario_keys() -> Wanted:
    for model in _models(Scenario):
        for name, field in model.model_fields.items():
            yield f"\n{inspect.getdoc(model)}\n", f"| `{field.alias or name}` |"


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a type: the tables of a scenario."""
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        yield kind
        for field in kind.model_fields.values():
            yield from _models(field.annotation)
    for inner in get_args(kind):
        yield from _models(inner)


def options() -> Wanted:
    registry = discover([])
    for infos, title in (
        (registry.backends, "## Backend `{}`\n"),
        (registry.steps, "## Step `{}`\n"),
        (registry.model_sources, "## Model source `{}:`\n"),
        (registry.formats, "## Format `{}`\n"),
    ):
        own = [(name, info) for name, info in infos.items() if info.factory.partition(".")[0] in OWN]
        assert own
        for name, info in own:
            yield title.format(name), f"| what | {info.summary}" if info.summary else "| requires |"
            model = options_model(info) if isinstance(info, BackendInfo | StepInfo) else None
            yield from ((title.format(name), f"| `{option}` |") for option in (model.model_fields if model else ()))


def columns() -> Wanted:
    for table, schema in TABLES.items():
        yield from ((f"## Table `{table}`\n", f"| `{name}` |") for name in schema.names)


def error_classes() -> Wanted:
    for kind in _subclasses(errors.BenchfwError):
        ends = f"`{kind.status}` |  |" if issubclass(kind, errors.CaseError) else f" | {kind.exit_code} |"
        yield "# Errors and exit codes\n", f"| `{kind.__name__}` | {ends}"


def statuses() -> Wanted:
    of_errors = {kind.status for kind in _subclasses(errors.BenchfwError) if issubclass(kind, errors.CaseError)}
    for status in {"OK", "ACCURACY_FAIL", "INTERRUPTED", *of_errors}:
        yield "## Statuses of a case\n", f"| `{status}` |"


def variables() -> Wanted:
    files = [ROOT / "Makefile", *ROOT.glob("benchfw/**/*.py"), *ROOT.glob("plugins/**/*.py"), *ROOT.glob("t*/**/*.py")]
    names = {name for file in files for name in re.findall(r"\bBENCHFW_[A-Z_]*[A-Z]\b", file.read_text("utf-8"))}
    yield from (("| variable |", f"| `{name}` |") for name in sorted(names))


def _subclasses(kind: type[errors.BenchfwError]) -> Iterator[type[errors.BenchfwError]]:
    source = ast.parse(inspect.getsource(errors))
    named = (getattr(errors, item.name) for item in source.body if isinstance(item, ast.ClassDef))
    return (each for each in named if issubclass(each, kind))


PAGES: dict[str, list[Callable[[], Wanted]]] = {
    "hooks.md": [hook_names, contract],
    "cli.md": [command_line, exit_codes],
    "scenario.md": [scenario_keys],
    "backends.md": [options],
    "results.md": [columns],
    "errors.md": [error_classes],
    "warnings.md": [statuses],
    "environment.md": [variables],
}
EVERYTHING = [pytest.param(page, wanted, id=wanted.__name__) for page, all_ in PAGES.items() for wanted in all_]


@pytest.mark.parametrize(("page", "wanted"), EVERYTHING)
def test_all_of_it_is_in_the_reference(page: str, wanted: Callable[[], Wanted]) -> None:
    text = (ROOT / "docs/reference" / page).read_text(encoding="utf-8")
    items = list(wanted())
    assert items
    assert not lacking(text, items)
    for place, item in items:  # and each one would be missed
        parts = [part.replace(item, "") if place in part else part for part in sections(text)]
        assert (place, item) in lacking("".join(parts), items)


def lacking(text: str, items: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    parts = sections(text)
    return [(place, item) for place, item in items if not any(place in part and item in part for part in parts)]


def sections(text: str) -> list[str]:
    """Return a page in parts, each from a heading to the next one of any level."""
    return re.split(r"^(?=#+ )", text, flags=re.MULTILINE)
