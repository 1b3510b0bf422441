"""Samplers beside a run."""

from __future__ import annotations

import json
from typing import Any

from benchfw.executors.resume import Resume
from benchfw.measure import Event
from benchfw.spec.events import CohortStarted, Stage
from benchfw.spec.stop import Stop
from benchfw.worker.clocks import now

SCENARIO = """
name = "telemetry"
[model]
ref = "null:model"
[model.inputs.x]
shape = ["batch", 4]
[shapes]
batch = { min = 1, opt = 4, max = 8 }
[[sweep]]
kind = "fixed"
batch = [2, 3]
[measure]
effort = "quick"
budget = "600ms"
samplers = ["host", "fake-raises"]
[[backend]]
use = "fake"
options = { latency_us = 5 }
"""


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
    memory = host[host["field"] == "memory_available"]
    assert memory["value"].between(1 << 20, 1 << 50).all()
    measured = results.blocks.query("phase == 'measure'")
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
