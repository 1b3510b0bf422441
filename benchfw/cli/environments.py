"""Environments as commands name them: one of a scenario, one that benchfw has made, or its own interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchfw.environments import Environment
    from benchfw.plugins import Registry


def find_environment(name: str, scenario: Path | None) -> tuple[Registry, Environment]:
    """Return an environment by its name; whether it works is seen when a worker starts there.

    Args:
        name: `default` is benchfw's own interpreter.
        scenario: A file whose tables name it; None for one that `benchfw env create` has made.

    Raises:
        UnknownName: There is none of this name.
        ScenarioError: The scenario has faults, whatever is looked for in it.
    """
    from benchfw import plugins
    from benchfw.cli.session import load_scenario
    from benchfw.environments import DEFAULT, Environment, from_scenario, managed
    from benchfw.errors import UnknownName

    if scenario is not None:
        registry, loaded = load_scenario(scenario, (), ())
        entries = loaded.scenario.environments
        if name == DEFAULT:
            return registry, Environment()
        if name in entries:
            return registry, from_scenario(name, entries[name], loaded.root)
        place, known = str(scenario), [DEFAULT, *entries]
    else:
        if name == DEFAULT:
            return plugins.registry(), Environment()
        if managed.is_name(name) and managed.is_ours(name):
            return plugins.registry(), Environment(name=name, python=str(managed.python_of(name)))
        place, known = str(managed.root()), [DEFAULT, *managed.names()]
    raise UnknownName(f"there is no environment {name!r} in {place}", hint=f"there are: {', '.join(known)}")


def given_environment(name: str | None, scenario: Path | None) -> Environment | None:
    """Return what `--environment` and `--scenario` name; None for benchfw's own interpreter.

    Raises:
        UsageError: A scenario is given, and no name.
        UnknownName: There is none of this name.
        ScenarioError: The scenario has faults.
    """
    from benchfw.environments import DEFAULT
    from benchfw.errors import UsageError

    if name is None:
        if scenario is not None:
            raise UsageError(f"--scenario {scenario}: no environment of it is named", hint="--environment NAME")
        return None
    environment = find_environment(name, scenario)[1]
    return None if environment.name == DEFAULT else environment


def environment_tables(environment: Environment | None) -> dict[str, Any]:
    """Return `[environments]` of a scenario with this environment; nothing for None."""
    if environment is None:
        return {}
    python = environment.asked if environment.managed else environment.python
    table = {"packages": list(environment.packages), "env": dict(environment.env)}
    return {"environments": {environment.name: table | ({"python": python} if python else {})}}
