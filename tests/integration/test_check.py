"""`benchfw check` on graphs of a few nodes: right ones, and ones in which a step breaks one node on purpose."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchfw.cli import main
from benchfw.executors import bisecting

pytestmark = [pytest.mark.framework, pytest.mark.usefixtures("warm_workers")]

Check = Callable[..., dict[str, Any]]

PLUGIN = """
from benchfw.spec import StepInfo
from benchfw.spec.hooks import hookimpl

@hookimpl
def benchfw_register_steps():
    return [
        StepInfo(name=f"Break{kind}", source="onnx", target="onnx", factory=f"breaking:Break{kind}", on_request=True)
        for kind in ("Gather", "Weight", "Zero", "Nothing", "Rename")
    ]
"""

STEPS = """
import onnx
from benchfw.spec import Step
from onnx import numpy_helper

class BreakNothing(Step):
    def run(self, artifact, *, inputs, profile, precision, destination):
        model = onnx.load(artifact.path)
        self.change(model.graph, {tensor.name: tensor for tensor in model.graph.initializer})
        onnx.save(model, str(destination))
        return {"warnings": ["meddled"]}

    def change(self, graph, weights):
        pass

    def scale(self, tensor, factor):
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factor, tensor.name))

class BreakGather(BreakNothing):
    def change(self, graph, weights):
        weights["first"].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights["first"]) + 1, "first"))

class BreakWeight(BreakNothing):
    def change(self, graph, weights):
        self.scale(weights["w1"], 1.01)

class BreakZero(BreakNothing):
    def change(self, graph, weights):
        self.scale(weights["w2"], 0)

class BreakRename(BreakWeight):
    def change(self, graph, weights):
        super().change(graph, weights)
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [f"{name}_renamed" if name in ("masked", "hidden") else name for name in names]
"""

NODES = (
    ("Gather", ["table", "ids"], ["embedded"]),
    ("Mul", ["embedded", "mask"], ["masked"]),
    ("MatMul", ["masked", "w1"], ["hidden"]),
    ("Relu", ["hidden"], ["states"]),
    ("Gather", ["states", "first"], ["pooled"]),
    ("Tanh", ["pooled"], ["squashed"]),
    ("MatMul", ["squashed", "w2"], ["logits"]),
)


def write_model(path: Path) -> None:
    """Write a model of two inputs (int64 tokens, a float mask) and two outputs, both of any batch and length."""
    random = np.random.default_rng(0)
    weights = {
        "table": random.standard_normal((2, 16)),
        "w1": random.standard_normal((16, 8)),
        "w2": random.standard_normal((8, 12)),
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node(op, inputs, outputs, name=f"n{place}", **({"axis": 1} if place == 4 else {}))
            for place, (op, inputs, outputs) in enumerate(NODES)
        ],
        "tokens",
        [
            value("ids", TensorProto.INT64, ["batch", "length"]),
            value("mask", TensorProto.FLOAT, ["batch", "length", 1]),
        ],
        [
            value("states", TensorProto.FLOAT, ["batch", "length", 8]),
            value("logits", TensorProto.FLOAT, ["batch", 12]),
        ],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
        + [numpy_helper.from_array(np.array(0, np.int64), "first")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run `benchfw check tokens.onnx --json` with more arguments, and return what it prints."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "breaking_plugin.py").write_text(PLUGIN)
    (tmp_path / "path" / "breaking.py").write_text(STEPS)
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    monkeypatch.setenv("BENCHFW_PLUGINS", "breaking_plugin")
    monkeypatch.setenv("BENCHFW_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "tokens.onnx")

    def run(*arguments: str, code: int = 0, length: bool = True) -> dict[str, Any]:
        sizes = ("--size", "length=5") if length and "--size" not in arguments else ()
        command = ["benchfw", "check", "tokens.onnx", *sizes, "--json", *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        assert end.value.code == code, out + err
        return json.loads(out)  # type: ignore[no-any-return]

    return run


def test_two_backends_agree_at_three_points_of_a_dynamic_model(check: Check) -> None:
    found = check("--backend", "openvino", "--size", "length=2:3:6", "--batch", "2", "--samples", "2")
    assert found["reference"] == "ort-cpu"
    assert [item["shape"]["length"] for item in found["checks"]] == [2, 3, 6]
    for item in found["checks"]:
        assert (item["status"], item["precision"], item["steps"]) == ("OK", "fp32", [])
        assert item["verdict"] in ("pass", "warn")
        assert [line["output"] for line in item["outputs"]] == ["states", "logits"]
        assert {row["input_set"] for row in item["rows"]} == {0, 1}
        for line in item["outputs"]:
            assert line["inputs"] == 2
            assert line["mean"]["rel_l2"] <= line["worst"]["rel_l2"] < 1e-5


@pytest.mark.parametrize(
    ("step", "tensor", "node", "weights", "at_once"),
    [("BreakGather", "pooled", "n4", ["first"], 2), ("BreakWeight", "hidden", "n2", ["w1"], 64)],
)
def test_the_node_that_was_broken_is_found(
    check: Check, monkeypatch: pytest.MonkeyPatch, step: str, tensor: str, node: str, weights: list[str], at_once: int
) -> None:
    monkeypatch.setattr(bisecting, "AT_ONCE", at_once)
    found = check("--backend", "openvino", "--steps", step, "--bisect", code=5)
    (checked,), (bisection,) = found["checks"], found["bisections"]
    assert step in checked["steps"]
    assert checked["verdict"] == "fail"
    assert f"{step}: meddled" in checked["warnings"]
    first = bisection["departures"][0]
    assert (first["tensor"]["name"], first["node"], first["weights"], first["begins"]) == (tensor, node, weights, True)
    assert all(not item["departs"] and item["rel_l2"] < 1e-5 for item in first["inputs"])
    assert first["inputs"]
    assert all(not item["begins"] for item in bisection["departures"][1:])
    assert bisection["common"] == 7


@pytest.mark.parametrize(("broken", "failing"), [("openvino", ["openvino"]), ("reference", ["openvino", "ort-cpu"])])
def test_a_step_that_one_backend_asks_for_is_its_own(check: Check, broken: str, failing: list[str]) -> None:
    asks = f"backend.{broken}.steps.BreakGather={{}}"
    found = check("--backend", "openvino", "--backend", "ort-cpu", "--set", asks, code=5)
    assert [item["backend"] for item in found["checks"] if item["verdict"] == "fail"] == failing
    assert [item["backend"] for item in found["checks"] if "BreakGather" in item["steps"]] == [
        name for name in failing if name == broken
    ]


def test_outputs_that_are_all_zero_fail_and_the_last_node_is_found(check: Check) -> None:
    found = check("--backend", "ort-cpu", "--steps", "BreakZero", "--bisect", code=5)
    (checked,), (bisection,) = found["checks"], found["bisections"]
    verdicts = {line["output"]: (line["verdict"], line["reason"]) for line in checked["outputs"]}
    assert verdicts["logits"] == ("fail", "all elements are zero")
    assert verdicts["states"][0] == "pass"
    (departure,) = bisection["departures"]
    assert (departure["tensor"]["name"], departure["op"], departure["begins"]) == ("logits", "MatMul", True)
    assert [item["name"] for item in departure["inputs"]] == ["squashed"]


def test_tensors_are_held_to_the_tolerance_of_the_outputs_and_those_of_a_name_to_theirs(check: Check) -> None:
    wide = "accuracy.tolerance.fp32={rel_l2=0.05,outside_share=1.0,outputs.logits={rel_l2=1e-5}}"
    found = check("--backend", "ort-cpu", "--steps", "BreakWeight", "--set", wide, "--bisect", code=5)
    (checked,), (bisection,) = found["checks"], found["bisections"]
    assert {line["output"]: line["verdict"] for line in checked["outputs"]} == {"states": "warn", "logits": "fail"}
    (departure,) = bisection["departures"]
    assert (departure["tensor"]["name"], departure["begins"]) == ("logits", True)


def test_tensors_that_only_one_graph_has_are_not_compared(check: Check) -> None:
    found = check("--backend", "ort-cpu", "--steps", "BreakRename", "--bisect", code=5)
    (bisection,) = found["bisections"]
    first = bisection["departures"][0]
    assert (first["tensor"]["name"], first["op"]) == ("states", "Relu")
    assert first["unknown"] == ["hidden_renamed"]
    assert bisection["common"] == 5  # of 7


def test_a_graph_that_is_right_needs_no_bisection(check: Check) -> None:
    found = check("--backend", "ort-cpu", "--steps", "BreakNothing", "--bisect")
    assert found["bisections"] == []
    assert found["checks"][0]["verdict"] == "pass"


def test_samples_of_a_folder_are_all_compared(check: Check, tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    folder.mkdir()
    random = np.random.default_rng(1)
    for number in range(3):
        mask = random.random((5, 1)).astype(np.float32)
        np.savez(folder / f"{number}.npz", ids=random.integers(0, 2, 5), mask=mask)
    found = check("--backend", "ort-cpu", "--inputs", str(folder), "--batch", "2")
    assert {row["input_set"] for row in found["checks"][0]["rows"]} == {0, 1}  # of two samples each


def test_tensors_with_several_names_keep_their_own(check: Check, tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    pairs = [("Identity", "x", "same"), ("Relu", "same", "r"), ("Identity", "r", "again"), ("Identity", "again", "y")]
    graph = helper.make_graph(
        [helper.make_node(op, [source], [target]) for op, source, target in pairs],
        "aliases",
        [value("x", TensorProto.FLOAT, ["batch", 4])],
        [value("y", TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "tokens.onnx"))
    found = check("--backend", "openvino", "--samples", "1", length=False)
    assert [line["output"] for line in found["checks"][0]["outputs"]] == ["y"]


def test_a_precision_that_a_backend_lacks_is_told(check: Check) -> None:
    found = check("--backend", "openvino", "--precision", "fp32", "--precision", "fp8", code=3)
    states = {item["precision"]: item["status"] for item in found["checks"]}
    assert states == {"fp32": "OK", "fp8": "UNSUPPORTED"}
