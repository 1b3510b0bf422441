"""The backend `torch-tensorrt` in runs, on the CPU: engines are made up, what makes and times them is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchfw.handover import hand_over
from benchfw.plugins import Registry, discover
from benchfw.testing.project import Project
from tests.unit.torch_trt.package import NAME, install

pytestmark = [pytest.mark.framework, pytest.mark.usefixtures("brief")]

SCENARIO = f"""
name = "torch-tensorrt"
[model]
ref = "python:perceptron:make"
[model.inputs.x]
shape = ["batch", 16]
[shapes]
batch = {{ min = 1, opt = 2, max = 3 }}
[measure]
effort = "quick"
budget = "500ms"
settle_time = "10ms"
samplers = []
[[sweep]]
kind = "min-opt-max"
[[backend]]
use = "{NAME}"
name = "whole"
precision = ["fp16"]
[[backend]]
use = "{NAME}"
name = "partly"
[backend.options]
torch_executed_ops = ["torch.ops.aten.gelu.default"]
min_block_size = 1
"""
MODEL = """
from torch import nn


class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 4))

    def forward(self, x):
        return self.layers(x)


make = Perceptron
"""


def test_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operator in an engine, and one of them left to PyTorch."""
    (tmp_path / "perceptron.py").write_text(MODEL)
    project = Project(tmp_path, discover(extra=[install(tmp_path, monkeypatch)]))
    outcome, results = project.run(SCENARIO)
    rows = {name: [row for row in outcome.rows if row["name"] == name] for name in ("whole", "partly")}
    assert all(len(found) == 3 for found in rows.values())  # min, opt and max
    assert {row["status"] for row in outcome.rows} == {"OK"}
    for row in rows["whole"]:
        facts = json.loads(row["facts"])
        assert (row["provider_effective"], row["precision_effective"]) == ("TensorRT", "fp16")
        assert (row["backend_version"], row["profile"], row["accuracy"]) == ("2.13.0", "dynamic", "pass")
        assert (facts["engines"], facts["torch_operators"], facts["nodes"]["torch"]) == (1, {}, 0)
    for row in rows["partly"]:
        facts = json.loads(row["facts"])
        assert (facts["engines"], facts["torch_operators"]) == (2, {"aten.gelu.default": 1})
    warned = results.warnings.groupby("code").case_id.unique()
    assert "V04" not in warned, "nothing compiles while it is measured"
    assert {case.split("/")[1] for case in warned["V05"]} == {"partly"}
    blocks = results.blocks
    assert (blocks[blocks.phase == "measure"].changes == 0).all()


def test_workers_get_the_plugins_that_it_builds_upon(tmp_path: Path, registry: Registry) -> None:
    code = hand_over(tmp_path / "code", registry.backend("torch-tensorrt").code)
    assert {path.name for path in code.glob("benchfw_*")} == {"benchfw_torch", "benchfw_torch_tensorrt"}
