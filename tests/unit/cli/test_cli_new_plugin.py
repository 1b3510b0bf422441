"""`benchfw new-plugin`: names that are taken, and what it prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., tuple[str, str]]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("null", "the name is taken: a backend of benchfw is called 'null'"),
        ("fake-special", "the name is taken: a backend of benchfw.testing.plugin is called 'fake-special'"),
        ("onnxruntime", "the name is taken: the distribution 'benchfw-onnxruntime' is installed"),
        ("lying-around", "the name is taken: there is a package 'benchfw_lying_around' already"),
        ("1st", "it begins with a letter"),
    ],
)
def test_names_that_cannot_be(name: str, words: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "benchfw_lying_around.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "path")
    out, err = cli("new-plugin", name, code=2)
    assert words in err and not out
    assert [path.name for path in tmp_path.iterdir()] == ["path"]


def test_what_it_prints_can_be_pasted(cli: Cli, tmp_path: Path) -> None:
    out, err = cli("new-plugin", "mine", "-o", "a b\x1b[2J")
    assert out == "a b\\x1b[2J\n"
    assert err == "next: cd $'a b\\x1b[2J' && pip install -e '.[runtime,test]' && pytest\n"
    assert 'dependencies = ["benchfw>=0.1"]' in (tmp_path / "a b\x1b[2J" / "pyproject.toml").read_text()
