"""Environments as a user makes, checks and uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchfw.cli import main
from benchfw.environments import find_python, managed
from benchfw.executors.devices import Devices, cpus
from benchfw.executors.resume import Resume

pytestmark = pytest.mark.usefixtures("brief")
SCENARIOS = Path(__file__).parents[2] / "scenarios"
OLD = "onnxruntime==1.20.1"
Benchfw = Callable[..., tuple[str, str]]

INTERPRETERS = """
name = "interpreters"
[model]
ref = "null:model"
[[sweep]]
kind = "fixed"
[measure]
effort = "quick"
budget = "2s"
"""


@pytest.fixture
def benchfw(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Benchfw:
    """Run the command line in this process; return what it prints on stdout and stderr."""

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["benchfw", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert end.value.code == code, printed
        return printed.out, printed.err

    return run


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCHFW_ENVIRONMENTS", str(tmp_path / "environments"))
    return tmp_path / "environments"


@pytest.mark.framework
def test_two_versions_of_onnx_runtime_on_two_pythons_in_one_table(
    project: Any, ort_old: dict[str, Any], benchfw: Benchfw
) -> None:
    scenario = (SCENARIOS / "two_onnxruntimes.toml").read_text()
    assert f"#     benchfw env create ort-old --python 3.10 --with {OLD}\n" in scenario
    assert any(line.startswith("Successfully installed") for line in ort_old["lines"])
    assert ort_old["made"].python.startswith("3.10.")
    listing = json.loads(benchfw("env", "ls", "--json")[0])
    (listed,) = (item for item in listing["environments"] if item["name"] == "ort-old")
    assert (listed["state"], listed["requirements"], listed["python"]) == ("ready", [OLD], ort_old["python"])
    assert any(python["version"].startswith("3.10.") for python in listing["pythons"])
    assert "exists" in benchfw("env", "create", "ort-old", code=2)[1]

    checked = json.loads(benchfw("env", "check", "ort-old", "--json")[0])
    assert checked["works"] and checked["python"] == ort_old["python"]
    assert checked["packages"]["onnxruntime"] == "1.20.1"
    backends = {backend["name"]: backend for backend in checked["backends"]}
    assert backends["ort-cpu"]["loads"]
    assert backends["openvino"]["reason"].endswith(", which is not installed")
    assert backends["openvino"]["remedy"].startswith(
        f"benchfw env create ort-old-2 --python 3.10 --with {OLD} --with 'openvino"
    )

    (project.folder / "models").symlink_to(SCENARIOS / "models")
    outcome, results = project.run(
        scenario,
        f"environments.ort-new.python={sys.executable}",  # the other version is this interpreter's: one less to make
        "environments.ort-new.packages=['onnxruntime']",
        "sweep=[{kind='fixed',batch=[1]}]",
        "measure.budget=1s",
    )
    rows = {row["name"]: row for row in outcome.rows}
    assert {row["status"] for row in outcome.rows} == {"OK"}
    old, new = rows["ort-1.20"], rows["ort-1.31"]
    assert old["backend_version"] == "1.20.1" != new["backend_version"]
    assert old["python"].startswith("3.10.") and new["python"].startswith("{}.{}.".format(*sys.version_info[:2]))
    assert (old["environment"], new["environment"]) == ("ort-old", "ort-new")
    assert old["cohort"] == new["cohort"]
    assert new["rel_l2"] < 1e-5
    blocks = results.blocks[results.blocks.phase == "measure"]
    assert len(blocks) >= 6
    for _, turn in blocks.groupby("round"):
        assert sorted(turn.position) == [0, 1]
        assert turn.case_id.nunique() == 2
    manifest = results.manifests[0]
    assert manifest["environments"]["ort-old"]["packages"] == [OLD]
    assert manifest["workers"]["ort-1.20-fp32"]["packages"]["onnxruntime"] == "1.20.1"


NULL = """
name = "later"
[model]
ref = "null:model"
[[sweep]]
kind = "fixed"
[measure]
effort = "quick"
budget = "1s"
[[backend]]
use = "null"
environment = "later"
[environments.later]
python = "3.10"
packages = ["numpy>1"]
"""


def test_what_was_skipped_is_measured_once_its_environment_is_made(
    project: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath)  # a Python 3.10 with numpy would do as well
    monkeypatch.setenv("PYENV_ROOT", str(root / "none"))
    outcome, _ = project.run(NULL)
    assert [(row["status"], row["status_reason"]) for row in outcome.rows] == [
        (
            "SKIPPED",
            "the environment 'later' has not been made (benchfw env create later --python 3.10 --with 'numpy>1')",
        )
    ]
    python = managed.python_of("later")
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    managed.Managed(name="later", python="3.10.0", requirements=(), tool="hand", created="now").write()
    resumed, results = project.run(NULL, resume=Resume(folder=outcome.folder))
    assert [row["status"] for row in resumed.rows] == ["OK"]
    assert set(results.manifests[0]["workers"]["null-fp32"]["packages"]) == {"numpy"}


def test_mistakes_and_their_exit_codes(benchfw: Benchfw, root: Path, tmp_path: Path) -> None:
    assert "there are: default" in benchfw("env", "check", "nowhere", code=2)[1]
    assert "is no name of an environment" in benchfw("env", "rm", "../results", code=2)[1]
    assert "no environment has been made" in benchfw("env", "ls")[0]
    scenario = tmp_path / "s.toml"
    scenario.write_text(NULL.replace('"3.10"', '"/no/such/python"'))
    check = ("env", "check", "later", "--scenario", str(scenario))
    reason = "the interpreter /no/such/python does not start: No such file or directory"
    assert benchfw(*check, code=3) == ("", f"error: {reason}\n")
    found = json.loads(benchfw(*check, "--json", code=3)[0])
    assert (found["works"], found["reason"]) == (False, reason)
    assert "none.toml" in benchfw("env", "check", "default", "--scenario", "none.toml", code=2)[1]


@pytest.fixture
def unmet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_entry_points: None) -> str:
    """A scenario whose environment works but lacks a package; the frameworks that are installed would take seconds."""
    monkeypatch.setenv("BENCHFW_PLUGINS", "benchfw.testing.plugin")
    text = NULL.replace('"3.10"', f'"{sys.executable}"').replace("numpy>1", "numpy>1000")
    (tmp_path / "s.toml").write_text(text)
    return str(tmp_path / "s.toml")


def test_packages_that_are_not_met_are_a_failure(benchfw: Benchfw, root: Path, unmet: str) -> None:
    out, err = benchfw("env", "check", "later", "--scenario", unmet, code=3)
    assert "CPython" in out
    assert err.startswith("error: the environment 'later' needs numpy>1000, ")
    benchfw("env", "check", "default", "--scenario", unmet)


def test_what_would_disturb_a_run_that_measures(
    benchfw: Benchfw, root: Path, unmet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor imports nothing then; `env check`, which was asked for it, warns."""
    monkeypatch.setenv("BENCHFW_LOCKS", str(tmp_path / "locks"))

    def levels(doctor: str) -> dict[tuple[str, str], str]:
        return {(item["area"], item["what"]): item["level"] for item in json.loads(doctor)}

    quiet = ("doctor", "--json", "--out", str(tmp_path), "--scenario", unmet)
    found = levels(benchfw(*quiet)[0])
    assert found["machine", "runs"] == "OK"
    assert (found["environments", "default"], found["environments", "later"]) == ("OK", "WARN")
    with Devices(cpus()).taken(wait=False, shared=False, notify=lambda line: None):
        found = levels(benchfw(*quiet)[0])
        assert found["machine", "runs"] == found["environments", "workers"] == "WARN"
        assert not [area for area, _ in found if area in ("packages", "backends")]
        _, err = benchfw("env", "check", "default")
        assert err.startswith("warning: a run of ") and f"(pid {os.getpid()}, " in err


def make_environment(version: str, folder: Path) -> str:
    """Return an interpreter with numpy alone."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"no CPython {version} on this machine")
    environ = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python")]
    subprocess.run([*pip, "install", "--quiet", "--no-compile", "numpy"], check=True, env=environ)
    return str(folder / "bin/python")


def test_one_run_holds_several_interpreters(project: Any, ort_old: dict[str, Any], tmp_path: Path) -> None:
    """Workers with numpy alone, conducted by one parent. Here, where the environment of the fixture is made already."""
    pythons = {"3.10": ort_old["python"], "3.12": make_environment("3.12", tmp_path / "env")}
    text = INTERPRETERS + '[[backend]]\nuse = "null"\n'
    for version, python in pythons.items():
        code = "import importlib.util as u; print([m for m in ('pluggy', 'pyarrow', 'benchfw') if u.find_spec(m)])"
        found = subprocess.run([python, "-E", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert found.stdout == "[]\n", "workers run where there is nothing of the core"
        text += f'[[backend]]\nuse = "null"\nname = "null-{version}"\nenvironment = "py-{version}"\n'
        text += f'[environments."py-{version}"]\npython = "{python}"\n'
    outcome, results = project.run(text)
    rows = {row["name"]: row for row in outcome.rows}
    assert [row["status"] for row in outcome.rows] == ["OK"] * 3
    for version in pythons:
        assert rows[f"null-{version}"]["python"].startswith(version + ".")
        assert rows[f"null-{version}"]["environment"] == f"py-{version}"
    rounds = results.blocks[results.blocks["round"] == 0]
    assert rounds.case_id.nunique() == 3  # interleaved in the same rounds
