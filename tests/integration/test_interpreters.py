"""Workers on other interpreters, with numpy alone, conducted by one parent in one run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchfw.environments import find_python

SCENARIO = """
name = "interpreters"
[model]
ref = "null:model"
[[sweep]]
kind = "fixed"
[measure]
effort = "quick"
budget = "2s"
"""


def make_environment(version: str, folder: Path) -> str:
    """Return an interpreter with numpy alone."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"no CPython {version} on this machine")
    environ = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    subprocess.run([python, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "--quiet", "numpy"], check=True, env=environ)
    return str(folder / "bin/python")


def test_one_run_holds_several_interpreters(project: Any, ort_old: dict[str, Any], tmp_path: Path) -> None:
    pythons = {"3.10": ort_old["python"], "3.12": make_environment("3.12", tmp_path / "env")}
    text = SCENARIO + '[[backend]]\nuse = "null"\n'
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
