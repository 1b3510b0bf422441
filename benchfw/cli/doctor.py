"""`benchfw doctor`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchfw.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from benchfw.doctor.findings import Check, Finding
    from benchfw.doctor.storage import Folder
    from benchfw.environments import Environment
    from benchfw.environments.check import CheckedEnvironment
    from benchfw.plugins import Registry

_STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}
_INDENT = 6
"""The width of a level and the blanks after it."""


@click.command()
@options.results
@click.option("--scenario", type=click.Path(path_type=Path), help="Look at the environments of this scenario file too.")
@options.json_output
def command(results: Path, scenario: Path | None, as_json: bool) -> int:
    """Look at this machine before it is measured on.

    Each finding is OK, WARN or FAIL, and names what to do about it. Exit code 3 if anything is FAIL, else 0.
    """
    from dataclasses import asdict

    from benchfw.cli.console import make_console, print_json
    from benchfw.doctor.findings import examine, exit_code

    console = make_console()
    found: list[Finding] = []
    findings = _kept(examine(_checks(results, scenario, console)), found)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        show(findings, console)
    return exit_code(found)


def show(findings: Iterable[Finding], console: Console) -> None:
    """Print findings, an area as soon as its last one is there, and then how many there are of each level."""
    from collections import Counter
    from itertools import groupby

    from benchfw.cli.console import literal

    levels: Counter[str] = Counter()
    for area, group in groupby(findings, key=lambda finding: finding.area):
        _print_area(area, list(group), console, levels)
    counts = ", ".join(f"{levels[level]} {level}" for level in _STYLES)
    console.print(literal(counts, "bold"))


def _print_area(area: str, findings: list[Finding], console: Console, levels: dict[str, int]) -> None:
    from rich.table import Table

    from benchfw.cli.console import literal, print_table

    console.print(literal(area, "bold"))
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        levels[finding.level] += 1
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=_INDENT - 2)
        table.add_column(width=min(width, console.width // 4), overflow="fold")
        table.add_column(overflow="fold")
        table.add_row(literal(finding.level, _STYLES[finding.level]), literal(finding.what), literal(finding.text))
        print_table(console, table)
        if finding.remedy:  # not wrapped: it is there to be copied
            console.print(literal(f"{'':{_INDENT}}-> {finding.remedy}", "cyan"), soft_wrap=True)
    console.print()


def _kept(findings: Iterator[Finding], found: list[Finding]) -> Iterator[Finding]:
    """Yield findings, and keep them."""
    for finding in findings:
        found.append(finding)
        yield finding


def _checks(out: Path, scenario: Path | None, console: Console) -> list[Check]:
    """Return all checks, with the facts of this process and its machine; the slow ones come last.

    Raises:
        ScenarioError: The scenario has faults.
    """
    import functools
    import os

    from benchfw.doctor import gpu, machine, software, storage
    from benchfw.environments import pythons
    from benchfw.executors.devices import Devices, cpus
    from benchfw.plugins import registry

    affinity = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    terminal = storage.Terminal(
        width=console.width if console.is_terminal else None,
        colour=console.color_system,
        encoding=sys.stdout.encoding or "unknown",
    )
    driver: dict[str, str | None] = {}
    plugins, measuring = registry(), Devices(cpus()).others()
    looks = {each.name: functools.partial(_checked, plugins, each, driver) for each in _environments(scenario)}
    return [
        *machine.checks(Path("/"), affinity, measuring),
        *gpu.checks(driver=driver),
        *storage.checks(_folders(out)),
        storage.terminal_check(terminal),
        *software.python_checks(software.Interpreter.this(), pythons),
        software.plugin_check(plugins),
        *software.environment_checks(plugins, looks, measuring=measuring, driver=driver),
    ]


def _environments(scenario: Path | None) -> list[Environment]:
    """Return the environments that are looked at: benchfw's own interpreter, what it has made or begun, a scenario's.

    A table of the scenario says more of an environment than its name, so it goes before what benchfw has made.
    """
    from benchfw.cli.session import load_scenario
    from benchfw.environments import Environment, from_scenario, managed

    found = {name: Environment(name=name, python=str(managed.python_of(name))) for name in managed.names()}
    if scenario is not None:
        loaded = load_scenario(scenario, (), ())[1]
        entries = loaded.scenario.environments.items()
        found.update({name: from_scenario(name, entry, loaded.root) for name, entry in entries})
    return [Environment(), *found.values()]


def _checked(registry: Registry, environment: Environment, driver: dict[str, str | None]) -> CheckedEnvironment:
    from benchfw.environments.check import check
    from benchfw.executors.scratch import scratch

    with scratch(Path.cwd()) as folder:
        return check(environment, registry.backends.values(), folder, driver.get("cuda"))


def _folders(out: Path) -> list[Folder]:
    """Return the folders that benchfw writes to."""
    from benchfw.artifacts import Cache
    from benchfw.doctor import storage
    from benchfw.errors import BuildFailed
    from benchfw.executors.devices import lock_folder

    place = "BENCHFW_CACHE names another folder"
    try:
        cache = Cache.default()
        kept = storage.Folder("cache", cache.root, place, cache.notice, sized=True)
    except BuildFailed as error:
        kept = storage.Folder("cache", None, error.hint or place, error.message)
    return [
        kept,
        storage.Folder("results", out, "--results names another folder"),
        storage.Folder("temporary", storage.temporary(), "TMPDIR names another folder"),
        storage.Folder(
            "locks", lock_folder(), "BENCHFW_LOCKS names another folder, the same for all runs", needed=False
        ),
    ]
