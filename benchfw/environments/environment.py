"""An environment as workers are started in it, whoever made it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchfw.environments import managed
from benchfw.environments.interpreters import VERSION, find_python, has_numpy, is_of
from benchfw.environments.managed import DEFAULT, create_command
from benchfw.errors import CaseError, MissingDependency
from benchfw.requirements import check_requirements, distributions
from benchfw.scenario.schema import EnvironmentEntry
from benchfw.supervisor import Worker

_NOT_READY = {
    "unfinished": "is unfinished",
    "damaged": f"is damaged: its {managed.SIDE_CAR} cannot be read",
}


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A named interpreter.

    Attributes:
        name: What scenarios call it.
        python: Path of the interpreter, or a name that is not on PATH.
        env: Variables of its workers.
        packages: Requirements that it must satisfy.
        asked: `python` as the scenario says it; None where it does not.
    """

    name: str = DEFAULT
    python: str = sys.executable
    env: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    asked: str | None = None

    @property
    def foreign(self) -> bool:
        """Whether this is another interpreter than the parent's."""
        return Path(self.python) != Path(sys.executable)

    @property
    def managed(self) -> bool:
        """Whether this is an environment that benchfw has made, or would have to."""
        return managed.is_name(self.name) and Path(self.python) == managed.python_of(self.name)


def from_scenario(name: str, entry: EnvironmentEntry, root: Path) -> Environment:
    """Return the environment that a table of a scenario describes. Whether it is there is seen when a worker starts.

    Args:
        name: Its name.
        entry: The table.
        root: Folder that paths start from.
    """
    python = _interpreter(name, entry.python, root)
    return Environment(name=name, python=python, env=entry.env, packages=tuple(entry.packages), asked=entry.python)


def start_worker(
    environment: Environment,
    *,
    env: Mapping[str, str] | None = None,
    distributions: Iterable[str] = (),
    check: bool = True,
    **more: Any,
) -> Worker:
    """Start a worker in an environment.

    Args:
        environment: Where.
        env: Variables; those of the environment itself go before them.
        distributions: Packages whose versions `hello` shall tell, beside those that the environment must have.
        check: Refuse an environment that lacks a package that it must have.
        **more: Further arguments of `Worker`.

    Raises:
        MissingDependency: There is no such environment, or it lacks packages; the hint is the command that makes it.
        CaseError: As for `Worker`.
    """
    check_made(environment)
    worker = Worker(
        python=environment.python,
        env={**(env or {}), **environment.env},
        foreign=environment.foreign,
        distributions={*distributions, *needed(environment)},
        **more,
    )
    try:
        if check:
            check_packages(environment, worker.hello)
    except CaseError as error:
        worker.close()
        error.stage, error.log = "hello", str(worker.log)
        raise
    return worker


def needed(environment: Environment) -> list[str]:
    """Return the names of the distributions that an environment must have."""
    return distributions(environment.packages)


def check_packages(environment: Environment, hello: Mapping[str, Any]) -> None:
    """Compare what a worker says of its packages with what the environment must have.

    Raises:
        MissingDependency: It lacks one, or has another version.
    """
    version = hello["python"].rpartition(".")[0]
    remedy = create_command(environment.name, version, environment.packages)
    if not environment.managed:  # what is made so is not looked for where a table names another interpreter
        remedy += f', with `python = "{version}"` in its table'
    check_requirements(f"the environment {environment.name!r}", environment.packages, hello["packages"], remedy)


def check_made(environment: Environment) -> None:
    """Refuse an environment that benchfw would have to make, and has not made so.

    Raises:
        MissingDependency: With the command that makes it.
    """
    if not environment.managed:
        return
    name, asked = environment.name, environment.asked
    made = managed.find(name)
    if made is None:
        state = managed.state_of(name)
        if state == "being made or removed":
            raise MissingDependency(f"the environment {name!r} is {state}", hint="again when that is over")
        what = _NOT_READY.get(state, "has not been made")
    elif asked and not is_of(made.python, asked):
        what = f"was made of Python {made.python}, not {asked}"
    else:
        return
    raise MissingDependency(f"the environment {name!r} {what}", hint=create_command(name, asked, environment.packages))


def _interpreter(name: str, python: str | None, root: Path) -> str:
    """Return the path of an interpreter.

    Where a table says a version or nothing, that is the one of the environment that benchfw has made, or would have to
    make; but for a version of which another environment or none was made, one that is found will do if it has numpy.

    Links are not followed: a virtual environment's interpreter is one, and would lose its packages.
    """
    if python is not None and not VERSION.fullmatch(python):
        return str(root / Path(python).expanduser()) if os.sep in python else shutil.which(python) or python
    made = managed.find(name)
    if python is not None and (made is None or not is_of(made.python, python)):
        found = find_python(python)
        if found is not None and has_numpy(found):
            return found
    return str(managed.python_of(name))
