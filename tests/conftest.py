"""Fixtures for all tests. Caches and results lie in temporary folders; no test leaves anything else behind."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from benchfw import plugins
from benchfw.plugins import Registry, discover
from benchfw.processes import MARK
from benchfw.testing.fixtures import _warm as _warm
from benchfw.testing.fixtures import warm_workers as warm_workers
from benchfw.testing.project import FAKES, Project
from tests.brief import measure_little

REPOSITORY = Path(__file__).parents[1]
OTHERS = ("BENCHFW_ENVIRONMENTS", "BENCHFW_LOCKS", "TMPDIR")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for path in {item.path for item in items if item.get_closest_marker("quiet")}:
        if "mark.quiet" not in path.read_text(encoding="utf-8"):
            raise pytest.UsageError(f"{path}: say pytest.mark.quiet in the module, where `make test` looks for it")
    if not os.environ.get("BENCHFW_SLOW"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: BENCHFW_SLOW=1 .venv/bin/pytest -m slow"))


@pytest.fixture
def no_entry_points(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No plugin is installed: what is found then is neither taken from another test nor left to one."""
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    plugins.forget()
    yield
    plugins.forget()


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders of the session's own; one cache for all tests, so that exports and compilations are made once."""
    path = tmp_path_factory.mktemp("cache")
    folders = {"BENCHFW_CACHE": path, **{key: tmp_path_factory.mktemp(key) for key in OTHERS}}
    with pytest.MonkeyPatch.context() as patch:
        for key, folder in folders.items():
            patch.setenv(key, str(folder))
        patch.setenv("BENCHFW_TELEMETRY", "off")  # hundreds of runs are not to start a process each for it
        patch.setenv("TORCHINDUCTOR_VEC_ISA_OK", "1")  # else each new cache costs 15 s of CPU to try the compiler
        patch.setattr(tempfile, "tempdir", None)  # so that it is found anew
        yield path


@pytest.fixture(scope="session")
def cache(surroundings: Path) -> Path:
    """The cache of the session."""
    return surroundings


@pytest.fixture(scope="session")
def registry() -> Registry:
    """Every installed plugin, and the fake backends."""
    return discover(extra=[FAKES])


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest, surroundings: Path) -> Iterator[None]:
    """A test leaves no process, no open pipe or file (so no lock either), and no temporary file of a run.

    Workers of the kit for backends live as long as its class, those of `maker` as long as its module: what they leave,
    and what they hold in the cache, is seen once the module is over.
    """
    if {"bench", "maker"} & {*request.fixturenames}:
        yield
        return
    with _leaving_nothing(surroundings):
        yield


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_by_a_module(surroundings: Path) -> Iterator[None]:
    with _leaving_nothing(surroundings):
        yield


@contextlib.contextmanager
def _leaving_nothing(cache: Path) -> Iterator[None]:
    before, others = open_things(), processes()
    yield
    deadline = time.monotonic() + 5
    while (left := (open_things() - before) | of_ours(cache, processes() - others)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, f"left behind: {sorted(left)}"


def open_things() -> set[str]:
    """Describe what could be left behind in this process and in the temporary folder."""
    found = {f"temporary file {path}" for path in Path(tempfile.gettempdir()).glob("benchfw-*")}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("pipe:") or (target.startswith("/") and not target.startswith(("/dev/", "/proc/"))):
            found.add(f"open file {name}: {target}")
    return found


def processes() -> set[str]:
    """Return the numbers of all processes: to look into each of them, before every test, took milliseconds."""
    return {name for name in os.listdir("/proc") if name.isdecimal()}


def of_ours(cache: Path, numbers: Iterable[str]) -> set[str]:
    """Describe those processes that could be left behind: only children and what this session's workers started."""
    own = f"BENCHFW_CACHE={cache}".encode()
    found = set()
    for name in numbers:
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


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this process measure little."""
    measure_little(monkeypatch.setattr)


@pytest.fixture
def project(tmp_path: Path, registry: Registry) -> Project:
    return Project(tmp_path, registry)
