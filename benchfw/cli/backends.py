"""`benchfw backends`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from benchfw.cli import options

if TYPE_CHECKING:
    from benchfw.plugins import Registry


@click.command()
@options.json_output
def command(as_json: bool) -> int:
    """List backends, model sources and steps: who provides them, and what they lack in this interpreter."""
    from benchfw.cli.console import print_json
    from benchfw.plugins import discover

    listing = _listing(discover())
    if as_json:
        print_json(listing)
    else:
        _show(listing)
    return 0


def _listing(registry: Registry) -> dict[str, Any]:
    from dataclasses import asdict

    backends = [
        {
            "name": info.name,
            "summary": info.summary,
            "plugin": registry.owners[f"backend {info.name}"],
            "accepts": list(info.accepts),
            "capabilities": asdict(info.capabilities),
            **state_here(info.requires, info.install),
        }
        for info in registry.backends.values()
    ]
    sources = [
        {
            "name": f"{info.scheme}:",
            "summary": info.summary,
            "plugin": registry.owners[f"model source {info.scheme}"],
            **state_here(info.requires, info.install),
        }
        for info in registry.model_sources.values()
    ]
    steps = [
        {
            "name": info.name,
            "summary": f"{info.source} to {info.target}, {' and '.join(info.profiles)}",
            "plugin": registry.owners[f"step {info.name}"],
            **state_here(info.requires, info.install),
        }
        for info in registry.steps.values()
    ]
    broken = [{"name": plugin.name, "reason": plugin.reason} for plugin in registry.broken]
    return {"backends": backends, "model_sources": sources, "steps": steps, "broken": broken}


def state_here(requires: tuple[str, ...], install: str) -> dict[str, Any]:
    """Say whether requirements are met in this interpreter, from the metadata of distributions alone."""
    from importlib import metadata

    from benchfw.artifacts.builder import check_requirements, distributions
    from benchfw.errors import MissingDependency

    packages: dict[str, str | None] = {}
    for name in distributions(requires):
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    try:
        check_requirements("it", requires, packages, install)
    except MissingDependency as error:
        return {"ready": False, "versions": packages, "reason": error.message, "install": install}
    return {"ready": True, "versions": packages, "reason": "", "install": ""}


def _show(listing: dict[str, Any]) -> None:
    from rich.table import Table

    from benchfw.cli.console import literal, make_console, print_table

    console = make_console()
    for kind, title in (("backends", "backends"), ("model_sources", "model sources"), ("steps", "steps")):
        table = Table(show_edge=False, pad_edge=False, box=None, title=literal(title, "bold"), title_justify="left")
        for name in ("", "what", "from", "here"):
            table.add_column(name, header_style="underline")
        for item in listing[kind]:
            versions = ", ".join(f"{name} {version}" for name, version in item["versions"].items())
            here = f"ready ({versions})" if versions else "ready"
            if not item["ready"]:
                here = f"{item['reason']}; {item['install']}"
            table.add_row(*map(literal, (item["name"], item["summary"], item["plugin"], here)))
        print_table(console, table)
        console.print()
    for plugin in listing["broken"]:
        console.print(literal(f"broken: {plugin['name']}: {plugin['reason']}", lines=True), soft_wrap=True)
