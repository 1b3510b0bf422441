"""Workers that are forked instead of started behave like those that are started."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchfw.errors import CaseError, WorkerCrashed
from benchfw.handover import hand_over
from benchfw.supervisor import Worker
from benchfw.testing.project import Project, virtual_backend
from tests.brief import small

SCENARIO = small(
    "warm",
    f"""
[measure]
effort = "quick"
budget = "200ms"
{virtual_backend()}""",
)

pytestmark = pytest.mark.usefixtures("warm_workers")


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    code = hand_over(tmp_path / "code", ["benchfw.testing.fakes:FakeBackend"])
    made = Worker(python=sys.executable, code=code, log=tmp_path / "log", env={"OMP_NUM_THREADS": "7"})
    yield made
    made.close()


def test_a_run_is_as_always(project: Project) -> None:
    outcome, results = project.run(SCENARIO)
    assert [row["status"] for row in outcome.rows] == ["OK"]
    assert results.cases.latency_p50_ns.tolist() == pytest.approx([1e6], rel=0.01)


def test_a_fork_is_a_process_group_of_its_own_with_its_own_environment(worker: Worker) -> None:
    assert worker.hello["pid"] == worker.pid == os.getpgid(worker.pid)
    worker.ask("import", 10, factory="benchfw.testing.fakes:FakeBackend")
    assert worker.alive
    worker.close()
    assert not worker.alive


def test_how_a_fork_dies_is_known(worker: Worker) -> None:
    os.kill(worker.pid, signal.SIGSEGV)
    with pytest.raises(WorkerCrashed, match="SIGSEGV"):
        worker.ask("canary", 10)


def test_a_fork_is_held_and_resumed(worker: Worker) -> None:
    worker.hold()
    with worker.running():
        assert worker.ask("canary", 10).values["canary_ns"] > 0
    worker.resume()


def test_another_interpreter_is_started(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\necho started >&2\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    started = Worker(python=str(script), code=hand_over(tmp_path / "code", []), log=tmp_path / "log")
    started.close()
    assert "started" in (tmp_path / "log").read_text()


def test_code_that_is_not_there_is_a_worker_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(CaseError):
        Worker(python=sys.executable, code=tmp_path / "nowhere", log=tmp_path / "log")


def test_bytecode_goes_with_the_code_that_is_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = tmp_path / "some_plugin"
    plugin.mkdir()
    (plugin / "__init__.py").write_text("")
    (plugin / "broken.py").write_text("this is no Python")
    (plugin / "fine.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    code = hand_over(tmp_path / "code", ["some_plugin.fine:X"])
    tag = sys.implementation.cache_tag
    handed = code / "some_plugin"
    assert {file.name for file in handed.glob("*.py")} == {"__init__.py", "broken.py", "fine.py"}
    assert {file.name for file in (handed / "__pycache__").iterdir()} == {f"__init__.{tag}.pyc", f"fine.{tag}.pyc"}
    shutil.rmtree(plugin / "__pycache__")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    hand_over(tmp_path / "again", ["some_plugin.fine:X"])
    assert not (plugin / "__pycache__").exists()
