"""Engines that are built several times: artifacts of their own, invocations of their own, a variation of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchfw.plugins import discover
from benchfw.testing.project import FAKES, Project

pytestmark = pytest.mark.usefixtures("brief")
MODEL = Path(__file__).parents[2] / "scenarios" / "models" / "mlp.onnx"
PLUGIN = """
from benchfw.spec import BackendInfo, Capabilities, StepInfo
from benchfw.spec.hooks import hookimpl

@hookimpl
def benchfw_register_backends():
    return [
        BackendInfo(name=name, factory=f"lottery.steps:{factory}", accepts=accepts, provider="lottery",
                    capabilities=Capabilities(precisions=("fp32",)))
        for name, factory, accepts in (("runner", "Runner", ("ticket",)), ("plain", "Plain", ("onnx",)))
    ]

@hookimpl
def benchfw_register_steps():
    return [StepInfo(name="TicketFromOnnx", source="onnx", target="ticket", factory="lottery.steps:TicketFromOnnx",
                     runtime="lottery")]
"""
STEPS = """
import time
import numpy as np
from benchfw.spec import Backend, Bound, IoSpec, Step, TensorSpec

class TicketFromOnnx(Step):
    def run(self, artifact, *, inputs, profile, precision, destination):
        self.cache_dir.mkdir(parents=True, exist_ok=True)
        drawn = self.cache_dir / "drawn"  # as a timing cache: who finds it draws the same again
        if not drawn.exists():
            number = int(self.cache_dir.name.partition("build-")[2] or 0)
            drawn.write_text(str(100_000 * (1 + number)))
        destination.write_text(drawn.read_text())
        return {}

class Ticket(Bound):
    def __init__(self, ns):
        def launch(clock=time.perf_counter_ns):
            until = clock() + ns
            while clock() < until:
                pass
        self.launch = launch

    def outputs(self):
        return {"logits": np.arange(10, dtype=np.float32)}

class Runner(Backend):
    def load(self, artifact):
        self.ns = self.read(artifact)
        return IoSpec(inputs=self.context.inputs, outputs=(TensorSpec(name="logits", dtype="float32", shape=(10,)),))

    def bind(self, slot, inputs):
        return Ticket(self.ns)

    def facts(self):
        return {"provider_effective": "lottery", "precision_effective": "fp32", "ns": self.ns}

    def read(self, artifact):
        return int(open(artifact.path).read())

class Plain(Runner):
    def read(self, artifact):
        return 150_000
"""
SCENARIO = """
name = "builds"
[model]
ref = "onnx:mlp.onnx"
[model.inputs.features]
shape = ["batch", 64]
[shapes]
batch = { min = 1, opt = 1, max = 1 }
[[sweep]]
kind = "fixed"
[measure]
effort = "quick"
budget = "2s"
depths = [1]
[accuracy]
may_repeat = true
[[backend]]
use = "runner"
[[backend]]
use = "plain"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    package = tmp_path / "plugins" / "lottery"
    package.mkdir(parents=True)
    for name, text in {"__init__": "", "plugin": PLUGIN, "steps": STEPS}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("BENCHFW_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mlp.onnx").symlink_to(MODEL)
    return Project(tmp_path, discover(extra=[FAKES, "lottery.plugin"]))


def test_builds_are_measured_in_invocations_of_their_own(project: Project) -> None:
    outcome, results = project.run(SCENARIO, "measure.builds=2", "measure.invocations=4")
    built, plain = sorted(outcome.rows, key=lambda row: row["name"], reverse=True)
    assert built["status"] == plain["status"] == "OK", [row["status_reason"] for row in outcome.rows]
    table = results.invocations
    mine = table[table.case_id == built["case_id"]].sort_values("invocation")
    assert list(mine.build) == [0, 1, 0, 1]
    assert mine.artifact_sha256.nunique() == 2
    medians = np.array(mine.latency_p50_ns, float)
    assert medians[1] / medians[0] == pytest.approx(2.0, rel=0.2)
    assert table[table.case_id == plain["case_id"]].build.isna().all()

    assert (built["builds"], built["invocations"]) == (2, 4)
    assert (plain["builds"], plain["invocations"], plain["variation_builds"]) == (None, 4, None)
    assert built["variation_builds"] == pytest.approx(np.log(2.0) / np.sqrt(2.0), rel=0.2)
    assert built["variation_between"] < 0.5 * built["variation_builds"]
    assert built["latency_p50_high_ns"] > 2 * built["latency_p50_ns"]  # two builds say little of a third


def test_builds_are_found_in_the_cache_and_a_single_one_is_the_first(project: Project) -> None:
    project.run(SCENARIO, "measure.builds=2", "backend=[{use='runner'}]")
    folders = sorted((project.folder / "cache" / "artifacts").glob("TicketFromOnnx-*"))
    recipes = [json.loads((folder / "sidecar.json").read_text())["recipe"] for folder in folders]
    assert sorted(recipe.get("build", 0) for recipe in recipes) == [0, 1]
    outcome, results = project.run(SCENARIO, "backend=[{use='runner'}]")
    (row,) = outcome.rows
    assert (row["invocations"], row["builds"], json.loads(row["facts"])["ns"]) == (1, None, 100_000)
    assert row["artifact_s"] == 0.0
    assert list(results.invocations.build) == [0]


def test_as_many_invocations_as_builds_at_least(project: Project) -> None:
    outcome, _ = project.run(SCENARIO, "measure.builds=2", "backend=[{use='runner'}]")
    (row,) = outcome.rows
    assert (row["invocations"], row["builds"]) == (2, 2)
    assert row["variation_between"] is None  # a process for each: what differs may be either
    assert row["variation_builds"] > 0.2
