"""Says what loads in an environment, by starting workers there."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchfw.environments import managed
from benchfw.environments.environment import Environment, check_packages, start_worker
from benchfw.environments.managed import create_command
from benchfw.errors import BenchfwError, CaseError, MissingDependency
from benchfw.plugins import Registry
from benchfw.requirements import check_requirements, distributions
from benchfw.spec.backend import BackendInfo
from benchfw.supervisor import hand_over

IMPORT_TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Whether a backend loads.

    Attributes:
        name: The backend.
        loads: Whether its class could be imported.
        reason: Why not; empty if it loads.
        remedy: What to do about it, where that is known.
    """

    name: str
    loads: bool
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What an environment is.

    Attributes:
        name, python: Its name and the path of its interpreter.
        works: Whether workers start there.
        reason, remedy: Why not, and what to do about it; or which of the packages that it must have it lacks.
        version: Version of the interpreter.
        packages: Version of each package that a backend or the scenario speaks of, and of numpy; None where it is
            missing.
        backends: Whether each of them loads; none if workers do not start.
    """

    name: str
    python: str
    works: bool
    reason: str = ""
    remedy: str = ""
    version: str | None = None
    packages: Mapping[str, str | None] = field(default_factory=dict)
    backends: tuple[Loading, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check(environment: Environment, registry: Registry, folder: Path) -> Check:
    """Start a worker in an environment, and one more per backend whose requirements are met: it imports that backend.

    A worker of its own each: a crash is that of one backend, and two frameworks in one process may disturb each other.

    Args:
        environment: Where to look.
        registry: Its backends are imported.
        folder: An empty folder for the workers' code and logs.

    Raises:
        PluginError: The package of a plugin is not to be found.
    """
    infos = registry.backends.values()
    code = hand_over(folder / "code", {info.factory for info in infos})
    known = {name for info in infos for name in distributions(info.requires)}
    try:
        worker = start_worker(environment, check=False, code=code, log=folder / "hello.log", distributions=known)
    except CaseError as error:
        return Check(name=environment.name, python=environment.python, works=False, **_told(error))
    worker.close()
    hello = worker.hello
    lacks: Mapping[str, Any] = {}
    try:
        check_packages(environment, hello)
    except MissingDependency as error:
        lacks = _told(error)
    return Check(
        name=environment.name,
        python=environment.python,
        works=True,
        version=hello["python"],
        packages={"numpy": hello["numpy"], **hello["packages"]},
        backends=tuple(_load(environment, info, hello, code, folder) for info in infos),
        **lacks,
    )


def _load(environment: Environment, info: BackendInfo, hello: Mapping[str, Any], code: Path, folder: Path) -> Loading:
    try:
        check_requirements("it", info.requires, hello["packages"], _install(environment, info, hello))
        worker = start_worker(environment, check=False, code=code, log=folder / f"{info.name}.log")
        try:
            worker.ask("import", IMPORT_TIMEOUT_S, factory=info.factory)
        finally:
            worker.close()
    except CaseError as error:
        return Loading(name=info.name, loads=False, **_told(error))
    return Loading(name=info.name, loads=True)


def _install(environment: Environment, info: BackendInfo, hello: Mapping[str, Any]) -> str:
    """Return the command that brings what a backend requires; elsewhere than here that is not the plugin itself."""
    if not environment.foreign:
        return info.install
    if environment.managed:
        made = managed.find(environment.name)
        asked = made.requirements if made else ()
        return create_command(environment.name, hello["python"].rpartition(".")[0], [*asked, *info.requires])
    return shlex.join([environment.python, "-m", "pip", "install", *info.requires])


def _told(error: BenchfwError) -> dict[str, Any]:
    return {"reason": error.message, "remedy": error.hint or ""}
