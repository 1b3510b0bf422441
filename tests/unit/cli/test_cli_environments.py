"""`--environment` of commands that need no scenario: where the backend runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchfw.environments import managed

pytestmark = pytest.mark.usefixtures("brief")

Cli = Callable[..., tuple[str, str]]
MODEL = ("null:m", "--input", "x=batchx4", "--backend", "fake", "--set", "measure.budget=1s")
SCENARIO = """
name = "s"
[model]
ref = "null:m"
[[sweep]]
kind = "fixed"
[[backend]]
use = "null"
environment = "theirs"
[environments.theirs]
python = "./bin/python"
env = { MINE = "1" }
"""


def interpreter(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that `benchfw env create` could have made."""
    monkeypatch.setenv("BENCHFW_ENVIRONMENTS", str(tmp_path / "environments"))
    path = interpreter(managed.python_of("ours"))
    version = ".".join(map(str, sys.version_info[:3]))
    managed.Managed(name="ours", python=version, requirements=(), tool="", created="").write()
    return path


def environments() -> dict[str, Any]:
    """Return what the manifest of the only run says of its environments."""
    (file,) = Path("results").glob("run=*/manifest.json")
    return dict(json.loads(file.read_text())["environments"])


def test_one_that_benchfw_has_made(cli: Cli, ours: Path) -> None:
    (row,) = json.loads(cli("time", *MODEL, "--environment", "ours", "--json")[0])["cases"]
    assert (row["environment"], row["status"]) == ("ours", "OK")
    assert environments()["ours"]["python"] == str(ours)


def test_one_of_a_scenario_with_its_variables(cli: Cli, ours: Path, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    python = interpreter(place / "bin/python")
    (place / "s.toml").write_text(SCENARIO)
    named = ("--scenario", str(place / "s.toml"), "--environment", "theirs")
    cli("profile", *MODEL, *named, "--json")
    told = environments()["theirs"]
    assert (told["python"], told["env"]) == (str(python), {"MINE": "1"})


def test_what_is_checked_runs_there_and_its_reference_here(cli: Cli, ours: Path) -> None:
    script = ours.read_text()
    ours.write_text(script.replace("exec", f'echo >>"{ours}.log"\nexec'))
    checked = ("check", "null:m", "--input", "x=batchx4", "--backend", "fake-special", "--against", "fake", "--json")
    assert json.loads(cli(*checked, "--environment", "ours")[0])
    assert len(Path(f"{ours}.log").read_text().splitlines()) == 1


@pytest.mark.parametrize("command", ["time", "profile", "check"])
def test_one_that_is_not_there_is_refused_by_name(cli: Cli, ours: Path, command: str) -> None:
    _, err = cli(command, *MODEL, "--environment", "theirs", code=2)
    assert "there is no environment 'theirs' in" in err and "there are: default, ours" in err
    Path("s.toml").write_text(SCENARIO)
    _, err = cli(command, *MODEL, "--scenario", "s.toml", "--environment", "ours", code=2)
    assert "there is no environment 'ours' in s.toml" in err and "there are: default, theirs" in err
    _, err = cli(command, *MODEL, "--scenario", "s.toml", code=2)
    assert "--scenario s.toml: no environment of it is named" in err
