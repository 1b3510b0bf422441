"""The scenarios that are shipped are valid, can be planned with the plugins of this repository, and stand in a page."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchfw.cli import main

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = sorted((ROOT / "scenarios").glob("*.toml"))


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def plan(path: Path) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["benchfw", "plan", str(path), "--json"])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert end.value.code == 0, err
        return list(json.loads(out)["cases"])

    return plan


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.name)
def test_a_scenario_is_planned(path: Path, planned: Any) -> None:
    cases = planned(path)
    assert {case["status"] for case in cases} <= {"planned", "SKIPPED", "UNSUPPORTED"}
    assert any(case["status"] == "planned" for case in cases)
    assert all(case["route"] for case in cases if case["status"] == "planned")
    assert all(case["reason"] for case in cases if case["status"] != "planned")


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.name)
def test_a_scenario_stands_in_a_page(path: Path) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")]
    assert [page for page in pages if path.name in page.read_text(encoding="utf-8")]


def test_every_precision_of_a_cpu_backend_is_a_row(planned: Any) -> None:
    cases = planned(ROOT / "scenarios/precisions.toml")
    status = {case["case_id"].split("/", 1)[1].rsplit("/", 2)[0]: case["status"] for case in cases}
    for name, precisions in {
        "torch-eager": ("fp32", "fp16", "bf16"),
        "ort-cpu": ("fp32", "int8"),
        "openvino": ("fp32", "bf16", "int8"),
    }.items():
        for precision in ("fp32", "fp16", "bf16", "int8"):
            assert status[f"{name}/{precision}"] == ("planned" if precision in precisions else "UNSUPPORTED")
