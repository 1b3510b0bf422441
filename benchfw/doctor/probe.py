"""Asks environments what they have: a worker of each imports the backends."""

from __future__ import annotations

import contextlib
import csv
import functools
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

from benchfw.environments import Environment
from benchfw.errors import BenchfwError, MissingDependency
from benchfw.requirements import check_requirements, distributions
from benchfw.spec.backend import BackendInfo
from benchfw.supervisor import Worker, hand_over

IMPORT_TIMEOUT_S = 120.0
"""Importing a framework takes seconds; from a cold disk or over a network, tens of them."""

Files = Mapping[str, Mapping[tuple[str, str], str]]
"""By the name of a distribution, the hashes of its files as they were installed, by folder and path in it."""


@dataclass(frozen=True)
class Attempt:
    """What came of importing one backend.

    Attributes:
        missing: That a requirement is not met; it was not imported then.
        error: Why the import failed although requirements are met.
        seconds: What the import took, in a worker that may have the framework already.
        versions: Of the packages that it requires.
    """

    missing: str = ""
    error: str = ""
    seconds: float = 0.0
    versions: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return not self.missing and not self.error


@dataclass(frozen=True)
class Probe:
    """What an environment has.

    Attributes:
        environment: The environment.
        error: Why no worker can be started there; what follows is empty then.
        remedy: What to do about it.
        hello: What a worker says of itself.
        attempts: By the name of the backend.
        files: What distributions have installed.
    """

    environment: Environment
    error: str = ""
    remedy: str = ""
    hello: Mapping[str, Any] = field(default_factory=dict)
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    files: Files = field(default_factory=dict)


def probe(environment: Environment, backends: Iterable[BackendInfo], folder: Path) -> Probe:
    """Look at an environment.

    Backends of one module share a worker, those of different ones do not, as in a run: two frameworks in one
    process may get in each other's way.

    Args:
        environment: The environment.
        backends: What to import there.
        folder: A folder for code, logs and temporary files of workers; its name begins the mark of the workers.
    """
    infos = sorted(backends, key=_module)
    place = folder / environment.name
    start = functools.partial(
        Worker,
        python=environment.python,
        env={"TMPDIR": str(folder), **environment.env},  # frameworks leave things there when they are imported
        foreign=environment.foreign,
        distributions={name for info in infos for name in _needs(info)},
        mark=folder.name,
    )
    try:
        worker = start(code=hand_over(place / "code", []), log=place / "log")
    except OSError as error:
        return Probe(environment, error=str(error), remedy="TMPDIR names another folder for what workers are handed")
    except BenchfwError as error:
        return Probe(environment, error=error.message, remedy=error.hint or f"repair or remove {environment.python}")
    worker.close()
    attempts: dict[str, Attempt] = {}
    for module, group in groupby(infos, key=_module):
        attempts.update(_import(list(group), start, place / module, worker.hello["packages"]))
    return Probe(environment, hello=worker.hello, attempts=attempts, files=installed(_paths(environment)))


def installed(paths: list[str] | None = None) -> Files:
    """Return the files of every distribution, as pip has recorded them.

    Args:
        paths: Folders to search; default: those of this interpreter.
    """
    found: dict[str, dict[tuple[str, str], str]] = {}
    for distribution in metadata.distributions() if paths is None else metadata.distributions(path=paths):
        with contextlib.suppress(Exception):  # what an installer that was killed has left
            record = distribution.read_text("RECORD") or ""
            folder = str(distribution.locate_file(""))
            rows = [row for row in csv.reader(record.splitlines()) if len(row) > 1]
            found.setdefault(distribution.name, {}).update({(folder, row[0]): row[1] for row in rows})
    return found


def _import(
    infos: Iterable[BackendInfo], start: Callable[..., Worker], place: Path, packages: Mapping[str, str | None]
) -> Iterator[tuple[str, Attempt]]:
    """Yield what comes of each backend of one module; one that kills its worker does not cost the others."""
    worker = None
    try:
        for info in infos:
            versions = {name: packages.get(name) for name in _needs(info)}
            try:
                check_requirements("", info.requires, packages, info.install)
            except MissingDependency as error:
                yield info.name, Attempt(missing=error.message.strip(), versions=versions)
                continue
            except ValueError as error:
                yield info.name, Attempt(error=f"its plugin states a requirement that is none: {error}")
                continue
            try:
                if worker is None or not worker.alive:
                    place.mkdir(exist_ok=True)
                    worker = start(code=hand_over(place / "code", {info.factory}), log=place / "log")
                before = time.monotonic()
                worker.ask("import", IMPORT_TIMEOUT_S, factory=info.factory)
            except BenchfwError as error:
                text = f"{error.message} ({error.hint})" if error.hint else error.message
                yield info.name, Attempt(error=text, versions=versions)
            else:
                yield info.name, Attempt(seconds=time.monotonic() - before, versions=versions)
    finally:
        if worker is not None:
            worker.close()


def _needs(info: BackendInfo) -> list[str]:
    """Return the distributions that a backend requires; none if what it states cannot be read."""
    try:
        return distributions(info.requires)
    except ValueError:
        return []


def _paths(environment: Environment) -> list[str] | None:
    """Return where an environment's interpreter looks for packages; None for our own."""
    if not environment.foreign:
        return None
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        run = subprocess.run(
            [environment.python, "-c", r"import sys; print(*sys.path[1:], sep='\n')"],
            env={**environ, **environment.env},
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return run.stdout.splitlines()


def _module(info: BackendInfo) -> str:
    return info.factory.partition(":")[0]
