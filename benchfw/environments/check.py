"""Says what loads in an environment, by starting workers there."""

from __future__ import annotations

import functools
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from benchfw.environments import managed
from benchfw.environments.environment import Environment, check_made, check_packages, start_worker
from benchfw.environments.managed import create_command
from benchfw.errors import BenchfwError, MissingDependency
from benchfw.handover import hand_over
from benchfw.requirements import alternatives, check_requirements, distributions, versions
from benchfw.spec.backend import BackendInfo
from benchfw.supervisor import Worker

IMPORT_TIMEOUT_S = 120.0
"""Importing a framework takes seconds; from a cold disk or over a network, tens of them."""

_UTF8 = "files are read in the encoding of the locale: export PYTHONUTF8=1, or a UTF-8 locale: export LC_ALL=C.UTF-8"


@dataclass(frozen=True, kw_only=True)
class CheckedBackend:
    """Whether a backend loads.

    Attributes:
        name: The backend.
        loads: Whether its class could be imported.
        missing: Whether a requirement is not met; it was not imported then.
        reason: Why it does not load; empty if it does.
        remedy: What to do about it, where that is known.
        install: The command that brings what it requires into this environment, where that is known.
        packages: Version of each package that it requires; None where it is missing.
        seconds: What the import took, in a worker that may have the framework already; 0 if it does not load.
    """

    name: str
    loads: bool
    missing: bool = False
    reason: str = ""
    remedy: str = ""
    install: str = ""
    packages: Mapping[str, str | None] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CheckedEnvironment:
    """What an environment is.

    Attributes:
        name, python: Its name and the path of its interpreter.
        works: Whether workers start there.
        made: False if benchfw has to make it first, because it is unfinished or is not there.
        state: What is known of one that benchfw makes, as `managed.State`; empty for an interpreter of somebody else.
        reason, remedy: Why it does not work, and what to do about it; or which of the packages that it must have it
            lacks.
        implementation, version: Of the interpreter; None if no worker starts, and nothing is known of the rest.
        packages: Version of each package that a backend or the scenario speaks of, and of numpy; None where it is
            missing.
        backends: Whether each of them loads.
    """

    name: str
    python: str
    works: bool
    made: bool = True
    state: str = ""
    reason: str = ""
    remedy: str = ""
    implementation: str | None = None
    version: str | None = None
    packages: Mapping[str, str | None] = field(default_factory=dict)
    backends: tuple[CheckedBackend, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check(environment: Environment, backends: Iterable[BackendInfo], folder: Path) -> CheckedEnvironment:
    """Start a worker in an environment, then import each backend there whose requirements are met.

    Backends of one module share a worker, those of different ones do not, as in a run: two frameworks in one process
    may get in each other's way. One that kills its worker does not cost the others.

    Args:
        environment: Where to look.
        backends: What to import.
        folder: A scratch folder: for code and logs of workers, and for what frameworks leave in TMPDIR when they are
            imported. Its name begins the mark of the workers.
    """
    infos = tuple(backends)
    place = folder / environment.name
    start = functools.partial(
        start_worker,
        environment,
        check=False,
        env={"TMPDIR": str(folder)},
        distributions={name for info in infos for name in _needs(info)},
        mark=folder.name,
    )
    state = managed.state_of(environment.name) if environment.managed else ""
    refused = functools.partial(
        CheckedEnvironment, name=environment.name, python=environment.python, works=False, state=state
    )
    try:
        check_made(environment)
    except MissingDependency as error:
        return refused(made=False, **_told(error))
    try:
        worker = start(code=hand_over(place / "code", []), log=place / "log")
    except (BenchfwError, OSError) as error:
        return refused(**_told(error, _again(environment)))
    worker.close()
    hello = worker.hello
    lacks: Mapping[str, Any] = {}
    try:
        check_packages(environment, hello)
    except MissingDependency as error:
        lacks = _told(error)
    checked = {info.name: _held_against(environment, info, hello) for info in infos}
    met = sorted((info for info in infos if not checked[info.name].reason), key=_module)
    for number, (_, group) in enumerate(groupby(met, key=_module)):
        for name, outcome in _import(list(group), start, place / str(number)):
            checked[name] = replace(checked[name], **outcome)
    return CheckedEnvironment(
        name=environment.name,
        python=environment.python,
        works=True,
        state=state,
        implementation=hello["implementation"],
        version=hello["python"],
        packages={"numpy": hello["numpy"], **hello["packages"]},
        backends=tuple(checked.values()),
        **lacks,
    )


def _held_against(environment: Environment, info: BackendInfo, hello: Mapping[str, Any]) -> CheckedBackend:
    """Compare what a backend requires with what a worker found; there is no reason yet where that is met."""
    checked = CheckedBackend(
        name=info.name,
        loads=False,
        install=_install(environment, info, hello),
        packages=versions(info.requires, hello["packages"]) if _needs(info) else {},
    )
    try:
        check_requirements("it", info.requires, hello["packages"], checked.install)
    except MissingDependency as error:
        return replace(checked, missing=True, **_told(error))
    except ValueError as error:
        return replace(checked, reason=f"its plugin states a requirement that is none: {error}")
    return checked


def _import(
    infos: Sequence[BackendInfo], start: Callable[..., Worker], place: Path
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what comes of each backend of one module, in a worker that is started anew if one of them ends it."""
    worker = None
    try:
        for info in infos:
            try:
                if worker is None or not worker.alive:
                    worker = start(code=hand_over(place / "code", info.code), log=place / "log")
                before = time.monotonic()
                worker.ask("import", IMPORT_TIMEOUT_S, factory=info.factory)
            except (BenchfwError, OSError) as error:
                yield info.name, _told(error, _UTF8 if "UnicodeDecodeError" in str(error) else "")
            else:
                yield info.name, {"loads": True, "seconds": time.monotonic() - before}
    finally:
        if worker is not None:
            worker.close()


def _install(environment: Environment, info: BackendInfo, hello: Mapping[str, Any]) -> str:
    """Return the command that brings what a backend requires; elsewhere than here that is not the plugin itself."""
    if not environment.foreign:
        return info.install
    if not _needs(info):
        return ""
    if environment.managed:
        made = managed.find(environment.name)
        packages = _merged(made.requirements if made else (), info, hello["packages"])
        # Under another name: what is there may be pinned for good reason, serve other scenarios, and could not be had
        # back if the new one cannot be installed. The user removes it when nobody needs it any more.
        return create_command(managed.free_name(environment.name), _minor(hello["python"]), packages)
    choices = (_choice(text, hello["packages"]) for text in info.requires)
    return shlex.join([environment.python, "-m", "pip", "install", *choices])


def _merged(asked: Sequence[str], info: BackendInfo, packages: Mapping[str, str | None]) -> list[str]:
    """Return what an environment was asked for, with what a backend requires in place of the pins that it refuses."""
    unmet = {name for text in info.requires if not _is_met(text, packages) for name in map(_name, alternatives(text))}
    kept = [text for text in asked if _name(text) not in unmet]
    names = set(map(_name, kept))
    fit = ([choice for choice in alternatives(text) if _is_met(choice, packages)] for text in info.requires)
    wanted = (text for text, fits in zip(info.requires, fit, strict=True) if names.isdisjoint(map(_name, fits)))
    return [*kept, *(_choice(text, packages) for text in wanted)]


def _choice(requirement: str, packages: Mapping[str, str | None]) -> str:
    """Return which of some alternatives to install: one that is met, else one that is there in another version.

    Alternatives install the same module, so that a second one would overwrite what is there.
    """

    def distance(choice: str) -> tuple[bool, bool]:
        return not _is_met(choice, packages), packages.get(distributions([choice])[0]) is None

    return min(alternatives(requirement), key=distance)


def _is_met(requirement: str, packages: Mapping[str, str | None]) -> bool:
    try:
        check_requirements("it", [requirement], packages, "")
    except MissingDependency:
        return False
    return True


def _name(requirement: str) -> str:
    """Return the name of what a requirement asks for; of one that somebody has written by hand, what it says."""
    try:
        return canonicalize_name(distributions([requirement])[0])
    except ValueError:
        return requirement


def _again(environment: Environment) -> str:
    """Return the command that makes an environment of ours once more; empty for one of somebody else."""
    made = managed.find(environment.name) if environment.managed else None
    return create_command(made.name, _minor(made.python), made.requirements) if made else ""


def _minor(version: str) -> str:
    return version.rpartition(".")[0]


def _told(error: BenchfwError | OSError, remedy: str = "") -> dict[str, Any]:
    """Return the reason and the remedy of an error, or another remedy if it has none."""
    if isinstance(error, OSError):
        return {"reason": str(error), "remedy": "TMPDIR names another folder for what workers are handed"}
    return {"reason": error.message, "remedy": error.hint or remedy}


def _needs(info: BackendInfo) -> list[str]:
    """Return the distributions that a backend requires; none if what it states cannot be read."""
    try:
        return distributions(info.requires)
    except ValueError:
        return []


def _module(info: BackendInfo) -> str:
    return info.factory.partition(":")[0]
