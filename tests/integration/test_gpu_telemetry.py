"""A run on a GPU that NVML tells of, beside the real process that samples: the GPU is fake."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from benchfw.executors import arm
from benchfw.measure import gpu_watch
from tests.brief import small

SCENARIO = small(
    "gpu",
    """\
[measure]
effort = "quick"
budget = "1s"
[[backend]]
use = "fake-cuda"
device = "cuda"
options = { clock = "real", latency_us = 200 }
""",
)


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite switches telemetry off; and there is a GPU here, as far as runs look."""
    monkeypatch.delenv("BENCHFW_TELEMETRY")
    monkeypatch.setattr(gpu_watch, "STRETCH_S", 0.5)
    monkeypatch.setattr(gpu_watch, "LEAD_S", 0.1)
    monkeypatch.setattr(gpu_watch, "HELD_S", 0.3)
    monkeypatch.setattr(arm, "has_gpu", lambda: True)


def test_a_gpu_that_its_power_limit_holds_down(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHFW_NVML", "benchfw.testing.machines:throttled")
    outcome, results = project.run(SCENARIO, lock_clocks=1980)
    (row,) = outcome.rows
    assert (row["status"], row["verdict"]) == ("OK", "THROTTLED"), row["status_reason"]
    assert row["verdict_reason"].startswith("the SM clock was 1470 MHz, 26% below 1980 MHz: held by the power limit")
    assert (row["gpu_scope"], row["clocks"]) == ("gpu", "locked:1980")
    assert (row["sm_clock_mhz"], row["sm_clock_min_mhz"], row["memory_clock_mhz"]) == (1470, 1470, 2619)
    assert row["temperature_max_c"] == 71
    assert row["throttled_share"] == pytest.approx(1.0, abs=0.01)
    assert row["energy_sample_low_j"] < row["energy_sample_j"] < row["energy_sample_high_j"]
    assert 0.5 * 700 < row["power_w"] < 1.5 * 700, "the counter steps by 100 ms, in half a second here"

    warnings = results.warnings
    assert "W06" in set(warnings["code"])
    assert not set(warnings["code"]) & {"W08", "W20"}
    assert not warnings["message"].str.contains("cuda:0").any(), "nobody else is there, and nothing is refused"
    read = results.telemetry.query("sampler == 'nvml'")
    assert set(read["field"]) >= {"sm_clock:cuda:0", "power_cap:cuda:0", "energy:cuda:0", "foreign_processes:cuda:0"}
    assert (read["field"] == "energy:cuda:0").sum() == 2, "before and after the stretch only"
    blocks = results.blocks
    inside = [
        ((blocks["start_ns"] < time) & (time < blocks["start_ns"] + blocks["duration_ns"])).any()
        for time in read.query("field == 'power_cap:cuda:0'")["time_ns"]
    ]
    assert not any(inside), "counters are never read within a block"
    measured = blocks[blocks["phase"] == "measure"]
    pairs = measured.assign(pair=measured["round"] // 2).pivot(index="pair", columns="telemetry", values="median_ns")
    costs = (pairs[1] / pairs[0] - 1).dropna()
    assert costs.min() - 1e-9 <= row["telemetry_cost"] <= costs.max() + 1e-9, "rounds with samplers to those without"
    attempt = json.loads((outcome.folder / "manifest.json").read_text())["attempts"][0]
    assert attempt["clocks"] == {"cuda:0": {"locked_mhz": 1980, "sm_mhz": 1470, "released": True}}
    assert attempt["samplers"]["nvml"]["period_ns"] >= 100_000_000, "ten times per second, or less often"
    facts = attempt["samplers"]["nvml"]["facts"]
    assert facts["gpus"]["cuda:0"]["calls"]["sm_mhz"] > 5
    assert facts["driver"] == "580.95.05"


def test_without_nvml_there_are_no_figures_and_one_warning(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHFW_NVML", "benchfw.testing.machines:absent")
    outcome, results = project.run(SCENARIO)
    (row,) = outcome.rows
    assert row["status"] == "OK"
    assert row["latency_p50_ns"] > 200_000
    assert {row[name] for name in ("gpu_scope", "sm_clock_mhz", "power_w", "energy_sample_j")} == {None}
    (warning,) = results.warnings.query("code == 'W12'")["message"]
    assert "the sampler nvml is not there for all of the run: NVML cannot be opened" in warning
    assert set(results.telemetry["sampler"]) == {"host"}
    assert not (results.blocks["phase"] == "energy").any(), "nobody waits for what is not there"


def test_a_driver_that_hangs_does_not_hold_up_the_run(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHFW_NVML", "benchfw.testing.machines:hanging")
    outcome, results = project.run(SCENARIO)
    (row,) = outcome.rows
    assert (row["status"], row["verdict"] in ("VALID", "NOT_CONVERGED")) == ("OK", True)
    (warning,) = results.warnings.query("code == 'W12'")["message"]
    assert "has not returned for" in warning


def test_rounds_on_a_gpu_that_is_too_hot_are_measured_again(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHFW_NVML", "benchfw.testing.machines:hot_at_first")
    outcome, results = project.run(
        SCENARIO, "measure.budget=30s", "measure.max_time=1500ms", "measure.settle_time=50ms"
    )
    (row,) = outcome.rows
    assert (row["status"], row["verdict"] in ("VALID", "NOT_CONVERGED")) == ("OK", True), row["verdict_reason"]
    blocks = results.blocks
    left_out, counted = (blocks[blocks["phase"] == phase] for phase in ("hot", "measure"))
    assert len(left_out)
    assert left_out["round"].max() < counted["round"].min()
    again = blocks[(blocks["phase"] == "warmup") & (blocks["start_ns"] > left_out["start_ns"].max())]
    assert again["duration_ns"].sum() > 0.1e9, "the clock is brought up again before anything counts"
    assert again["start_ns"].max() < counted["start_ns"].min()
    (message,) = results.warnings.query("code == 'W07'")["message"]
    assert re.match(r"heat held the clock in [12] of \d+ segments of its rounds: .*again after cooling$", message)


def test_a_case_first_gets_its_clock_back(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHFW_NVML", "benchfw.testing.machines:sagging")
    monkeypatch.setattr(gpu_watch, "LEAD_S", 1.0)
    outcome, results = project.run(SCENARIO, "measure.budget=30s", "measure.max_time=3s", "measure.settle_time=300ms")
    (row,) = outcome.rows
    assert row["status"] == "OK"
    blocks = results.blocks.sort_values("start_ns")
    measured = blocks[blocks["phase"] == "measure"]
    leads = blocks[(blocks["phase"] == "warmup") & (blocks["start_ns"] > measured["start_ns"].min())]
    assert len(leads), "it ran on until its clock was back"
    clocks = results.telemetry.query("field == 'sm_clock:cuda:0'")
    ends = (blocks["start_ns"] + blocks["duration_ns"]).shift()
    for place, start in leads["start_ns"].items():
        read = clocks[(clocks["time_ns"] > ends[place]) & (clocks["time_ns"] < start)]["value"]
        assert 1605 in set(read), "and only then"


def test_who_else_computes_on_the_gpu_makes_a_row_contended(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHFW_NVML", "benchfw.testing.machines:crowded")
    outcome, results = project.run(SCENARIO)
    (row,) = outcome.rows
    assert (row["status"], row["verdict"]) == ("OK", "CONTENDED")
    seen = "cuda:0 was busy for 99% of the time while every worker was held: 1 foreign processes"
    assert row["verdict_reason"] == seen
    assert "W09" in set(results.warnings["code"])


def test_heat_that_stays_makes_a_row_unstable(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHFW_NVML", "benchfw.testing.machines:always_hot")
    outcome, results = project.run(SCENARIO, "measure.budget=30s", "measure.max_time=700ms", "measure.settle_time=50ms")
    (row,) = outcome.rows
    assert (row["status"], row["verdict"]) == ("OK", "UNSTABLE")
    assert row["verdict_reason"].startswith("heat held the clock in ")
    assert "W07" in set(results.warnings["code"])
    assert row["latency_p50_ns"] > 200_000


def test_a_gpu_that_nvml_loses_on_the_way_is_told_of(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHFW_NVML", "benchfw.testing.machines:losing")
    outcome, results = project.run(SCENARIO)
    (row,) = outcome.rows
    assert (row["status"], row["verdict"] in ("VALID", "NOT_CONVERGED")) == ("OK", True), row["verdict_reason"]
    (warning,) = results.warnings.query("code == 'W12'")["message"]
    assert "lost" in warning
    assert len(results.telemetry.query("sampler == 'nvml'")), "what was read until then is kept"


def test_a_slice_has_the_figures_of_its_gpu_and_no_energy(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHFW_NVML", "benchfw.testing.machines:sliced")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-00000000-0000-0000-0000-000000000000")
    outcome, results = project.run(SCENARIO)
    (row,) = outcome.rows
    assert (row["status"], row["gpu_scope"], row["sm_clock_mhz"]) == ("OK", "gpu_shared", 345)
    assert {row[name] for name in ("power_w", "energy_sample_j")} == {None}
    assert "W12" in set(results.warnings["code"])


def test_what_this_user_may_not_read_is_null_and_told_of(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHFW_NVML", "benchfw.testing.machines:forbidden")
    outcome, results = project.run(SCENARIO)
    (row,) = outcome.rows
    assert (row["status"], row["gpu_scope"], row["sm_clock_mhz"]) == ("OK", "gpu", 345)
    assert {row[name] for name in ("power_w", "energy_sample_j")} == {None}
    assert row["throttled_share"] == 0, "bits of the readings take the place of counters"
    (warning,) = results.warnings.query("code == 'W12'")["message"]
    assert warning.startswith("NVML does not tell all of cuda:0, the columns are null: ")
    assert "energy_j: Insufficient Permissions (code 4)" in warning and "counters: " in warning
