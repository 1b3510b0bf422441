"""Two runs at once, in two processes, on a machine with two GPUs as far as NVML tells: on one of them, and on both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import benchfw
from benchfw.errors import DeviceBusy
from benchfw.executors import arm
from benchfw.spec.events import Event, Notice
from tests.brief import small

pytestmark = [pytest.mark.quiet, pytest.mark.usefixtures("brief", "warm_workers")]

SCENARIO = small(
    "gpu",
    """\
[measure]
effort = "quick"
budget = "100ms"
[[backend]]
use = "fake-cuda"
device = "cuda:0"
options = { latency_us = 200 }
""",
)
ELSEWHERE = SCENARIO.replace("cuda:0", "cuda:1")
ON_CPUS = SCENARIO.replace('device = "cuda:0"', "").replace("fake-cuda", "fake")
HELD = """
import sys
from benchfw.cli import main
from benchfw.executors import arm
from benchfw.measure import group
from tests.brief import measure_little

rounds = group.Group._rounds
def held(*arguments):
    print("measures", flush=True)
    sys.stdin.readline()
    return rounds(*arguments)
group.Group._rounds = held
arm.has_gpu = lambda: True
measure_little()
main()
"""
FIRST, SECOND = (f"GPU-00000000-0000-0000-0000-00000000000{number}" for number in range(2))


def start(folder: Path) -> subprocess.Popen[str]:
    """Start a run on the first GPU, and return when it is about to begin its rounds; it waits for a line then."""
    (folder / "held.toml").write_text(SCENARIO)
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, "run", "held.toml", "--results", "held"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    assert any(line.startswith("measures") for line in process.stdout), "it ended before"
    return process


def test_runs_on_one_gpu_exclude_each_other_and_runs_on_two_do_not(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCHFW_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("BENCHFW_NVML", "benchfw.testing.machines:two")
    monkeypatch.setenv("BENCHFW_PLUGINS", "benchfw.testing.plugin")
    monkeypatch.setattr(arm, "has_gpu", lambda: True)
    with start(tmp_path) as first:
        run = next((tmp_path / "held").glob("run=*")).name.partition("=")[2]
        who = f"(pid {first.pid}, run {run}, since "
        with pytest.raises(DeviceBusy) as on_its_gpu:
            project.run(SCENARIO, wait=False)
        assert who in on_its_gpu.value.message
        assert on_its_gpu.value.message.endswith(f"measures on the same GPU, {FIRST}")
        with pytest.raises(DeviceBusy) as on_its_cpus:
            project.run(ON_CPUS, wait=False)
        assert who in on_its_cpus.value.message
        assert on_its_cpus.value.message.endswith("measures on the same CPUs")
        assert not project.results.exists(), "a run that does not begin leaves nothing"

        (row,) = project.run(ELSEWHERE, wait=False)[0].rows
        assert (row["device_uuid"], row["status"]) == (SECOND, "OK")
        assert row["verdict"] != "CONTENDED"

        waited: list[str] = []

        def notify(event: Event) -> None:
            if isinstance(event, Notice) and event.text.startswith("waiting: "):
                waited.append(event.text)
                assert len(list(project.results.iterdir())) == 1, "a run that waits has not begun"
                first.communicate("\n", timeout=60)

        (row,) = project.run(SCENARIO, notify=notify)[0].rows
        assert (row["device_uuid"], row["status"]) == (FIRST, "OK")
        assert len(waited) == 1 and who in waited[0]
    assert first.returncode == 0
    (held,) = benchfw.load(tmp_path / "held").cases.to_dict("records")
    assert (held["device_uuid"], held["status"]) == (FIRST, "OK")
    assert held["verdict"] != "CONTENDED"
