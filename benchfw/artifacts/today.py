"""What an artifact was made from, and whether it would be made from the same today."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchfw.artifacts.entries import Entry
from benchfw.errors import BenchfwError
from benchfw.requirements import versions
from benchfw.spec.artifact import StepInfo

Options = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


def origin(entry: Entry, found: Sequence[Entry]) -> str:
    """Return the model that an artifact was made of, followed through the cache: a reference, a file, or a hash."""
    by_key = {item.key: item for item in found}
    for _ in range(len(found) + 1):  # side-cars may lead in a circle, if somebody writes them
        source = _source(entry)
        if source.get("key") not in by_key:
            break
        entry = by_key[str(source["key"])]
    source = _source(entry)
    named = source.get("ref") or source.get("path") or source.get("key")
    return str(named) if named else str(entry.recipe.get("source_sha256", ""))[:12]


def differences(
    entry: Entry, *, steps: Mapping[str, StepInfo], options: Options, packages: Mapping[str, str | None]
) -> Iterator[str]:
    """Yield in what way a run of today would ask for something else: step, options, versions, source.

    Args:
        entry: An artifact.
        steps: Every step that plugins provide.
        options: Returns a step's options of today, given those that somebody asks for.
        packages: Versions of today.
    """
    recipe = entry.recipe
    name = str(recipe.get("step"))
    if name not in steps:
        yield f"step: no installed plugin provides {name}"
        return
    yield from _versions(recipe.get("versions"), steps[name], packages)
    then = recipe.get("options")
    then = then if isinstance(then, Mapping) else {}
    try:
        yield from _changed("options", then, options(name, then))
    except BenchfwError as error:
        yield f"options: the step no longer takes them: {error.message}"
    path = _source(entry).get("path")
    if path and not Path(str(path)).exists():
        yield f"source: {path} is no longer there"


def _versions(then: Any, step: StepInfo, packages: Mapping[str, str | None]) -> Iterator[str]:
    now = versions(step.requires, packages) | {name: packages.get(name) for name in step.uses}
    yield from _changed("versions", then if isinstance(then, Mapping) else {}, now)


def _changed(what: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*then, *now}, key=str):
        if name not in then:
            yield f"{what}: {name} was not known, is now {now[name]!r}"
        elif name not in now:
            yield f"{what}: {name} was {then[name]!r}, is not known any more"
        elif then[name] != now[name]:
            yield f"{what}: {name} was {then[name]!r}, is now {now[name]!r}"


def _source(entry: Entry) -> Mapping[str, Any]:
    source = entry.sidecar.get("source")
    return source if isinstance(source, Mapping) else {}
