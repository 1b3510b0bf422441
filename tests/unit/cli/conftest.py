"""The command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchfw.cli import main

Cli = Callable[..., tuple[str, str]]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in a folder of its own, and return stdout and stderr; `code` is the exit code that it must have."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHFW_PLUGINS", "benchfw.testing.plugin")

    def run(*arguments: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["benchfw", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert end.value.code == code, out + err
        return out, err

    return run
