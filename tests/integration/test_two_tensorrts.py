"""Two environments with a TensorRT each, in one run: both are made up, and so is CUDA; the workers are processes."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from benchfw.executors import arm
from tests.unit import fake_cuda_modules

pytestmark = pytest.mark.usefixtures("brief")

TENSORRT = """
import sys
import cuda.bindings.runtime
import onnx
from tests.unit.tensorrt import fake_tensorrt

KINDS = {{1: "FLOAT", 7: "INT64"}}

class Parser(fake_tensorrt.Parser):
    def parse_from_file(self, path):
        graph, trt = onnx.load(path).graph, self._trt
        for values, found in (graph.input, self._network.inputs), (graph.output, self._network.outputs):
            for value in values:
                tensor = value.type.tensor_type
                shape = [dim.dim_value or -1 for dim in tensor.shape.dim]
                found.append(fake_tensorrt.Tensor(trt, value.name, KINDS[tensor.elem_type], shape))
        return True

module = fake_tensorrt.FakeTensorrt("{version}", cuda.bindings.runtime)
module.OnnxParser = lambda network, logger: Parser(module, network)
sys.modules[__name__] = module
"""
SCENARIO = """
name = "two"
[model]
ref = "onnx:twice.onnx"
[model.inputs.x]
shape = ["batch", 8]
[shapes]
batch = { min = 1, opt = 2, max = 4 }
[[sweep]]
kind = "fixed"
batch = [2]
[measure]
effort = "quick"
budget = "200ms"
"""
VERSIONS = {"trt86": "8.6.0", "trt10": "10.16.1"}


def interpreter(folder: Path, version: str) -> Path:
    """Return an interpreter whose TensorRT is of a version."""
    path = fake_cuda_modules.write(folder)
    (folder / "tensorrt.py").write_text(TENSORRT.format(version=version))
    installed = folder / f"tensorrt-{version}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt\nVersion: {version}\n")
    file = folder / "python"
    file.write_text(
        f'#!/bin/sh\nPYTHONPATH={shlex.quote(path)}:"$PYTHONPATH" exec {shlex.quote(sys.executable)} "$@"\n'
    )
    file.chmod(0o755)
    return file


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], str]:
    """Function that returns a scenario with a backend for each TensorRT, in an environment of its name."""
    monkeypatch.setenv("BENCHFW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(arm, "has_gpu", lambda: True)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "twice", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), str(tmp_path / "twice.onnx"))

    def text(versions: dict[str, str]) -> str:
        found = SCENARIO
        for name, version in versions.items():
            folder = tmp_path / version
            folder.mkdir()
            found += f'[[backend]]\nuse = "trt-dynamic"\nname = "{name}"\nenvironment = "{name}"\n'
            found += f'[environments.{name}]\npython = "{interpreter(folder, version)}"\n'
        return found

    return text


def test_two_tensorrts_stand_in_one_table(
    project: Any, scenario: Callable[[dict[str, str]], str], tmp_path: Path
) -> None:
    outcome, results = project.run(scenario(VERSIONS))
    rows = {row["name"]: row for row in outcome.rows}
    reasons = [row["status_reason"] for row in outcome.rows]
    assert {name: row["status"] for name, row in rows.items()} == dict.fromkeys(VERSIONS, "OK"), reasons
    for name, version in VERSIONS.items():
        facts = json.loads(rows[name]["facts"])
        assert (rows[name]["environment"], facts["backend_version"]) == (name, version)
    assert results.invocations.artifact_sha256.nunique() == 2, "an engine each"
    sidecars = (tmp_path / "cache" / "artifacts").glob("TrtEngineFromOnnx-*/sidecar.json")
    made = [json.loads(file.read_text())["artifact"]["meta"]["version"] for file in sidecars]
    assert sorted(made) == sorted(VERSIONS.values())
    assert not (results.warnings["code"] == "A01").any(), "neither replaces the other"


def test_another_tensorrt_builds_again_and_says_why_in_a_sentence(
    project: Any, scenario: Callable[[dict[str, str]], str]
) -> None:
    first, _ = project.run(scenario({"trt": "10.16.1"}))
    second, results = project.run(scenario({"trt": "11.4.0"}))
    (before,), (after,) = first.rows, second.rows
    assert (before["status"], after["status"]) == ("OK", "OK")
    assert json.loads(after["facts"])["backend_version"] == "11.4.0"
    (message,) = results.warnings.query("code == 'A01'")["message"]
    assert message.startswith("made again: TrtEngineFromOnnx-")
    assert "tensorrt was '10.16.1', is now '11.4.0'" in message
