"""`benchfw env`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchfw.cli import completers, options

if TYPE_CHECKING:
    from benchfw.environments.check import CheckedEnvironment


@click.group()
def command() -> None:
    """Make, list, check and remove environments: interpreters with packages that workers run on.

    A scenario uses the environment NAME by a table [environments.NAME].
    """


@command.command()
@click.argument("name")
@click.option("--python", metavar="PYTHON", help="A version, as 3.10, or an interpreter; default: benchfw's own.")
@click.option(
    "--with", "requirements", multiple=True, metavar="REQUIREMENT", help="Install it beside numpy; repeatable."
)
@click.option("--pip", "only_pip", is_flag=True, help="Use venv and pip even if uv is found.")
@options.json_output
def create(name: str, python: str | None, requirements: tuple[str, ...], only_pip: bool, as_json: bool) -> int:
    """Make the environment NAME and install numpy and what is asked for.

    As in: benchfw env create ort-old --python 3.10 --with onnxruntime==1.20.1
    """
    from benchfw.cli.console import print_json
    from benchfw.cli.signals import interruptible
    from benchfw.cli.text import say
    from benchfw.environments.create import create as make

    with interruptible():
        made = make(name, python=python, requirements=requirements, use_uv=not only_pip, notify=say)
    if as_json:
        print_json(_described(name))
        return 0
    say(f"made {name}: CPython {made.python}, by {made.tool}")
    say(f'in a scenario: [environments."{name}"]; what loads there: benchfw env check {name}')
    return 0


@command.command()
@options.json_output
def ls(as_json: bool) -> int:
    """List environments, and the Pythons that more can be made of."""
    from benchfw.cli.console import print_json
    from benchfw.environments import managed, pythons

    listing = {
        "folder": str(managed.root()),
        "environments": [_described(name) for name in managed.names()],
        "pythons": [python._asdict() for python in pythons()],
    }
    if as_json:
        print_json(listing)
    else:
        _show_listing(listing)
    return 0


@command.command()
@click.argument("name", shell_complete=completers.environments_or_default)
@click.option(
    "--scenario", type=click.Path(path_type=Path), help="Look for NAME among the environments of this scenario file."
)
@options.json_output
def check(name: str, scenario: Path | None, as_json: bool) -> int:
    """Say what loads in the environment NAME, by starting workers there.

    `default` is benchfw's own interpreter. Exits with 3 if no worker starts, or if it lacks `packages` of its table.
    """
    from benchfw.cli.console import print_json
    from benchfw.cli.environments import find_environment
    from benchfw.cli.text import say
    from benchfw.doctor import gpu
    from benchfw.doctor.findings import examine
    from benchfw.environments.check import check as look
    from benchfw.executors.devices import Devices, cpus
    from benchfw.executors.scratch import scratch

    registry, environment = find_environment(name, scenario)
    if measuring := Devices(cpus()).others():
        say(f"warning: {measuring} is measuring on these CPUs, and this disturbs it")
    driver: dict[str, str | None] = {}
    for _ in examine(gpu.checks(driver=driver)):  # what a backend wants here depends on the driver; this has a deadline
        pass
    with scratch(Path.cwd()) as folder:
        found = look(environment, registry.backends.values(), folder, driver.get("cuda"))
    if as_json:
        print_json(found.to_json())
    else:
        _show_check(found)
    return 3 if found.reason else 0


@command.command()
@click.argument("name", shell_complete=completers.environments)
def rm(name: str) -> int:
    """Remove the environment NAME, also an unfinished one. Nothing is asked."""
    from benchfw.cli.text import say
    from benchfw.environments.managed import remove

    remove(name)
    say(f"removed {name}")
    return 0


def _described(name: str) -> dict[str, Any]:
    from benchfw.environments import managed

    made, python, state = managed.find(name), managed.python_of(name), managed.state_of(name)
    return {
        "name": name,
        "state": "without its interpreter" if state == "ready" and not python.exists() else state,
        "python": str(python),
        "version": made and made.python,
        "requirements": list(made.requirements) if made else [],
        "tool": made and made.tool,
        "created": made and made.created,
    }


def _show_listing(listing: dict[str, Any]) -> None:
    from benchfw.cli.console import literal, make_console, print_table, simple_table

    console = make_console()
    if listing["environments"]:
        table = simple_table("environment", "state", "Python", "asked for", "made by")
        for item in listing["environments"]:
            asked = ", ".join(item["requirements"])
            cells = (item["name"], item["state"], item["version"] or "", asked, item["tool"] or "")
            table.add_row(*map(literal, cells))
        print_table(console, table)
    else:
        console.print(literal("no environment has been made; benchfw env create --help"), soft_wrap=True)
    console.print(literal(f"in {listing['folder']}"), soft_wrap=True)
    console.print()
    table = simple_table("Python", "path")
    for item in listing["pythons"]:
        table.add_row(literal(item["version"]), literal(item["path"]))
    print_table(console, table)


def _show_check(found: CheckedEnvironment) -> None:
    from benchfw.cli.console import literal, make_console, print_table, simple_table
    from benchfw.cli.text import say

    console = make_console()
    if found.works:
        console.print(literal(f"{found.name}: CPython {found.version}, {found.python}"), soft_wrap=True)
        packages = ", ".join(f"{name} {version}" for name, version in found.packages.items() if version)
        console.print(literal(f"packages: {packages}"), soft_wrap=True)
        console.print()
        table = simple_table("backend", "loads", "why not")
        for backend in found.backends:
            remedy = backend.install if backend.lacking else backend.remedy
            why = "; ".join(filter(None, (backend.reason, backend.lacking, remedy)))
            table.add_row(*map(literal, (backend.name, "yes" if backend.loads else "no", why)))
        print_table(console, table)
    if found.reason:
        say(f"error: {found.reason}", lines=True)
        if found.remedy:
            say(f"hint: {found.remedy}", lines=True)
