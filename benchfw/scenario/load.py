"""From TOML text to a `Scenario`, or to all of its faults at once."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import tomllib
from pydantic import BaseModel, ValidationError

from benchfw.errors import Fault, ScenarioError
from benchfw.scenario.checks import MAX_FAULTS, check, nearest_name, shown
from benchfw.scenario.lines import find_line, line_table
from benchfw.scenario.schema import FixedSweep, MinOptMaxSweep, RandomBatchSweep, Scenario
from benchfw.spec.backend import BackendInfo

_KINDS = {"fixed": FixedSweep, "min-opt-max": MinOptMaxSweep, "random-batch": RandomBatchSweep}
_MAX_BYTES = 1 << 16
_MAX_PRUNES = 100
_DEEP_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){100}""")
"""A key of a hundred parts, over which tomllib would take its time."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A scenario and where it came from.

    Attributes:
        scenario: The validated scenario.
        document: The same as plain values, overrides applied, as it goes into the manifest.
        root: Folder that its paths and modules start from.
        source: Name of the file, for messages.
    """

    scenario: Scenario
    document: dict[str, Any]
    root: Path
    source: str


def load(
    path: Path,
    *,
    overrides: Iterable[str] = (),
    backends: Mapping[str, BackendInfo],
    options: Mapping[str, Any],
    steps: Mapping[str, Any] | None = None,
    samplers: Collection[str] | None = None,
) -> Loaded:
    """Read a scenario file.

    Args:
        path: The file.
        overrides: `KEY=VALUE` of `--set`, the value in TOML or else a string.
        backends: Every backend that plugins provide.
        options: Pydantic model of the options of each backend by name; None where it has none.
        steps: The same for each artifact step; None to leave steps unchecked.
        samplers: Names of the samplers that plugins provide; None to leave samplers unchecked.

    Raises:
        ScenarioError: With all faults.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ScenarioError(str(path), [Fault((), f"larger than {_MAX_BYTES} bytes: not a scenario")])
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ScenarioError(
            str(path), [Fault((), f"cannot be read: {error.strerror}")], hint="`benchfw init MODEL` writes a scenario"
        ) from error
    except UnicodeDecodeError as error:
        raise ScenarioError(str(path), [Fault((), f"is not UTF-8: {error.reason} at byte {error.start}")]) from error
    return parse(
        text,
        source=str(path),
        root=path.resolve().parent,
        overrides=overrides,
        backends=backends,
        options=options,
        steps=steps,
        samplers=samplers,
    )


def parse(
    text: str,
    *,
    source: str,
    root: Path,
    overrides: Iterable[str] = (),
    backends: Mapping[str, BackendInfo],
    options: Mapping[str, Any],
    steps: Mapping[str, Any] | None = None,
    samplers: Collection[str] | None = None,
) -> Loaded:
    """Like `load`, for the text of a file."""
    if _DEEP_KEY.search(text):
        raise ScenarioError(source, [Fault((), "a key is nested too deep")])
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        reason = re.sub(r" \(at .*\)$", "", str(error))
        raise ScenarioError(source, [Fault((), f"not TOML: {reason}", int(line[1]) if line else None)]) from error
    except ValueError as error:  # an integer of thousands of digits
        raise ScenarioError(source, [Fault((), f"not TOML that can be read: {error}")]) from error
    except RecursionError as error:
        raise ScenarioError(source, [Fault((), "not TOML that can be read: nested too deep")]) from error
    return from_document(
        document,
        source=source,
        root=root,
        overrides=overrides,
        backends=backends,
        options=options,
        steps=steps,
        samplers=samplers,
        text=text,
    )


def from_document(
    document: dict[str, Any],
    *,
    source: str,
    root: Path,
    overrides: Iterable[str] = (),
    backends: Mapping[str, BackendInfo],
    options: Mapping[str, Any],
    steps: Mapping[str, Any] | None = None,
    samplers: Collection[str] | None = None,
    text: str = "",
) -> Loaded:
    """Like `load`, for the values of a file; `text` is where lines are looked for."""
    try:
        return _from_document(document, source, root, overrides, backends, options, steps, samplers, text)
    except RecursionError as error:
        raise ScenarioError(source, [Fault((), "nested too deep")]) from error


def _from_document(
    document: dict[str, Any],
    source: str,
    root: Path,
    overrides: Iterable[str],
    backends: Mapping[str, BackendInfo],
    options: Mapping[str, Any],
    steps: Mapping[str, Any] | None,
    samplers: Collection[str] | None,
    text: str,
) -> Loaded:
    set_paths = [override(document, assignment) for assignment in overrides]
    large = list(_large_integers(document, ()))
    scenario, faults = (None, large) if large else _validate(document)
    if scenario is not None:
        faults += check(scenario, root, backends=backends, options=options, steps=steps, samplers=samplers)
    if faults:
        located = _locate(faults[:MAX_FAULTS], text, set_paths)
        more = [Fault((), "and more")] if len(faults) > MAX_FAULTS else []
        raise ScenarioError(source, located + more)
    assert scenario is not None
    return Loaded(scenario=scenario, document=document, root=root, source=source)


def override(document: dict[str, Any], assignment: str) -> tuple[str | int, ...]:
    """Apply one `KEY=VALUE` to a document in place and return the path that it set.

    A list is entered by index (`sweep.0.batch=[4]`), the list of backends also by name
    (`backend.ort-cpu.options.threads=1`).

    Raises:
        ScenarioError: It is no assignment, or its path leads nowhere.
    """
    key, equals, value_text = assignment.partition("=")
    source = f"--set {assignment}"
    if not equals or not key.strip():
        raise ScenarioError(source, [Fault((), "is not KEY=VALUE")])
    try:
        parsed = tomllib.loads(f"value = {value_text}")
        value = parsed["value"] if len(parsed) == 1 else value_text
    except (ValueError, RecursionError):
        value = value_text
    path: list[str | int] = []
    here: Any = document
    parts = key.strip().split(".")
    while len(parts) > 1:
        step, parts = _enter(here, parts, source)
        path.append(step)
        if not parts:  # the name of a backend with dots in it, and nothing after
            here[step] = value
            return tuple(path)
        here = here.setdefault(step, {}) if isinstance(here, dict) else here[step]
    if isinstance(here, list):
        step, _ = _enter(here, parts, source)
    elif isinstance(here, dict):
        step = parts[0]
    else:
        raise ScenarioError(source, [Fault(tuple(path), "leads through a value that is no table")])
    here[step] = value
    return (*path, step)


def _enter(here: Any, parts: list[str], source: str) -> tuple[str | int, list[str]]:
    """Take one step down a document; names of backends may hold dots, so the longest one that fits is taken."""
    if isinstance(here, dict):
        return parts[0], parts[1:]
    if not isinstance(here, list):
        raise ScenarioError(source, [Fault((parts[0],), "leads through a value that is no table")])
    if parts[0].isdecimal() and len(parts[0]) < 9 and int(parts[0]) < len(here):
        return int(parts[0]), parts[1:]
    names = {str(item.get("name", item.get("use"))): i for i, item in enumerate(here) if isinstance(item, dict)}
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in names:
            return names[name], parts[length:]
    raise ScenarioError(source, [Fault((parts[0],), "no such entry", nearest=nearest_name(parts[0], names))])


def _large_integers(value: Any, path: tuple[str | int, ...]) -> Iterator[Fault]:
    """Yield what TOML forbids but tomllib takes; Python refuses to print integers of thousands of digits."""
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        yield Fault(path, "an integer must fit into 64 bits")
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _large_integers(item, (*path, key))


def _validate(document: dict[str, Any]) -> tuple[Scenario | None, list[Fault]]:
    """Validate; where there are faults, drop the faulty parts so that the rest can still be checked for more."""
    faults: list[Fault] = []
    pruned = copy.deepcopy(document)
    for _ in range(_MAX_PRUNES):
        try:
            return Scenario.model_validate(pruned), faults
        except ValidationError as error:
            found = error.errors(include_url=False)
        if not faults:
            faults = [_fault(item, document) for item in found[: MAX_FAULTS + 1]]
        if not all(_prune(pruned, _document_path(item["loc"], pruned)) for item in reversed(found)):
            return None, faults
    return None, faults


def _prune(document: dict[str, Any], path: tuple[str | int, ...]) -> bool:
    """Make a faulty value harmless, so that the rest can be checked; False if that cannot be done.

    Entries of lists keep their places, and what other values refer to keeps its name: an axis, a backend.
    """
    head, depth = path[0], len(path)
    if head == "shapes" and depth > 1 and isinstance(document["shapes"], dict):
        document["shapes"][path[1]] = {"min": 1, "opt": 1, "max": (1 << 31) - 1}
    elif head in ("sweep", "backend"):
        return _prune_entry(document, str(head), path[1:])
    elif head == "name":
        document["name"] = "x"
    elif head == "model" and (depth == 1 or path[1] == "ref" or not isinstance(document["model"], dict)):
        document["model"] = {**(document["model"] if isinstance(document.get("model"), dict) else {}), "ref": "null:x"}
    elif path[:2] == ("model", "inputs") and depth > 3 and path[3] == "shape":
        here = document["model"]["inputs"][path[2]]
        if depth > 4 and isinstance(here.get("shape"), list):
            here["shape"][path[4]] = 1
        else:
            here["shape"] = list(document["shapes"]) if isinstance(document.get("shapes"), dict) else [1]
    elif path[:2] == ("model", "inputs") and depth > 3 and path[3] in ("low", "high"):
        document["model"]["inputs"][path[2]].update(low=0, high=2)
    else:
        return _delete(document, path)
    return True


def _prune_entry(document: dict[str, Any], head: str, path: tuple[str | int, ...]) -> bool:
    """Drop a faulty key of an entry of `sweep` or `backend`; if that is not enough, replace the entry."""
    entries = document.get(head)
    if not path or not isinstance(entries, list) or not isinstance(path[0], int) or path[0] >= len(entries):
        document[head] = [_harmless(head, {}, 0)]
        return True
    entry, place = entries[path[0]], path[0]
    if isinstance(entry, dict) and len(path) > 1 and path[1] in entry and path[1] not in ("use", "kind"):
        del entry[path[1]]
    else:
        entries[place] = _harmless(head, entry if isinstance(entry, dict) else {}, place)
    return True


def _harmless(head: str, entry: dict[str, Any], place: int) -> dict[str, Any]:
    if head == "sweep":
        return {"kind": "min-opt-max"}
    name = entry.get("name", entry.get("use"))
    usable = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name)
    return {"use": f"faulty{place}", "name": name if usable else f"faulty{place}", "optional": True}


def _delete(document: Any, path: tuple[str | int, ...]) -> bool:
    """Delete the value at `path`, or the nearest one around it that is there."""
    for depth in range(len(path), 0, -1):
        here = document
        try:
            for step in path[: depth - 1]:
                here = here[step]
            del here[path[depth - 1]]
        except (KeyError, IndexError, TypeError):
            continue
        return True
    return False


def _fault(item: Any, document: dict[str, Any]) -> Fault:
    path = _document_path(item["loc"], document)
    kind, reason = item["type"], item["msg"].removeprefix("Value error, ")
    nearest = None
    if kind == "extra_forbidden":
        reason = "unknown key"
        nearest = nearest_name(str(path[-1]), _names_at(path[:-1]))
    elif kind == "missing":
        reason = "is missing"
    elif kind in ("literal_error", "union_tag_invalid"):
        expected = item["ctx"].get("expected") or item["ctx"].get("expected_tags", "")
        value = item["input"].get("kind") if isinstance(item["input"], dict) else item["input"]
        reason = f"{shown(value)} is not one of {expected}"
        nearest = nearest_name(str(value), re.findall(r"'([^']+)'", expected))
        path = (*path, "kind") if kind == "union_tag_invalid" else path
    elif kind == "union_tag_not_found":
        reason = "`kind` is missing"
    else:
        value = item["input"]
        if not isinstance(value, dict | list):
            reason = f"{reason[:1].lower()}{reason[1:]}, got {shown(value)}"
    return Fault(path, reason, nearest=nearest)


def _document_path(loc: tuple[str | int, ...], document: Any) -> tuple[str | int, ...]:
    """Drop from pydantic's location what is no key of the document: tags of unions and names of types."""
    if len(loc) > 2 and loc[0] == "sweep" and loc[2] in _KINDS:
        loc = (*loc[:2], *loc[3:])
    if loc[-1] == "[key]":  # the name of an entry is at fault, not what it holds
        loc = loc[:-1]
    path: list[str | int] = []
    here = document
    for place, step in enumerate(loc):
        last = place == len(loc) - 1
        known = isinstance(here, dict) and step in here
        known = known or (isinstance(here, list) and isinstance(step, int) and step < len(here))
        if not known and not (last and isinstance(here, dict) and isinstance(step, str)):
            continue
        path.append(step)
        here = here[step] if known else None
    return tuple(path)


def _names_at(path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that a table may have, walking down the models."""
    model: Any = Scenario
    for step in path:
        if isinstance(step, int):
            continue
        annotation = model.model_fields[step].annotation if step in getattr(model, "model_fields", {}) else model
        model = next(iter(_models_in(annotation)), model)
        if model in _KINDS.values():
            return sorted({name for kind in _KINDS.values() for name in _fields(kind)})
    return _fields(model)


def _fields(model: Any) -> list[str]:
    return list(getattr(model, "model_fields", {}))


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _locate(faults: list[Fault], text: str, set_paths: list[tuple[str | int, ...]]) -> list[Fault]:
    """Add lines; a value that `--set` gave says so instead."""
    lines = line_table(text)
    located = []
    for fault in faults:
        if any(fault.path[: len(given)] == given for given in set_paths):
            located.append(replace(fault, reason=f"{fault.reason} (from --set)"))
        else:
            located.append(replace(fault, line=find_line(lines, fault.path)))
    return located
