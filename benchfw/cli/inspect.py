"""`benchfw inspect`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchfw.cli import completers, options

if TYPE_CHECKING:
    from benchfw.plugins import Registry

_SAFETENSORS = ".safetensors"
_MAGIC = re.compile(rb"([a-zA-Z]{4})[^\0]{0,8}\0")
"""Four letters and then no text: so engines begin, also those that no plugin knows."""
_HEAD_BYTES = 64
_SHOWN = frozenset(
    (
        *("path", "format", "bytes", "precision", "inputs", "outputs", "opset", "ir_version", "producer", "graph"),
        *("nodes", "operators", "tensors", "weights", "external_data", "sidecar"),
    )
)
"""What has its own place in the text; other facts are told by their names."""
_COUNTS = {
    "denormal": "denormal",
    "nan": "NaN",
    "infinite": "infinite",
    "below_fp16": "too small for fp16",
    "above_fp16": "too large for fp16",
}


@click.command()
@click.argument("file", shell_complete=completers.files_or_cache_keys)
@options.json_output
def command(file: str, as_json: bool) -> int:
    """Tell what FILE holds: an ONNX model, a safetensors file, an engine, or a KEY of `benchfw cache ls`.

    Inputs and outputs, operators, weights and what is odd about them; of an artifact of the cache, and of an engine,
    also what its side-car says. Nothing in the file is run.
    """
    from benchfw import plugins
    from benchfw.cli.console import print_json
    from benchfw.errors import BuildFailed, UsageError

    try:
        facts = _facts(plugins.registry(), file)
    except BuildFailed as error:
        raise UsageError(error.message, hint=error.hint) from error
    if as_json:
        print_json(facts)
    else:
        _show(facts)
    return 0


def _facts(registry: Registry, file: str) -> dict[str, Any]:
    """Return what can be told of a file, or of an entry of the cache.

    Raises:
        BuildFailed: The file is damaged, or none of a known format.
        UsageError: There is no such file and no such entry.
    """
    from benchfw.artifacts.entries import damage_of

    path, entry = _find(file)
    sidecar: Mapping[str, Any] = {}
    if entry is not None:
        if damage := damage_of(entry):
            from benchfw.errors import BuildFailed

            raise BuildFailed(f"{entry.key} is damaged: {damage}", hint=f"benchfw cache rm {entry.key}")
        sidecar = entry.sidecar
        path = entry.path / sidecar["artifact"]["path"] if sidecar else entry.path
    sidecar = sidecar or _sidecar_beside(path)
    format_ = str(sidecar["artifact"]["format"]) if sidecar else _format(registry, path)
    if path.suffix == _SAFETENSORS:
        format_ = "safetensors"
    facts = {"path": str(path), "format": format_, "bytes": path.stat().st_size, **_described(registry, path, format_)}
    if sidecar:
        facts["sidecar"] = sidecar
        facts.setdefault("precision", sidecar["artifact"].get("precision"))
    return facts


def _find(file: str) -> tuple[Path, Any]:
    """Return a file, and the entry of the cache that it belongs to, or None."""
    from benchfw.artifacts import Cache
    from benchfw.artifacts.entries import entries, find_entry
    from benchfw.errors import UsageError

    path, cache = Path(file), Cache.default()
    if path.is_dir():
        raise UsageError(f"{file} is a folder", hint="name the file in it")
    found = entries(cache)
    if path.is_file():
        place = path.resolve()
        inside = (entry for entry in found if entry.sidecar and place.parent == entry.path.resolve())
        return path, next(inside, None)
    try:
        return path, find_entry(found, file)
    except UsageError as error:
        if "holds nothing" not in error.message:
            raise
        raise UsageError(f"there is no file {file}, and {error.message}", hint=error.hint) from error


def _sidecar_beside(path: Path) -> Mapping[str, Any]:
    """Return the side-car that `benchfw build -o FILE` writes to FILE.json; empty if there is none of this file.

    Raises:
        BuildFailed: It is that of another file.
    """
    from benchfw.artifacts.cache import sha256_of
    from benchfw.artifacts.entries import checked_sidecar
    from benchfw.errors import BuildFailed

    beside = path.with_name(f"{path.name}.json")
    try:
        sidecar = checked_sidecar(dict(json.loads(beside.read_text(encoding="utf-8"))))
        hashes = {item["sha256"] for item in sidecar["files"].values()}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    if sha256_of(path) not in hashes:
        raise BuildFailed(f"{beside} is the side-car of another file than {path}", hint="build or copy both again")
    return sidecar


def _format(registry: Registry, path: Path) -> str:
    """Tell the format of a file that has no side-car, from its first bytes.

    Raises:
        BuildFailed: It is one that is not opened.
    """
    from benchfw.errors import BuildFailed

    with path.open("rb") as content:
        head = content.read(_HEAD_BYTES)
    for info in registry.formats.values():
        if head.startswith(info.begins):
            return info.name
    if magic := _MAGIC.match(head):
        raise BuildFailed(
            f"{path} begins with {magic[1].decode()!r}: it may be an engine without its side-car, and no installed "
            "plugin tells of such files",
            hint="install the plugin of its runtime; `benchfw build -o FILE` writes FILE.json beside the engine",
        )
    if head.startswith((b"PK\x03\x04", b"\x80")):
        raise BuildFailed(
            f"{path} is a zip or pickle, as frameworks save them, which can hold code and is not opened",
            hint="save its weights as safetensors, or the model by benchfw export python:MODULE:CALLABLE -o x.onnx",
        )
    return "onnx"


def _described(registry: Registry, path: Path, format_: str) -> dict[str, Any]:
    """Return what a format tells of a file; nothing where no plugin knows it."""
    from benchfw.artifacts.safetensors import describe
    from benchfw.executors.making import describe_file

    return dict(describe(path) if format_ == "safetensors" else describe_file(registry, format_, path))


def _show(facts: Mapping[str, Any]) -> None:
    from benchfw.cli.console import literal, make_console, print_table, simple_table

    console = make_console()
    for line in _head(facts):
        console.print(literal(line), soft_wrap=True)
    ends = [(end, item) for end in ("inputs", "outputs") for item in facts.get(end, ())]
    if ends:
        console.print()
        table = simple_table("", "name", "dtype", "shape")
        for end, item in ends:
            table.add_row(*map(literal, (end[:-1], item["name"], item["dtype"], " x ".join(map(str, item["shape"])))))
        print_table(console, table)
        console.print()
    for line in _rest(facts):
        console.print(literal(line, lines=True), soft_wrap=True)


def _head(facts: Mapping[str, Any]) -> Iterator[str]:
    from benchfw.store.files import size_text

    precision = f", {facts['precision']}" if facts.get("precision") else ""
    yield f"{facts['path']}: {facts['format']}{precision}, {size_text(facts['bytes'])}"
    if facts.get("opset"):
        opsets = ", ".join(f"{domain} {version}" for domain, version in facts["opset"].items())
        yield f"opset {opsets}; IR {facts['ir_version']}; made by {facts['producer'] or 'nobody who says so'}"


def _rest(facts: Mapping[str, Any]) -> Iterator[str]:
    from benchfw.store.files import size_text

    if "operators" in facts:
        operators = ", ".join(f"{name} {count}" for name, count in facts["operators"].items())
        yield f"{facts['nodes']} nodes: {operators}"
    if "tensors" in facts:
        yield from (f"{item['name']}  {item['dtype']} {item['shape']}" for item in facts["tensors"])
    if "weights" in facts:
        yield from _weights(facts["weights"])
    for item in facts.get("external_data", ()):
        yield f"external data: {item['file']}, {size_text(item['bytes'])}"
    yield from _named({name: value for name, value in facts.items() if name not in _SHOWN})
    if "sidecar" in facts:
        yield from _sidecar(facts["sidecar"])


def _weights(weights: Mapping[str, Any]) -> Iterator[str]:
    from benchfw.store.files import size_text

    kinds = ", ".join(f"{kind['elements']} {name}" for name, kind in weights["dtypes"].items())
    yield f"weights: {weights['tensors']} tensors, {size_text(weights['bytes'])}: {kinds or 'none'}"
    if weights["min"] is not None:
        text = f"of the float ones: from {weights['min']:.6g} to {weights['max']:.6g}"
        yield text + (f", smallest {weights['smallest']:.3g}" if weights["smallest"] is not None else "")
    if odd := [f"{weights[name]} {words}" for name, words in _COUNTS.items() if weights[name]]:
        yield f"odd: {', '.join(odd)}"


def _sidecar(sidecar: Mapping[str, Any]) -> Iterator[str]:
    """Say what a side-car tells of how its artifact was made, and what the step noted."""
    recipe = sidecar.get("recipe", {})
    for name in ("step", "profile", "options", "versions"):
        if recipe.get(name):
            yield f"{name}: {_text(recipe[name])}"
    for name in ("made", "seconds", "python"):
        if sidecar.get(name) is not None:
            yield f"{name}: {sidecar[name]}"
    yield from _named(sidecar["artifact"].get("meta", {}))


def _named(facts: Mapping[str, Any]) -> Iterator[str]:
    """Say everything that has a value, lists line by line."""
    for name, value in facts.items():
        if isinstance(value, list) and value:
            yield f"{name}:"
            yield from (f"  {_text(item)}" for item in value)
        elif value not in (None, [], {}, ""):
            yield f"{name}: {_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    return ":".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
