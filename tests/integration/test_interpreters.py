"""Workers on other interpreters, with numpy alone, conducted by one parent in one run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchfw.environments import find_python

VERSIONS = ("3.10", "3.12")

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


def make_environment(version: str, folder: Path) -> Path:
    """Return an interpreter with numpy and nothing of the core: workers run where there is no more."""
    python = find_python(version)
    if python is None:
        if version == "3.10" and os.environ.get("CI"):
            pytest.fail("CI needs a CPython 3.10 on PATH, or under pyenv or uv")
        pytest.skip(f"no CPython {version} on this machine")
    environ = {name: value for name, value in os.environ.items() if name != "PIP_CONSTRAINT"}
    subprocess.run([python, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/pip", "install", "--quiet", "numpy"], check=True, env=environ)
    code = "import importlib.util as u; print([m for m in ('pluggy', 'pyarrow', 'benchfw') if u.find_spec(m)])"
    found = subprocess.run([folder / "bin/python", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    return folder / "bin/python"


def test_one_run_holds_several_interpreters(project: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = SCENARIO + '[[backend]]\nuse = "null"\n'
    for version in VERSIONS:
        python = make_environment(version, tmp_path_factory.mktemp("env") / version)
        text += f'[[backend]]\nuse = "null"\nname = "null-{version}"\nenvironment = "py-{version}"\n'
        text += f'[environments."py-{version}"]\npython = "{python}"\n'
    outcome, results = project.run(text)
    rows = {row["name"]: row for row in outcome.rows}
    assert [row["status"] for row in outcome.rows] == ["OK"] * 3
    for version in VERSIONS:
        assert rows[f"null-{version}"]["python"].startswith(version + ".")
        assert rows[f"null-{version}"]["environment"] == f"py-{version}"
    rounds = results.blocks[results.blocks["round"] == 0]
    assert rounds.case_id.nunique() == 3  # interleaved in the same rounds
