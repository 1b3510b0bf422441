"""`python -m benchfw`."""

from __future__ import annotations

import runpy

import pytest

import benchfw


def test_the_module_is_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchfw", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("benchfw", run_name="__main__")
    assert ended.value.code in (None, 0)
    assert benchfw.__version__ in capsys.readouterr().out
