"""Runs that are killed with SIGKILL at random instants, resumed, and compared with a run that nobody disturbed.

`BENCHFW_STORM` is the number of kills of the fake backends (default 8), a tenth of it that of a real one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest

import benchfw
from benchfw.processes import MARK

pytestmark = pytest.mark.quiet

KILLS = int(os.environ.get("BENCHFW_STORM", "8"))
LANES = 2

FAKE = """
name = "storm"
[model]
ref = "null:model"
[model.inputs.x]
shape = ["batch", 4]
[shapes]
batch = { min = 1, opt = 2, max = 8 }
[[sweep]]
kind = "fixed"
batch = [2, 3]
[[sweep]]
kind = "random-batch"
[measure]
effort = "quick"
budget = "10ms"
[[backend]]
use = "fake"
options = { latency_us = 2 }
[[backend]]
use = "fake"
name = "crashes"
options = { latency_us = 2, fault = "crash", at = "launch", at_batch = 3 }
"""

REAL = """
name = "storm"
[model]
ref = "onnx:model.onnx"
[shapes]
batch = { min = 1, opt = 2, max = 4 }
[[sweep]]
kind = "fixed"
batch = [1, 4]
[[sweep]]
kind = "random-batch"
[measure]
effort = "quick"
budget = "200ms"
[[backend]]
use = "ort-cpu"
"""

COLUMNS = ["case_id", "case_hash", "cohort", "status", "precision", "profile", "sweep", "batch", "shape", "accuracy"]


class Zygote:
    """See zygote.py."""

    def __init__(self, locks: Path) -> None:
        environ = {"BENCHFW_PLUGINS": "benchfw.testing.plugin", "BENCHFW_LOCKS": str(locks), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.storm.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environ,
            cwd=Path(__file__).parents[2],
        )

    def run(self, folder: Path, *arguments: str, kill_after: float | None = None) -> int | None:
        """Run a command to its end and return its exit code; or kill it, which gives None unless it was quicker."""
        pid = self._ask([list(arguments), str(folder)])
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)
        status = self._ask("wait")
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _ask(self, request: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@pytest.fixture
def zygotes(tmp_path: Path) -> Iterator[list[Zygote]]:
    made = [Zygote(tmp_path / f"locks{lane}") for lane in range(LANES)]
    yield made
    for zygote in made:
        zygote.close()


def tables(folder: Path) -> tuple[pd.DataFrame, Counter[Any]]:
    """Return what every run of the scenario must have in common, after checking what must be true of each."""
    results = benchfw.load(folder)
    cases = results.cases
    assert results.problems == []
    assert cases["case_id"].is_unique
    measured = set(cases[cases["status"] == "OK"]["case_id"])
    assert measured <= set(results.iterations[results.iterations["phase"] == "measure"]["case_id"])
    assert not results.blocks.duplicated(["case_id", "block"]).any()
    assert not results.iterations.duplicated(["case_id", "block", "start_ns"]).any()
    keys = ["case_id", "moment", "input_set", "output", "batch", "verdict"]
    accuracy = Counter(results.accuracy[keys].itertuples(index=False))
    assert max(accuracy.values()) == 1
    return cases[COLUMNS].sort_values("case_id").reset_index(drop=True), accuracy


def storm(kills: int, zygotes: list[Zygote], folder: Path, make: Callable[[Path], None], code: int) -> None:
    whole = folder / "undisturbed"
    make(whole)
    start = time.monotonic()
    assert zygotes[0].run(whole, "run", "s.toml") == code, (whole / "output.txt").read_text()
    length = time.monotonic() - start
    wanted = tables(whole / "results")

    def lane(number: int) -> Counter[str]:
        draw = random.Random(number)
        seen: Counter[str] = Counter()
        for index in range(number, kills, LANES):
            here = folder / f"kill{index}"
            make(here)
            arguments = ["run", "s.toml"]
            ends: int | None = None
            while ends is None:  # a resumed run is killed again every third time
                again = arguments[-1] == "latest"
                last = again and draw.random() > 1 / 3
                ends = zygotes[number].run(here, *arguments, kill_after=None if last else draw.uniform(0, length))
                if ends is None:
                    seen["kills"] += 1
                    seen["before the run had a folder"] += not (here / "results").exists()
                if list(here.glob("results/run=*/manifest.json")):
                    arguments = ["run", "--resume", "latest"]
            output = (here / "output.txt").read_text()
            assert ends == code, output
            assert "Traceback" not in output
            assert len(list(here.glob("results/run=*/manifest.json"))) == 1
            cases, accuracy = tables(here / "results")
            pd.testing.assert_frame_equal(cases, wanted[0])
            assert accuracy == wanted[1]
        return seen

    with ThreadPoolExecutor(LANES) as lanes:
        seen = sum(lanes.map(lane, range(LANES)), Counter())
    print(f"\n{dict(seen)} of runs of {length:.1f} s")
    assert seen["kills"] >= kills / 2
    deadline = time.monotonic() + 5
    while (left := workers(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def write_model(path: Path) -> None:
    """Write a graph of one convolution."""
    helper = onnx.helper
    weights = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
    value, real = helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
        "conv",
        [value("x", real, ["batch", 3, 32, 32])],
        [value("y", real, ["batch", 8, 32, 32])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))


def workers(folder: Path) -> list[int]:
    """Return the processes that carry the mark of a worker of this storm, whose locks lie in its folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environ = path.read_bytes()
            if f"{MARK}=".encode() in environ and f"BENCHFW_LOCKS={folder}".encode() in environ:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.timeout(60 + 20 * KILLS)
def test_runs_of_fakes_survive_kill_9(tmp_path: Path, zygotes: list[Zygote]) -> None:
    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "s.toml").write_text(FAKE)

    storm(KILLS, zygotes, tmp_path, make, code=3)


@pytest.mark.framework
@pytest.mark.timeout(120 + 6 * KILLS)
def test_real_runs_survive_kill_9(tmp_path: Path, zygotes: list[Zygote]) -> None:
    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "s.toml").write_text(REAL)
        write_model(folder / "model.onnx")

    storm(max(2, KILLS // 10), zygotes, tmp_path, make, code=0)
