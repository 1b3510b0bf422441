"""`benchfw plan`: the way of each case from the model to what its backend loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Cli

SCENARIO = """
name = "routes"
[model]
ref = "python:mine:Model"
[model.inputs.x]
shape = ["batch", 4]
[shapes]
batch = { min = 1, opt = 4, max = 8 }
[[sweep]]
kind = "min-opt-max"
[steps.SimplifiedOnnx]
[[backend]]
use = "ort-cpu"
precision = ["fp32", "int8"]
"""


def test_routes_name_steps_that_are_asked_for_and_precisions(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SCENARIO)
    out, _ = cli("plan", "s.toml")
    assert "routes: python:mine:Model (runs your code)" in out
    base = "torch -> onnx (OnnxFromTorch) -> onnx (SimplifiedOnnx)"
    assert f"{base}\n" in out and f"{base} -> onnx in int8 (Int8Onnx)\n" in out
    told = json.loads(cli("plan", "s.toml", "--json")[0])
    assert told["runs_code"] is True and told["model"] == "python:mine:Model"
    assert {case["route"] for case in told["cases"]} == {base, f"{base} -> onnx in int8 (Int8Onnx)"}


VARIANTS = """
[[backend]]
use = "ort-cpu"
name = "traced"
steps.OnnxFromTorch = { exporter = "torchscript", opset = 16 }
[[backend]]
use = "ort-cpu"
name = "simplified"
steps.SimplifiedOnnx = {}
[[backend]]
use = "torch-eager"
"""


def test_each_backend_has_its_own_route_with_the_options_that_it_gets(cli: Cli, tmp_path: Path) -> None:
    head = SCENARIO.partition("[steps")[0]
    (tmp_path / "s.toml").write_text(head + "[steps.OnnxFromTorch]\nopset = 19\nexternal_data = 'always'\n" + VARIANTS)
    told = json.loads(cli("plan", "s.toml", "--json")[0])
    assert {case["session"]: case["route"] for case in told["cases"]} == {
        "traced-fp32": 'torch -> onnx (OnnxFromTorch: opset = 16, external_data = "always", exporter = "torchscript")',
        "simplified-fp32": 'torch -> onnx (OnnxFromTorch: opset = 19, external_data = "always")'
        " -> onnx (SimplifiedOnnx)",
        "torch-eager-fp32": "torch",
    }
    assert told["warnings"] == []
