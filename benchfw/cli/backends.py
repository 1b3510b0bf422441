"""`benchfw backends`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from benchfw.cli import completers, options

if TYPE_CHECKING:
    from benchfw.plugins import Registry
    from benchfw.spec.info import Info


_ELSEWHERE = ("requires", "install", "scheme", "built_for", "bundles", "modules")
"""Fields of a registration that are told otherwise, or by `benchfw doctor`."""


@click.command()
@click.argument("name", required=False, shell_complete=completers.installed_backends)
@options.json_output
def command(name: str | None, as_json: bool) -> int:
    """List what plugins provide: who provides it, and what it lacks in this interpreter.

    With NAME, show one backend: what it can do, its versions and its options.
    """
    from benchfw.cli.console import print_json
    from benchfw.plugins import registry

    if name is not None:
        found = _backend(registry(), name)
        print_json(found) if as_json else _show_backend(found)
        return 0
    listing = _listing(registry())
    print_json(listing) if as_json else _show(listing)
    return 0


def _listing(registry: Registry) -> dict[str, Any]:
    from benchfw.plugins import KINDS

    listing: dict[str, Any] = {
        f"{kind.replace(' ', '_')}s": [_entry(registry, kind, info) for info in registry.known(kind).values()]
        for kind in KINDS
        if kind != "command"  # the help lists those
    }
    listing["plugins"] = [
        {"name": plugin.name, "from": plugin.owner, "ms": round(plugin.seconds * 1e3, 1)} for plugin in registry.plugins
    ]
    listing["broken"] = [{"name": plugin.name, "reason": plugin.reason} for plugin in registry.broken]
    listing["blocked"] = registry.blocked
    listing["blocks_nothing"] = registry.unmatched
    return listing


def _entry(registry: Registry, kind: str, info: Info) -> dict[str, Any]:
    from dataclasses import asdict

    facts = {key: value for key, value in asdict(info).items() if key not in _ELSEWHERE}
    name = f"{info.key}:" if kind == "model source" else info.key
    return {
        **facts,
        "name": name,
        "summary": info.summary or f"{facts.get('source')} to {facts.get('target')}",
        "plugin": registry.owners[f"{kind} {info.key}"],
        **state_here(info),
    }


def state_here(info: Info) -> dict[str, Any]:
    """Say whether what is required is in this interpreter, importing none of its modules."""
    from importlib import metadata

    from benchfw.errors import MissingDependency
    from benchfw.requirements import check_requirements, distributions, versions
    from benchfw.worker.imports import is_there

    packages: dict[str, str | None] = {}
    for name in distributions(info.requires):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    try:
        check_requirements("it", info.requires, packages, info.install)
        for module in getattr(info, "modules", ()):
            if not is_there(module):
                raise MissingDependency(f"it needs the module {module!r}, which is not installed")
    except MissingDependency as error:
        return {
            "ready": False,
            "versions": versions(info.requires, packages),
            "reason": error.message,
            "install": info.install,
        }
    return {"ready": True, "versions": versions(info.requires, packages), "reason": "", "install": ""}


def _backend(registry: Registry, name: str) -> dict[str, Any]:
    """Return everything that is known of one backend.

    Raises:
        UnknownName: No plugin provides it.
        PluginError: Its options cannot be imported, or described.
    """
    from benchfw.errors import PluginError
    from benchfw.plugins import options_model

    info = registry.backend(name)
    model = options_model(info)
    try:
        schema = model.model_json_schema() if model else {}
    except Exception as error:  # types that JSON has no words for
        raise PluginError(f"options {info.options!r} of {name!r} have no JSON Schema: {error}") from error
    return {**_entry(registry, "backend", info), "requires": list(info.requires), "options_schema": schema}


# --- for people -----------------------------------------------------------------------------------------------------


def _show(listing: Mapping[str, Any]) -> None:
    from benchfw.cli.console import literal, make_console, print_table, simple_table

    console = make_console()
    for kind in ("backends", "model_sources", "steps", "executors", "samplers"):
        if not listing[kind]:
            continue
        table = simple_table("", "what", "from", "here", title=kind.replace("_", " "))
        for item in listing[kind]:
            table.add_row(*map(literal, (item["name"], item["summary"], item["plugin"], _here(item))))
        print_table(console, table)
        console.print()
    for plugin in listing["broken"]:
        console.print(literal(f"broken: {plugin['name']}: {plugin['reason']}", lines=True), soft_wrap=True)
    for name in listing["blocked"]:
        console.print(literal(f"blocked: {name} (BENCHFW_BLOCK_PLUGINS)"), soft_wrap=True)
    for name in listing["blocks_nothing"]:
        console.print(literal(f"blocks nothing: {name} (BENCHFW_BLOCK_PLUGINS)"), soft_wrap=True)


def _here(item: Mapping[str, Any]) -> str:
    if not item["ready"]:
        return f"{item['reason']}; {item['install']}"
    versions = ", ".join(f"{name} {version}" for name, version in item["versions"].items())
    return f"ready ({versions})" if versions else "ready"


def _show_backend(found: Mapping[str, Any]) -> None:
    from benchfw.cli.console import literal, make_console, print_table, simple_table
    from benchfw.cli.schemas import rows

    console = make_console()
    able = found["capabilities"]
    facts = {
        found["name"]: found["summary"],
        "from": found["plugin"],
        "here": _here(found),
        "requires": ", ".join(found["requires"]) or "nothing",
        "accepts": "any format" if "*" in found["accepts"] else ", ".join(found["accepts"]),
        "provider": found["provider"],
        "precisions": ", ".join(able["precisions"]),
        "devices": ", ".join(able["devices"]),
        "dynamic shapes": "yes" if able["dynamic_shapes"] else "no",
        "artifacts": "made for one shape differ" if able["specializes"] else "one serves all shapes",
        "launch": "returns early, on a stream" if able["asynchronous"] else "returns completed outputs",
    }
    table = simple_table("", "")
    table.show_header = False
    for key, value in facts.items():
        table.add_row(literal(key, "bold"), literal(value))
    print_table(console, table)
    console.print()
    options_table = simple_table("option", "type", "default", "meaning")
    listed = list(rows(found["options_schema"]))
    for row in listed:
        options_table.add_row(*map(literal, row))
    if listed:
        print_table(console, options_table)
    else:
        console.print("no options")
