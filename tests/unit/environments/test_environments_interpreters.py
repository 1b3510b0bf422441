"""Which Pythons are found, and what a table of a scenario means by `python`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from benchfw.environments import Environment, Python, find_python, from_scenario, managed, pythons, start_worker
from benchfw.errors import MissingDependency
from benchfw.scenario.schema import EnvironmentEntry

HERE = ".".join(map(str, sys.version_info[:2]))


def script(path: Path, body: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any Python: a folder on PATH, one of pyenv, one of uv, one of environments."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("BENCHFW_ENVIRONMENTS", str(tmp_path / "environments"))
    return tmp_path


def make(name: str, version: str) -> str:
    """Make a finished environment that says that it is of some version; it runs this interpreter."""
    python = script(managed.python_of(name), f'exec "{sys.executable}" "$@"')
    managed.Managed(name=name, python=version, requirements=("some==1",), tool="pip 1", created="now").write()
    return python


def test_pythons_are_found_once_each(places: Path) -> None:
    first = script(places / "bin/python3.12", "echo 3.12.1 /real/a")
    script(places / "bin/python3.11", "echo 'pyenv: not selected' >&2; exit 127")
    script(places / "bin/python3.12-config", "echo 3.12.1 /real/config")
    script(places / "bin/python3.9", "echo 3.9.18 /real/old")
    script(places / "pyenv/versions/3.12.1/bin/python3.12", "echo 3.12.1 /real/a")
    second = script(places / "pyenv/versions/3.11.7/bin/python3.11", "echo 3.11.7 /real/b")
    third = script(places / "uv/cpython-3.10.13-linux/bin/python3.10", "echo 3.10.13 /real/c")
    assert pythons() == [Python(third, "3.10.13"), Python(second, "3.11.7"), Python(first, "3.12.1")]
    assert find_python("3.11") == second
    assert find_python("3.12") == first
    assert find_python("3.1") is None
    assert find_python("3.13") is None


def test_a_path_or_a_name_is_taken_as_it_is(places: Path) -> None:
    on_path = script(places / "bin/python9", "")
    asked = {
        "python9": on_path,
        "python8": "python8",
        "/abs/python": "/abs/python",
        "venv/bin/python": "/r/venv/bin/python",
    }
    for python, expected in asked.items():
        environment = from_scenario("e", EnvironmentEntry(python=python, env={"A": "1"}), Path("/r"))
        assert environment == Environment(name="e", python=expected, env={"A": "1"}, asked=python)
        assert not environment.managed


def test_a_version_is_the_environment_made_of_it_or_one_that_has_numpy(places: Path) -> None:
    entry = EnvironmentEntry(python="3.10", packages=["some==1"])
    would_be = str(managed.python_of("e"))
    assert from_scenario("e", entry, places).python == would_be
    found = script(places / "bin/python3.10", 'case "$2" in *numpy*) echo False;; *) echo 3.10.1 /r;; esac')
    assert from_scenario("e", entry, places).python == would_be
    script(places / "bin/python3.10", 'case "$2" in *numpy*) echo True;; *) echo 3.10.1 /r;; esac')
    assert from_scenario("e", entry, places).python == found
    make("e", "3.11.2")
    assert from_scenario("e", entry, places).python == found
    shutil.rmtree(managed.root())
    make("e", "3.10.13")
    assert from_scenario("e", entry, places).python == would_be


@pytest.mark.parametrize(
    ("version", "asked", "reason", "command"),
    [
        (None, None, "has not been made", "benchfw env create e --with 'some>=1'"),
        (None, "3.10", "has not been made", "benchfw env create e --python 3.10 --with 'some>=1'"),
        ("", None, "is unfinished", "benchfw env create e --with 'some>=1'"),
        (
            "3.11.2",
            "3.10",
            "was made of Python 3.11.2, not 3.10",
            "benchfw env rm e && benchfw env create e --python 3.10 --with 'some>=1'",
        ),
        (
            "3.11.2",
            None,
            "needs some>=1, which is not installed",
            f"benchfw env rm e && benchfw env create e --python {HERE} --with 'some>=1'",
        ),
    ],
)
def test_what_is_not_there_is_told_with_the_command_that_makes_it(
    places: Path, version: str | None, asked: str | None, reason: str, command: str
) -> None:
    if version is not None:
        make("e", version)
    if version == "":
        managed.root().joinpath("e", managed.SIDE_CAR).unlink()
        managed.root().joinpath(".e.unfinished").touch()
    with pytest.raises(MissingDependency) as caught:
        start(from_scenario("e", EnvironmentEntry(python=asked, packages=["some>=1"]), places), places)
    assert caught.value.message == f"the environment 'e' {reason}"
    assert caught.value.hint == command


def test_another_interpreter_than_one_that_was_made_is_told_apart(places: Path) -> None:
    python = script(places / "python", f'exec "{sys.executable}" "$@"')
    with pytest.raises(MissingDependency) as caught:
        start(from_scenario("e", EnvironmentEntry(python=python, packages=["numpy<1"]), places), places)
    assert caught.value.hint == (
        f"benchfw env create e --python {HERE} --with 'numpy<1', with `python = \"{HERE}\"` in its table"
    )


def start(environment: Environment, folder: Path) -> None:
    from benchfw.handover import hand_over

    start_worker(environment, code=hand_over(folder / "code", []), log=folder / "log").close()
