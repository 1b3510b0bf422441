"""Runs whose scenario allows outputs more than the default of their precision: what passes, and who is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

import benchfw
from benchfw.errors import UsageError
from benchfw.executors.resume import Resume
from benchfw.spec.accuracy import TOLERANCES
from tests.brief import small

pytestmark = [pytest.mark.quiet, pytest.mark.usefixtures("warm_workers", "brief")]

SCENARIO = small(
    "tolerances",
    """
[measure]
effort = "quick"
budget = "300ms"
[[backend]]
use = "fake"
name = "right"
precision = ["fp32", "fp16"]
options = { clock = "virtual", latency_us = 100.0 }
[[backend]]
use = "fake-special"
name = "off"
precision = ["fp16"]
options = { clock = "virtual", latency_us = 100.0, scale = 1.01 }
""",
)
WIDE = "accuracy.tolerance.fp16.rel_l2=0.02"


def by_name(rows: list[dict[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {f"{row['name']} {row['precision']}": row for row in rows}


def test_the_default_stays_where_the_scenario_says_nothing(project: Any) -> None:
    outcome, results = project.run(SCENARIO)
    rows = by_name(outcome.rows)
    assert (rows["off fp16"]["status"], rows["off fp16"]["accuracy"]) == ("ACCURACY_FAIL", "fail")
    assert json.loads(rows["off fp16"]["tolerance"])["rel_l2"] == TOLERANCES["fp16"].rel_l2
    assert json.loads(rows["right fp32"]["tolerance"])["rel_l2"] == TOLERANCES["fp32"].rel_l2
    assert (results.accuracy["verdict"] == results.accuracy["default_verdict"]).all()


@pytest.mark.parametrize("key", ["fp16", "fp16.outputs.output"])
def test_what_only_the_scenario_lets_pass_has_a_number_and_says_so(project: Any, key: str) -> None:
    outcome, results = project.run(SCENARIO, f"accuracy.tolerance.{key}.rel_l2=0.02")
    rows = by_name(outcome.rows)
    off = rows["off fp16"]
    assert (off["status"], off["accuracy"]) == ("OK", "warn")
    assert off["latency_p50_ns"] > 0
    told = json.loads(off["tolerance"])
    judged = told["outputs"]["output"] if "outputs" in told else told
    assert (judged["rel_l2"], judged["rel_l2_warn"], judged["outside_share"]) == (0.02, 1e-3, 4e-3)
    assert json.loads(rows["right fp32"]["tolerance"])["rel_l2"] == TOLERANCES["fp32"].rel_l2
    accuracy = results.accuracy[results.accuracy["case_id"] == off["case_id"]]
    assert set(accuracy["moment"]) == {"before", "after"}
    assert set(accuracy["verdict"]) == {"warn"}
    assert set(accuracy["default_verdict"]) == {"fail"}
    warnings = results.warnings[results.warnings["code"] == "R05"]
    assert warnings["case_id"].tolist() == [off["case_id"]], "those that pass by the default have none"
    assert warnings["value"].tolist() == [pytest.approx(0.01, rel=1e-3)]
    assert warnings["threshold"].tolist() == [TOLERANCES["fp16"].rel_l2]
    assert warnings["message"].tolist() == [
        "output: beyond the default of fp16: relative L2 1.0e-02 is above 0.006; only [accuracy.tolerance.fp16] lets "
        "it pass: say so where you quote the number"
    ]


def test_a_tolerance_can_be_narrower_too(project: Any) -> None:
    outcome, results = project.run(SCENARIO, "accuracy.tolerance.fp16.rel_l2=1e-4", "backend.off.options.scale=1.0005")
    off = by_name(outcome.rows)["off fp16"]
    assert off["status"] == "ACCURACY_FAIL"
    assert json.loads(off["tolerance"])["rel_l2_warn"] == 1e-4, "what warns does not stay above what fails"
    assert "R05" not in set(results.warnings["code"])
    assert by_name(project.run(SCENARIO, "backend.off.options.scale=1.0005")[0].rows)["off fp16"]["status"] == "OK"


def test_a_tolerance_for_an_output_that_is_not_there_makes_its_cases_invalid(project: Any) -> None:
    outcome, _ = project.run(SCENARIO, "accuracy.tolerance.fp16.outputs.logits.rel_l2=0.02")
    rows = by_name(outcome.rows)
    assert [rows[name]["status"] for name in ("right fp32", "right fp16", "off fp16")] == ["OK", "INVALID", "INVALID"]
    assert "for the output 'logits', the reference has ['output']" in rows["off fp16"]["status_reason"]


def test_resuming_by_another_tolerance_is_refused_and_forced_measures_all_again(project: Any) -> None:
    outcome, _ = project.run(SCENARIO, WIDE)
    with pytest.raises(UsageError) as caught:
        project.run(SCENARIO, resume=Resume(folder=outcome.folder))
    assert "scenario.accuracy.tolerance.fp16.rel_l2: 0.02 then, nothing now" in caught.value.message
    again, _ = project.run(SCENARIO, resume=Resume(folder=outcome.folder, force=True))
    rows = by_name(again.rows)
    assert rows["off fp16"]["status"] == "ACCURACY_FAIL"
    assert {json.loads(row["tolerance"])["rel_l2"] for row in rows.values()} == {1e-5, TOLERANCES["fp16"].rel_l2}


def test_compare_tells_tolerances_that_differ(project: Any) -> None:
    scenario = SCENARIO.replace("scale = 1.01", "scale = 1.001")
    folders = [project.run(scenario, *overrides)[0].folder for overrides in ((), (WIDE,))]
    frame = benchfw.compare([benchfw.load(folder) for folder in folders], metric="p50")
    differs = dict(zip(frame["name"] + " " + frame["precision"], frame["differs"], strict=True))
    assert "tolerance.rel_l2 0.006 → 0.02" in differs["off fp16"]
    assert "tolerance" not in str(differs["right fp32"])
