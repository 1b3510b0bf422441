"""Builds that are killed or meet each other: nothing half made is ever taken for whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchfw.artifacts import Cache
from benchfw.artifacts import entries as entries_module
from benchfw.artifacts.entries import entries, leftovers
from benchfw.cli import cli, session
from benchfw.errors import UsageError
from benchfw.executors import workers
from benchfw.spec.executor import Job
from benchfw.testing.project import Project
from tests.brief import small

PLUGIN = """
from benchfw.spec import BackendInfo, StepInfo
from benchfw.spec.hooks import hookimpl

@hookimpl
def benchfw_register_steps():
    return [StepInfo(name="SlowFromNull", source="null", target="slow", factory="slowsteps:Slow")]

@hookimpl
def benchfw_register_backends():
    return [
        BackendInfo(name="slow", factory="benchfw.testing.fakes:FakeBackend", accepts=("slow",),
                    options="benchfw.testing.options:FakeOptions")
    ]
"""
STEP = '''
import os, time
from pathlib import Path
from benchfw.spec import Step

class Slow(Step):
    """Writes half of the file, says so, and goes on once it may."""

    def run(self, artifact, *, inputs, profile, precision, destination):
        folder = Path(os.environ["SLOW"])
        with destination.open("wb") as file:
            file.write(b"x" * 1_500_000)
            file.flush()
            (folder / f"begun-{os.getpid()}").touch()
            while not (folder / "go").exists():
                time.sleep(0.02)
            file.write(b"y" * 1_500_000)
        return {}
'''
BUILD = """
from pathlib import Path
from benchfw import plugins
from benchfw.artifacts import Wanted
from benchfw.executors.making import making
from benchfw.spec.tensors import Profile

registry = plugins.registry()
say = lambda text: print(text, flush=True)
with making(registry, notify=say) as builder:
    model = builder.resolve(registry.model_source("null"), "m", root=Path("."), seed=0, weights=None)
    made = builder.make(model.artifact, Wanted(accepts=["slow"]), inputs=[], profile=Profile({}))
    say(f"made {Path(made.artifact.path).stat().st_size} by {made.steps} in {made.seconds > 0}")
"""
SCENARIO = small(
    "full",
    """\
[measure]
budget = "1s"
[[backend]]
use = "slow"
[[backend]]
use = "fake"
options = { clock = "virtual" }
""",
)
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start a Python program with a cache of its own and a step that waits for the file `go`."""
    (tmp_path / "slowsteps.py").write_text(STEP)
    (tmp_path / "slowplugin.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *map(str, filter(None, sys.path))]))
    monkeypatch.setenv("BENCHFW_PLUGINS", "slowplugin,benchfw.testing.plugin")
    monkeypatch.setenv("BENCHFW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SLOW", str(tmp_path))
    monkeypatch.setattr(entries_module, "_SETTLED_S", -1.0)

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def ended(process: subprocess.Popen[str]) -> str:
    """Return what a program printed, which must have gone well."""
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    return out


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def begun(folder: Path) -> int:
    return len(list(folder.glob("begun-*")))


def test_a_build_that_is_killed_leaves_nothing_that_looks_whole(start: Start, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    first = start(BUILD)
    wait_for(lambda: begun(tmp_path) == 1)
    assert entries(cache)[0].is_weights and len(entries(cache)) == 1, "the model alone"
    assert list(leftovers(cache)) == [], "it is being made"
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    wait_for(lambda: len(list(leftovers(cache))) == 1)
    assert len(entries(cache)) == 1
    (tmp_path / "go").touch()
    assert "made 3000000 by ('SlowFromNull',) in True" in ended(start(BUILD))
    assert begun(tmp_path) == 2
    assert "made 3000000 by ('SlowFromNull',) in False" in ended(start(BUILD)), "from the cache"
    entries_module.sweep(cache)
    assert [path.name for path in (cache.root / "artifacts").iterdir()] == [
        entry.key for entry in entries(cache) if not entry.is_weights
    ]


def test_of_two_that_want_the_same_one_builds_and_one_waits_and_says_so(start: Start, tmp_path: Path) -> None:
    one = start(BUILD)
    wait_for(lambda: begun(tmp_path) == 1)
    other = start(BUILD)
    assert other.stdout is not None
    assert "another run makes it" in other.stdout.readline()
    (tmp_path / "go").touch()
    assert "in True" in ended(one)
    assert "in False" in ended(other), "what the other one made"
    assert begun(tmp_path) == 1


def test_rebuild_makes_anew_what_the_cache_has(start: Start, tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    for program, builds in ((BUILD, 1), (BUILD, 1), (BUILD.replace("notify=say)", "notify=say, rebuild=True)"), 2)):
        ended(start(program))
        assert begun(tmp_path) == builds
    assert len([entry for entry in entries(Cache(tmp_path / "cache")) if not entry.is_weights]) == 1


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_run_passes_the_wish_on(project: Project, monkeypatch: pytest.MonkeyPatch, rebuild: bool) -> None:
    wishes: list[bool] = []

    def build(**arguments: Any) -> None:
        wishes.append(arguments["rebuild"])
        raise UsageError("seen")

    monkeypatch.setattr(workers, "Builder", build)
    with pytest.raises(UsageError, match="seen"):
        project.run(SCENARIO.replace('"slow"', '"fake-special"'), rebuild=rebuild)
    assert wishes == [rebuild]


@pytest.mark.parametrize("command", [["run", "s.toml"], ["time", "null:m", "--backend", "fake"], ["ab", "s.toml"]])
def test_commands_pass_the_wish_on(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    jobs: list[Job] = []

    def run(job: Job, **more: object) -> None:
        jobs.append(job)
        raise UsageError("seen")

    monkeypatch.setattr(session, "run", run)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(SCENARIO)
    special = ["--b", "backend=fake"] if command[0] == "ab" else []
    for wish in ([], ["--rebuild"]):
        with pytest.raises(UsageError, match="seen"):
            cli.main([*command, *special, *wish], standalone_mode=False)
    assert [Job.from_json(job.to_json()).rebuild for job in jobs] == [False, True]
