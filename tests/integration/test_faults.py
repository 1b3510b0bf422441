"""What one case of a session does to the others, beyond the table of tests/faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchfw.measure import Event
from benchfw.spec.events import RoundDone
from benchfw.supervisor import Worker
from tests.brief import small

pytestmark = [pytest.mark.quiet, pytest.mark.usefixtures("brief")]

SCENARIO = small(
    "faults",
    """\
[measure]
effort = "quick"
budget = "1s"
deadlines = { block = 3.0, load = 10.0, build = 3.0 }
[[backend]]
use = "fake"
name = "good"
[[backend]]
use = "fake-special"
name = "bad"
""",
    [2, 3],
)


def statuses(rows: list[dict[str, Any]], name: str) -> list[str]:
    return [row["status"] for row in rows if row["name"] == name]


def run(project: Any, *overrides: str) -> list[dict[str, Any]]:
    outcome, results = project.run(SCENARIO, *overrides)
    assert len(results.cases) == len(outcome.rows) == 4
    rows: list[dict[str, Any]] = outcome.rows
    return rows


def test_every_case_of_a_session_without_its_packages_is_skipped(project: Any) -> None:
    info = project.registry.backends["fake-special"]
    lacking = replace(info, requires=("no-such-distribution>=1",), install="pip install it")
    project.registry = replace(project.registry, backends={**project.registry.backends, "fake-special": lacking})
    rows = run(project)
    assert statuses(rows, "bad") == ["SKIPPED", "SKIPPED"]
    assert all(
        "no-such-distribution>=1, which is not installed (pip install it)" in r["status_reason"] for r in rows[1::2]
    )


def test_samples_that_fit_one_shape_only_cost_the_others(project: Any) -> None:
    (project.folder / "data").mkdir()
    np.save(project.folder / "data/a.npy", np.ones(4, np.float32))
    text = SCENARIO.replace('ref = "null:model"', 'ref = "null:model"\ndata = "data"')
    text = text.replace('shape = ["batch", 4]', 'shape = ["batch", "words"]').replace(
        "batch = [2, 3]", "words = [4, 5]"
    )
    text = text.replace("[shapes]", "[shapes]\nwords = { min = 4, opt = 4, max = 5 }")
    outcome, _ = project.run(text)
    assert statuses(outcome.rows, "good") == ["OK", "INVALID"]


def test_other_cases_of_a_crashed_session_go_on_in_a_new_worker(project: Any) -> None:
    """Both cases of `bad` are in one cohort here; the crash of one takes the worker of the other with it."""
    text = SCENARIO.replace("batch = [2, 3]", "batch = [4]").replace(
        "[measure]", '[[sweep]]\nkind = "min-opt-max"\n[measure]'
    )
    outcome, _ = project.run(
        text, "backend.bad.options.fault=crash", "backend.bad.options.at=launch", "backend.bad.options.at_batch=1"
    )
    bad = {row["case_id"].split("/", 3)[3]: row for row in outcome.rows if row["name"] == "bad"}
    assert bad["dynamic/batch1"]["status"] == "CRASH"
    assert [bad[key]["status"] for key in ("static/batch4", "dynamic/batch4", "dynamic/batch8")] == ["OK"] * 3
    assert bad["dynamic/batch8"]["invocation"] == 1
    assert bad["dynamic/batch8"]["log"] == "logs/bad-fp32.1.log"
    assert bad["dynamic/batch1"]["invocation"] == 0  # the row of a crash names the worker that crashed
    assert bad["dynamic/batch1"]["log"] == "logs/bad-fp32.log"


def test_a_case_that_loses_its_worker_is_measured_again(project: Any) -> None:
    text = SCENARIO.replace("batch = [2, 3]", "batch = [4]").replace(
        "[measure]", '[[sweep]]\nkind = "min-opt-max"\n[measure]'
    )
    outcome, _ = project.run(
        text,
        "backend.bad.options.fault=crash",
        "backend.bad.options.at=launch",
        "backend.bad.options.at_profile=dynamic",
    )
    bad = {row["case_id"].split("/", 3)[3]: row for row in outcome.rows if row["name"] == "bad"}
    assert bad["dynamic/batch4"]["status"] == "CRASH"
    assert bad["static/batch4"]["status"] == "OK"
    assert bad["static/batch4"]["invocation"] >= 1


def test_larger_cases_of_a_session_that_ran_out_of_memory_are_spared(project: Any) -> None:
    """The backend explains the exception of its framework; smaller and equal cases are measured all the same."""
    text = SCENARIO.replace("batch = [2, 3]", "batch = [4]").replace(
        "[measure]", '[[sweep]]\nkind = "min-opt-max"\n[measure]'
    )
    outcome, _ = project.run(
        text,
        "backend.bad.options.fault=framework_memory",
        "backend.bad.options.at_batch=4",
        "backend.bad.options.at_profile=static",
    )
    bad = {row["case_id"].split("/", 3)[3]: row for row in outcome.rows if row["name"] == "bad"}
    assert {key: row["status"] for key, row in bad.items()} == {
        "static/batch4": "OOM",
        "dynamic/batch1": "OK",
        "dynamic/batch4": "OK",
        "dynamic/batch8": "SKIPPED",
    }
    assert bad["static/batch4"]["status_reason"] == "out of fake memory"
    assert bad["dynamic/batch8"]["status_reason"] == "batch 4 ran out of memory, and this is larger"
    assert set(statuses(outcome.rows, "good")) == {"OK"}


@pytest.mark.parametrize("times", [1, 9])
def test_a_worker_that_is_killed_while_it_is_held_is_started_again_once(
    project: Any, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Nobody waits for it then; what it died of is found out when it is asked next."""
    hold, held, left = Worker.hold, {}, [times]

    def noted(self: Worker) -> None:
        hold(self)
        held[self.log.name.split("-")[0]] = self

    def kill(event: Event) -> None:
        if isinstance(event, RoundDone) and left[0] and held["good"].alive:
            left[0] -= 1
            os.kill(held["good"].pid, signal.SIGKILL)
            os.waitid(os.P_PID, held["good"].pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(Worker, "hold", noted)
    outcome, _ = project.run(SCENARIO.replace("batch = [2, 3]", "batch = [2]"), notify=kill)
    (row,) = (row for row in outcome.rows if row["name"] == "good")
    if times == 1:
        assert (row["status"], row["invocation"]) == ("OK", 1), row["status_reason"]
    else:
        assert (row["status"], row["signal"]) == ("CRASH", "SIGKILL"), row["status_reason"]
        assert "was ended by SIGKILL" in row["status_reason"]
        assert row["log"] == "logs/good-fp32.1.log"
    assert statuses(outcome.rows, "bad") == ["OK"]


ORPHAN = """
import sys, tempfile, time
from pathlib import Path
from benchfw.handover import hand_over
from benchfw.supervisor import Worker
folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
worker = Worker(python=sys.executable, code=hand_over(folder / "code", []), log=folder / "log")
if sys.argv[2] == "held":
    worker.hold()
print(worker.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("state", ["idle", "held"])
def test_a_worker_does_not_outlive_its_parent(tmp_path: Path, state: str) -> None:
    """Also not when it is stopped, nor in the moment of being stopped."""
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path), state], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    with parent:
        worker = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        state_of = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
        if state_of == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{worker}").exists()
