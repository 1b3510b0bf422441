"""Says what loads in an environment, by starting workers there."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from benchfw.environments import managed
from benchfw.environments.environment import Environment, check_made, check_packages, start_worker
from benchfw.environments.install import Installer, asked_after
from benchfw.environments.managed import create_command
from benchfw.errors import BenchfwError, MissingDependency
from benchfw.handover import hand_over
from benchfw.requirements import check_requirements, distributions, versions
from benchfw.spec.backend import BackendInfo
from benchfw.supervisor import Worker

IMPORT_TIMEOUT_S = 120.0
"""Importing a framework takes seconds; from a cold disk or over a network, tens of them."""

LOOK_TIMEOUT_S = 60.0
"""Looking for modules and libraries; loading those of CUDA from a cold disk takes seconds."""

_BINDINGS = "cuda-bindings"
"""What benchfw itself asks of a device through, whichever backend runs there."""

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
        install: The command that brings what it needs into this environment, or what to do where there is none; empty
            if nothing is known.
        lacking: What keeps it from its device although it loads: libraries that are not there, a package.
        packages: Version of each package that it requires; None where it is missing.
        seconds: What the import took, in a worker that may have the framework already; 0 if it does not load.
    """

    name: str
    loads: bool
    missing: bool = False
    reason: str = ""
    remedy: str = ""
    install: str = ""
    lacking: str = ""
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


def check(
    environment: Environment, backends: Iterable[BackendInfo], folder: Path, cuda: str | None = None
) -> CheckedEnvironment:
    """Start a worker in an environment, then import each backend there whose requirements are met.

    Backends of one module share a worker, those of different ones do not, as in a run: two frameworks in one process
    may get in each other's way. One that kills its worker does not cost the others.

    Args:
        environment: Where to look.
        backends: What to import.
        folder: A scratch folder: for code and logs of workers, and for what frameworks leave in TMPDIR when they are
            imported. Its name begins the mark of the workers.
        cuda: Newest version of CUDA that the driver serves, like `13.0`; None without a GPU, or where it is not known.
    """
    infos = tuple(backends)
    place = folder / environment.name
    start = functools.partial(
        start_worker,
        environment,
        check=False,
        env={"TMPDIR": str(folder)},
        distributions={name for info in infos for name in _needs(info)} | asked_after(infos) | {_BINDINGS},
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
        try:
            names = sorted({"pip", *(name for info in infos for name in info.modules)})
            modules = worker.ask("modules", LOOK_TIMEOUT_S, names=names).values["found"]
        finally:
            worker.close()
    except (BenchfwError, OSError) as error:
        return refused(**_told(error, _again(environment)))
    hello = worker.hello
    lacks: Mapping[str, Any] = {}
    try:
        check_packages(environment, hello)
    except MissingDependency as error:
        lacks = _told(error)
    installer = Installer(
        environment=environment,
        python=hello["python"],
        packages=hello["packages"],
        modules=frozenset(modules),
        cuda=int(cuda.partition(".")[0]) if cuda else None,
        built_for=tuple(dict.fromkeys(each for info in infos for each in info.built_for)),
    )
    checked = {info.name: _held_against(info, installer) for info in infos}
    by_name = {info.name: info for info in infos}
    met = sorted((info for info in infos if not checked[info.name].reason), key=_module)
    for number, (_, group) in enumerate(groupby(met, key=_module)):
        for name, outcome in _import(list(group), start, place / str(number)):
            checked[name] = _after(replace(checked[name], **outcome), by_name[name], installer)
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


def _held_against(info: BackendInfo, there: Installer) -> CheckedBackend:
    """Compare what a backend requires with what a worker found; there is no reason yet where that is met."""
    checked = CheckedBackend(
        name=info.name,
        loads=False,
        install=there.command(info),
        packages=versions(info.requires, there.packages) if _needs(info) else {},
    )
    try:
        check_requirements("it", info.requires, there.packages, checked.install)
    except MissingDependency as error:
        return replace(checked, missing=True, **_told(error))
    except ValueError as error:
        return replace(checked, reason=f"its plugin states a requirement that is none: {error}")
    absent = [name for name in info.modules if name not in there.modules]
    if absent:
        reason = f"it needs the module {absent[0]!r}, which is not installed"
        return replace(checked, missing=True, reason=reason, remedy=checked.install)
    return checked


def _after(checked: CheckedBackend, info: BackendInfo, there: Installer) -> CheckedBackend:
    """Add what follows from an import: what is there and does not work is installed anew; a device wants more."""
    if not checked.loads:
        return replace(checked, install=there.command(info, anew=True))
    devices = info.capabilities.devices
    if "cuda" in devices and "cpu" in devices and there.cuda is None:
        return replace(checked, lacking="")  # what it lacks for a GPU costs nothing here
    if checked.lacking:
        return replace(checked, install=there.mending(info))
    if there.cuda is not None and "cuda" in devices and there.packages[_BINDINGS] is None:
        line = there.line([f"{_BINDINGS}<{there.cuda + 1}"], requires=info.requires)
        return replace(checked, lacking=f"on a GPU it needs {_BINDINGS}, which is not installed", install=line)
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
                took = time.monotonic() - before
                yield info.name, {"loads": True, "seconds": took, "lacking": _lacking(worker, info)}
    finally:
        if worker is not None:
            worker.close()


def _lacking(worker: Worker, info: BackendInfo) -> str:
    """Return which libraries an imported backend does not find; they are loaded, which may end the worker."""
    try:
        missing = worker.ask("libraries", LOOK_TIMEOUT_S, factory=info.factory).values["missing"]
    except (BenchfwError, OSError) as error:
        return f"its libraries could not be looked for: {_told(error)['reason']}"
    return f"it does not find {', '.join(missing)}" if missing else ""


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
