"""`benchfw doctor` on the machine of the tests, with the fake backends and a broken plugin."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchfw.cli import main

AREAS = ["machine", "GPU", "storage", "terminal", "Python", "plugins", "environments", "packages", "backends"]


@pytest.fixture
def _plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_entry_points: None) -> None:
    """The frameworks that are installed would take seconds to import."""
    (tmp_path / "doctor_broken.py").write_text("raise RuntimeError('on purpose')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("BENCHFW_PLUGINS", "benchfw.testing.plugin,doctor_broken")


def doctor(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["benchfw", "doctor", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


@pytest.mark.usefixtures("_plugins")
def test_every_area_has_its_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHFW_ENVIRONMENTS", str(tmp_path / "environments"))
    (tmp_path / "environments/begun").mkdir(parents=True)
    (tmp_path / "environments/.begun.unfinished").touch()
    assert doctor(monkeypatch, "--json") == 3
    out, err = capsys.readouterr()
    assert err == ""
    found = json.loads(out)
    assert list(dict.fromkeys(finding["area"] for finding in found)) == AREAS
    assert not [finding for finding in found if "check failed" in finding["text"]]
    (broken,) = (finding for finding in found if finding["area"] == "plugins" and finding["level"] == "FAIL")
    assert "RuntimeError: on purpose" in broken["text"]
    assert all(finding["remedy"] for finding in found if finding["level"] == "FAIL")
    environments = {finding["what"]: finding["level"] for finding in found if finding["area"] == "environments"}
    assert environments == {"default": "OK", "begun": "WARN"}
    backends = {finding["what"]: finding["level"] for finding in found if finding["area"] == "backends"}
    assert backends == dict.fromkeys(
        ["null", "fake", "fake-special", "fake-device", "fake-device-special", "fake-cuda"], "OK"
    )
    assert not (tmp_path / "results").exists()

    assert doctor(monkeypatch) == 3
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line in AREAS] == AREAS
    assert sum(line.startswith(("OK ", "WARN ", "FAIL ")) for line in shown) == len(found)
    assert shown[-1].endswith("FAIL")
