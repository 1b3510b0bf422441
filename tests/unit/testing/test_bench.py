"""What the kit takes from a `BackendCase`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from benchfw.testing import BackendCase, BackendConformance
from benchfw.testing.bench import Bench
from benchfw.testing.imports import import_names


def bench(folder: Path, environment: dict[str, Any]) -> Bench:
    (folder / "kit/host").mkdir(parents=True)
    case = BackendCase(backend="fake", plugin="benchfw.testing.plugin", root=folder / "root", environment=environment)
    return Bench(case, folder / "kit")


def test_an_interpreter_is_found_from_the_root_of_the_case(tmp_path: Path) -> None:
    """Though the kit writes the model, which has a root of its own."""
    (tmp_path / "root").mkdir()
    made = bench(tmp_path, {"python": "venv/bin/python", "env": {"A": "1"}})
    there = str(tmp_path / "root/venv/bin/python")
    assert (made.environment.python, made.environment.env) == (there, {"A": "1"})
    scenario = made.scenario().scenario
    assert [entry.environment for entry in scenario.backend] == list(scenario.environments)
    assert {entry.python for entry in scenario.environments.values()} == {there}


@pytest.mark.parametrize(
    ("environment", "words"),
    [({"pyton": "x"}, "pyton"), ({}, "BackendCase.environment names no `python`"), ({"env": {}}, "names no `python`")],
)
def test_an_environment_that_is_none_is_a_failure(tmp_path: Path, environment: dict[str, Any], words: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=words):
        bench(tmp_path, environment)


def test_an_environment_that_does_not_work_is_a_failure_and_no_skip(tmp_path: Path) -> None:
    made = bench(tmp_path, {"python": os.fspath(tmp_path / "nowhere/python")})
    with pytest.raises(pytest.fail.Exception, match="nowhere/python"):
        BackendConformance.live.__wrapped__(BackendConformance(), made)  # type: ignore[attr-defined]


def test_an_environment_can_be_this_interpreter(tmp_path: Path) -> None:
    made = bench(tmp_path, {"python": sys.executable})
    try:
        assert made.host.worker().hello["executable"] == sys.executable
    finally:
        made.host.close()


def test_a_package_that_is_elsewhere_is_taken_to_have_a_module_of_its_name() -> None:
    assert import_names(["no-such-framework>=2", "numpy"]) == {"no_such_framework", "numpy"}
