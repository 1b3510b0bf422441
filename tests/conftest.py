"""Fixtures for all tests. Caches and results lie in temporary folders; no test leaves anything else behind."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import benchfw
from benchfw.executors.local import backend_options, run_scenario
from benchfw.plugins import Registry, discover
from benchfw.processes import MARK
from benchfw.scenario import Loaded, parse
from benchfw.spec.events import Event
from benchfw.spec.executor import Outcome

REPOSITORY = Path(__file__).parents[1]
FAKES = "benchfw.testing.plugin"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for the whole session, so that exports and compilations are made once."""
    path = tmp_path_factory.mktemp("cache")
    folders = {"BENCHFW_CACHE": path, **{key: tmp_path_factory.mktemp(key) for key in ("BENCHFW_LOCKS", "TMPDIR")}}
    with pytest.MonkeyPatch.context() as patch:
        for key, folder in folders.items():
            patch.setenv(key, str(folder))
        patch.setattr(tempfile, "tempdir", None)  # so that it is found anew
        yield path


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Every installed plugin, and the fake backends."""
    return discover(extra=[FAKES])


@pytest.fixture(autouse=True)
def nothing_is_left(cache: Path) -> Iterator[None]:
    """A test leaves no process, no open pipe or file (so no lock either), and no temporary file of a run."""
    before = leftovers(cache)
    yield
    deadline = time.monotonic() + 5
    while (left := leftovers(cache) - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"left behind: {sorted(left)}"


def leftovers(cache: Path) -> set[str]:
    """Describe what could be left behind: of other processes, only children and what this session's workers started."""
    own = f"BENCHFW_CACHE={cache}".encode()
    found = {f"temporary file {path}" for path in Path(tempfile.gettempdir()).glob("benchfw-*")}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("pipe:") or (target.startswith("/") and not target.startswith(("/dev/", "/proc/"))):
            found.add(f"open file {name}: {target}")
    for name in filter(str.isdecimal, os.listdir("/proc")):
        process = Path("/proc", name)
        try:
            fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if fields[0] == "Z" or int(name) == os.getpid():
                continue
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        marked = own in variables and any(item.startswith(f"{MARK}=".encode()) for item in variables)
        if marked or int(fields[1]) == os.getpid():
            found.add(f"process {name}")
    return found


class Project:
    """A folder with a scenario and its results."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.folder = folder
        self.registry = registry
        self.results = folder / "results"

    def load(self, text: str, *overrides: str) -> Loaded:
        options = backend_options(self.registry, set(self.registry.backends))
        return parse(
            text,
            source="test.toml",
            root=self.folder,
            overrides=overrides,
            backends=self.registry.backends,
            options=options,
            samplers=self.registry.samplers,
        )

    def run(
        self,
        text: str,
        *overrides: str,
        effort: str | None = None,
        notify: Callable[[Event], None] = lambda event: None,
        **more: Any,
    ) -> tuple[Outcome, benchfw.Results]:
        outcome = run_scenario(
            self.load(text, *overrides), self.registry, out=self.results, effort=effort, notify=notify, **more
        )
        return outcome, benchfw.load(outcome.folder)


@pytest.fixture
def project(tmp_path: Path, registry: Registry) -> Project:
    return Project(tmp_path, registry)
