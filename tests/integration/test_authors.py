"""What an author of a plugin does: generate one, follow the tutorial, test and run it in a fresh environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

import benchfw
from benchfw.errors import UsageError
from benchfw.templates import write_plugin
from benchfw.testing import BackendConformance

REPOSITORY = Path(__file__).parents[2]
CHECKS = sum(name.startswith("test_") for name in dir(BackendConformance))
OUTCOME = f"{CHECKS - 2} passed, 2 skipped in "
"""That of a backend on the CPU that does not claim to tell the times of layers."""


def test_the_tutorial_shows_as_many_checks_as_there_are() -> None:
    assert f"\n{OUTCOME}" in (REPOSITORY / "docs/plugins/tutorial.md").read_text("utf-8")


@pytest.mark.timeout(600)
def test_a_generated_plugin_and_the_finished_tutorial_work_in_a_fresh_environment(
    tmp_path: Path, no_index: Callable[[], NoReturn]
) -> None:
    bin_, tract = tmp_path / "venv/bin", tmp_path / "docs/plugins/tract"
    shutil.copytree(
        REPOSITORY / "docs/plugins/tract", tract, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
    )
    shutil.copytree(REPOSITORY / "scenarios", tmp_path / "scenarios")
    others = ("PYTHON", "PIP_CONSTRAINT", "BENCHFW_PLUGINS")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(others)}

    def run(*command: str, cwd: Path = tmp_path) -> str:
        done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    mine = write_plugin("mine", tmp_path / "benchfw-mine")
    run(sys.executable, "-m", "venv", "--without-pip", str(bin_.parent))
    pip = [
        *(sys.executable, "-m", "pip", "--python", str(bin_ / "python")),
        "install",
        "--quiet",
        "--no-compile",  # most modules are never imported
        "--disable-pip-version-check",
        "-c",
        f"{REPOSITORY}/constraints.txt",
    ]
    core = [str(REPOSITORY), f"{REPOSITORY}/plugins/onnxruntime[cpu]"]
    try:
        run(*pip, *core, "-e", f"{mine}[runtime,test]", "-e", f"{tract}[runtime,test]")
    except AssertionError as error:
        if any(words in str(error) for words in ("No matching distribution", "Could not find a version", "Connection")):
            no_index()
        raise
    assert OUTCOME in run(str(bin_ / "pytest"), "-p", "no:cacheprovider", cwd=mine)
    assert OUTCOME in run(str(bin_ / "pytest"), "-p", "no:cacheprovider", cwd=tract)
    assert "reuse_state" in run(str(bin_ / "benchfw"), "backends", "tract")
    run(str(bin_ / "benchfw"), "run", str(tract / "compare.toml"), "--set", "measure.budget=1s")
    cases = benchfw.load(tmp_path / "results").cases
    assert set(cases["name"]) == {"ort-cpu", "tract", "tract-new-state"}
    assert set(cases["status"]) == {"OK"}
    assert set(cases["accuracy"]) == {"pass"}


def test_what_is_generated_is_clean(tmp_path: Path) -> None:
    folder = write_plugin("my-runtime", tmp_path / "benchfw-my-runtime")
    assert not [path for path in folder.rglob("*") if "${" in str(path) or path.suffix == ".tmpl"]
    for command in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy", "--strict", "--no-incremental"]):
        done = subprocess.run(
            [sys.executable, "-m", *command, "."], cwd=folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["", "Mine", "my_runtime", "1st", "my-", "a b", "../up", "x" * 61, "none"])
def test_names_that_cannot_be(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_plugin(name, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten_and_nothing_is_left_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="is there already"):
        write_plugin("mine", tmp_path / "there")

    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UsageError, match="No space left"):
        write_plugin("mine", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
