"""Fixtures for all tests. Caches and results lie in temporary folders; no test leaves a process behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import benchfw
from benchfw.executors.local import Outcome, backend_options, run_scenario
from benchfw.measure import Event
from benchfw.plugins import Registry, discover
from benchfw.scenario import Loaded, parse

REPOSITORY = Path(__file__).parents[1]
FAKES = "benchfw.testing.plugin"


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One cache for the whole session, so that exports and compilations are made once."""
    path = tmp_path_factory.mktemp("cache")
    os.environ["BENCHFW_CACHE"] = str(path)
    yield path
    del os.environ["BENCHFW_CACHE"]


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Every installed plugin, and the fake backends."""
    return discover(extra=[FAKES])


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    before = children()
    yield
    deadline = time.monotonic() + 5
    while (left := children() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"processes left behind: {left}"


def children() -> set[int]:
    """Return the direct children of this process."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.add(int(path.parent.name))
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
        )

    def run(
        self,
        text: str,
        *overrides: str,
        effort: str | None = None,
        notify: Callable[[Event], None] = lambda event: None,
    ) -> tuple[Outcome, benchfw.Results]:
        outcome = run_scenario(
            self.load(text, *overrides), self.registry, out=self.results, effort=effort, notify=notify
        )
        return outcome, benchfw.load(outcome.folder)


@pytest.fixture
def project(tmp_path: Path, registry: Registry) -> Project:
    return Project(tmp_path, registry)
