"""Samplers beside a run."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from benchfw.executors.resume import Resume
from benchfw.executors.workers import Workers
from benchfw.measure import Event
from benchfw.spec.events import CohortStarted, Stage
from benchfw.spec.stop import Stop
from benchfw.worker.clocks import now
from tests.brief import small


@pytest.fixture(autouse=True)
def telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite switches it off."""
    monkeypatch.delenv("BENCHFW_TELEMETRY")


SCENARIO = small(
    "telemetry",
    """\
[measure]
effort = "quick"
budget = "600ms"
samplers = ["host", "fake-raises"]
[[backend]]
use = "fake"
options = { latency_us = 5 }
""",
    batches=[2, 3],
)


def test_samplers_are_read_through_a_run_and_its_resumption(project: Any) -> None:
    events: list[Event] = []
    stop = Stop()

    def notify(event: Event) -> None:
        events.append(event)
        if isinstance(event, CohortStarted) and event.index == 2:
            stop.reason = "interrupted by a test"

    times = [now()]
    outcome, _ = project.run(SCENARIO, notify=notify, stop=stop)
    times.append(now())
    assert outcome.interrupted
    warnings = [event.text for event in events if isinstance(event, Stage) and event.text.startswith("warning")]
    assert warnings == ["warning: the sampler fake-raises: OSError: [Errno 5] the sensor is gone"]
    outcome, results = project.run(SCENARIO, resume=Resume(folder=outcome.folder))
    times.append(now())
    assert [row["status"] for row in outcome.rows] == ["OK", "OK"]

    rows = results.telemetry
    assert rows["unit"].all()
    assert set(rows["cohort"]) == {"batch2", "batch3"}
    for cohort, begin, end in zip(("batch2", "batch3"), times, times[1:]):
        mine = rows[rows["cohort"] == cohort]
        assert mine["time_ns"].is_monotonic_increasing
        assert begin < mine["time_ns"].min() < mine["time_ns"].max() < end
        assert (mine["sampler"] == "fake-raises").sum() == 4, "two readings of two fields"
    host = rows[rows["sampler"] == "host"]
    assert (host["read_ns"] > 0).all()
    assert set(host["field"]) > {"load_1min", "rss:fake-fp32"}
    assert host.query("field == 'rss:fake-fp32'")["value"].between(1 << 20, 1 << 36).all()
    assert (host["field"] == "load_1min").sum() > (host["field"] == "temperature_max").sum() > 0, "seldom"
    memory = host[host["field"] == "memory_available"]
    assert memory["value"].between(1 << 20, 1 << 50).all()
    measured = results.blocks  # warm-up included: samplers are paused in half of the rounds
    for cohort, blocks in measured.groupby("cohort"):
        inside = memory[memory["cohort"] == cohort]["time_ns"].between(
            blocks["start_ns"].min(), blocks["start_ns"].max()
        )
        assert inside.any(), "it is read while blocks run"

    attempts = json.loads((outcome.folder / "manifest.json").read_text())["attempts"]
    for attempt in attempts:
        assert attempt["samplers"]["host"]["ended"] is None
        assert attempt["samplers"]["host"]["fields"]["memory_available"] == "bytes"
        assert attempt["samplers"]["fake-raises"]["ended"] == "OSError: [Errno 5] the sensor is gone"
    assert attempts[1]["samplers"]["host"]["readings"] == len(memory[memory["cohort"] == "batch3"])
    assert {path.name for path in (outcome.folder / "logs").glob("samplers*")} == {
        "samplers.log",
        "samplers.resumed1.log",
    }
    said = results.warnings.query("code == 'W12'")
    assert set(said["message"]) == {
        "the sampler fake-raises is not there for all of the run: OSError: [Errno 5] the sensor is gone"
    }
    assert set(said["case_id"]) == {row["case_id"] for row in outcome.rows}


@pytest.mark.parametrize(
    ("samplers", "variable", "devices", "expected"),
    [
        ("", None, {"cpu"}, {"host"}),
        ("", None, {"cpu", "cuda:0"}, {"host", "nvml"}),
        ("", None, set(), set()),
        ("samplers = []", None, {"cuda:0"}, set()),
        ('samplers = ["fake-counter"]', None, {"cuda:0"}, {"fake-counter"}),
        ("", "off", {"cuda:0"}, set()),
        ('samplers = ["host"]', "OFF", {"cpu"}, set()),
    ],
)
def test_what_is_read_by_default(
    samplers: str,
    variable: str | None,
    devices: set[str],
    expected: set[str],
    project: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if variable:
        monkeypatch.setenv("BENCHFW_TELEMETRY", variable)
    loaded = project.load(SCENARIO.replace('samplers = ["host", "fake-raises"]', samplers))
    workers: Any = SimpleNamespace(_first=loaded, registry=project.registry)
    assert set(Workers.samplers(workers, devices)) == expected
