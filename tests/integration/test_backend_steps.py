"""Options of steps that one backend of a scenario has for itself: routes, artifacts and rows of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
    return [BackendInfo(name="runner", factory="mill.steps:Runner", accepts=("flour",), provider="mill",
                        capabilities=Capabilities(precisions=("fp32",)),
                        step_options={"FlourFromOnnx": {"sieve": "fine"}})]

@hookimpl
def benchfw_register_steps():
    return [StepInfo(name="FlourFromOnnx", source="onnx", target="flour", factory="mill.steps:FlourFromOnnx",
                     options="mill.options:FlourOptions"),
            StepInfo(name="CoarseFromOnnx", source="onnx", target="flour", factory="mill.steps:FlourFromOnnx",
                     options="mill.options:FlourOptions", on_request=True)]
"""
OPTIONS = """
from pydantic import BaseModel

class FlourOptions(BaseModel):
    grade: int = 1
    sieve: str = "none"
"""
STEPS = """
import json
import time
import numpy as np
from benchfw.spec import Backend, Bound, IoSpec, Step, TensorSpec

class FlourFromOnnx(Step):
    def run(self, artifact, *, inputs, profile, precision, destination):
        with (self.root / "ground").open("a") as log:
            log.write(f"{type(self).__name__}{self.options['grade']}\\n")
        destination.write_text(json.dumps(self.options))
        return {}

class Grains(Bound):
    def launch(self, clock=time.perf_counter_ns):
        until = clock() + 100_000
        while clock() < until:
            pass

    def outputs(self):
        return {"logits": np.arange(10, dtype=np.float32)}

class Runner(Backend):
    def load(self, artifact):
        self.made_with = json.loads(open(artifact.path).read())
        return IoSpec(inputs=self.context.inputs, outputs=(TensorSpec(name="logits", dtype="float32", shape=(10,)),))

    def bind(self, slot, inputs):
        return Grains()

    def facts(self):
        return {"provider_effective": "mill", "precision_effective": "fp32", **self.made_with}
"""
SCENARIO = """
name = "mill"
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
"""
OTHERS = """
[[backend]]
use = "runner"
name = "finer"
steps.FlourFromOnnx = { grade = 2 }
[[backend]]
use = "runner"
name = "spelt-out"
steps.FlourFromOnnx = { grade = 1 }
[[backend]]
use = "runner"
name = "coarse"
steps.CoarseFromOnnx = { grade = 9 }
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    package = tmp_path / "plugins" / "mill"
    package.mkdir(parents=True)
    for name, text in {"__init__": "", "plugin": PLUGIN, "options": OPTIONS, "steps": STEPS}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("BENCHFW_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mlp.onnx").symlink_to(MODEL)
    return Project(tmp_path, discover(extra=[FAKES, "mill.plugin"]))


def _rows(outcome: Any) -> dict[str, dict[str, Any]]:
    assert {row["status"] for row in outcome.rows} == {"OK"}, [row["status_reason"] for row in outcome.rows]
    return {row["name"]: row for row in outcome.rows}


def test_unlike_options_make_unlike_artifacts_and_equal_ones_share_one(project: Project) -> None:
    outcome, results = project.run(SCENARIO + OTHERS)
    rows = _rows(outcome)
    facts = {name: json.loads(row["facts"]) for name, row in rows.items()}
    assert {name: (each["grade"], each["sieve"]) for name, each in facts.items()} == {
        "runner": (1, "fine"),  # what the backend wants stays, where nobody says otherwise
        "finer": (2, "fine"),
        "spelt-out": (1, "fine"),
        "coarse": (9, "none"),
    }
    assert (project.folder / "ground").read_text().count("\n") == 3, "equal options are ground once"
    stored = results.cases.set_index("name")
    finer = {"FixedBatchOnnx": {}, "FlourFromOnnx": {"grade": 2, "sieve": "fine"}}
    assert json.loads(stored.step_options["finer"]) == finer
    assert stored.artifact_steps["coarse"] == "FixedBatchOnnx+CoarseFromOnnx"
    loaded = results.invocations.set_index("case_id").artifact_sha256
    of = {name: loaded[row["case_id"]] for name, row in rows.items()}
    assert of["runner"] == of["spelt-out"] and len(set(of.values())) == 3


def test_options_of_a_backend_come_before_those_of_the_file_key_by_key(project: Project) -> None:
    own = 'steps.FlourFromOnnx = { sieve = "own" }\n[steps.FlourFromOnnx]\ngrade = 5\nsieve = "of all"\n'
    rows = _rows(project.run(SCENARIO + '[[backend]]\nuse = "runner"\nname = "other"\n' + own)[0])
    options = {name: json.loads(row["step_options"])["FlourFromOnnx"] for name, row in rows.items()}
    assert options == {"runner": {"grade": 5, "sieve": "of all"}, "other": {"grade": 5, "sieve": "own"}}


def test_a_case_is_another_one_where_the_options_that_hold_for_it_change(project: Project) -> None:
    """The hash is what resuming goes by."""

    def hashes(*overrides: str) -> dict[str, str]:
        rows = _rows(project.run(SCENARIO + OTHERS, "measure.budget=1s", *overrides)[0])
        return {name: row["case_hash"] for name, row in rows.items()}

    before = hashes()
    after = hashes("backend.finer.steps.FlourFromOnnx.grade=3")
    assert {name for name in before if before[name] != after[name]} == {"finer"}


@pytest.mark.framework
def test_one_run_exports_a_model_by_both_exporters(tmp_path: Path, registry: Any) -> None:
    text = SCENARIO.replace("onnx:mlp.onnx", "builtin:mlp").replace(".features", ".input").replace("runner", "ort-cpu")
    text += '[[backend]]\nuse = "ort-cpu"\nname = "traced"\n'
    text += 'steps.OnnxFromTorch = { exporter = "torchscript", opset = 16 }\n'
    rows = _rows(Project(tmp_path, registry).run(text)[0])
    exports = {name: json.loads(row["step_options"])["OnnxFromTorch"] for name, row in rows.items()}
    made = {name: (each["exporter"], each["opset"]) for name, each in exports.items()}
    assert made == {"ort-cpu": ("dynamo", 20), "traced": ("torchscript", 16)}
