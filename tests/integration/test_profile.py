"""Profiles by layer: rows beside the case, a worker of their own, and nothing that they can spoil."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from benchfw.cli.layers import operators, sums
from benchfw.testing.fakes import LAYERS, LAYERS_SHARE
from benchfw.testing.project import Project, virtual_backend

pytestmark = pytest.mark.usefixtures("brief")
FAKE = pytest.mark.usefixtures("warm_workers")

SCENARIO = """
name = "layers"
threads = 1
[model]
ref = "null:model"
[model.inputs.x]
shape = ["batch", 4]
[shapes]
batch = { min = 1, opt = 2, max = 3 }
[[sweep]]
kind = "fixed"
batch = [1, 2]
[measure]
effort = "quick"
budget = "1s"
profile = 7
"""
RANDOM = '[[sweep]]\nkind = "random-batch"\n'


@FAKE
def test_every_case_of_one_shape_has_its_layers(project: Project) -> None:
    outcome, results = project.run(SCENARIO + RANDOM + virtual_backend("v") + virtual_backend("w", 500.0))
    assert {row["status"] for row in outcome.rows} == {"OK"}
    layers = results.layers
    fixed = [row for row in outcome.rows if row["sweep"] == "fixed"]
    assert {*layers["case_id"]} == {row["case_id"] for row in fixed}
    for row in fixed:
        mine = layers[layers["case_id"] == row["case_id"]]
        assert sorted(mine["op"]) == sorted(LAYERS)
        assert {*mine["n"]} == {7}
        assert mine["share"].sum() == pytest.approx(1)
        assert mine["time_p50_ns"].is_monotonic_decreasing
        assert mine["layers_p50_ns"].iloc[0] == pytest.approx(LAYERS_SHARE * row["latency_p50_ns"], rel=0.01)
        found = sums(row, mine.to_dict("records"))
        assert found["gaps_ns"] == pytest.approx((1 - LAYERS_SHARE) * row["latency_p50_ns"], rel=0.01)
        assert found["profiling_ns"] == pytest.approx(0, abs=0.01 * row["latency_p50_ns"])
    (warning,) = results.warnings[results.warnings["code"] == "P01"]["message"].unique()
    assert "a mixture of sizes" in warning


@FAKE
def test_the_worker_that_is_timed_is_not_the_one_that_is_profiled(project: Project) -> None:
    outcome, results = project.run(SCENARIO + virtual_backend("v"))
    logs = sorted(log.name for log in (outcome.folder / "logs").glob("v-*"))
    assert logs == [
        "v-fp32.lane1.log",
        "v-fp32.lane2.log",
        "v-fp32.log",
    ]  # one of each cohort's, and that of all timing
    assert {*results.cases["invocation"]} == {0}


@FAKE
@pytest.mark.parametrize("fault", ["raise", "exit", "none", "verbose_own"])
def test_a_profile_that_goes_wrong_costs_no_case(project: Project, fault: str) -> None:
    outcome, results = project.run(SCENARIO + virtual_backend("v", fault=fault, at="profile"))
    assert {row["status"] for row in outcome.rows} == {"OK"}
    assert results.layers.empty
    reasons = results.warnings[results.warnings["code"] == "P01"]["message"]
    assert len(reasons) == 2
    assert all(reason.startswith("not profiled: ") for reason in reasons)


@FAKE
def test_without_being_asked_for_nothing_is_profiled(project: Project) -> None:
    _, results = project.run(SCENARIO + virtual_backend("v"), "measure.profile=0")
    assert results.layers.empty
    assert "P01" not in {*results.warnings["code"]}
    assert results.cases["graph_flops"].isna().all()


@FAKE
def test_a_backend_that_cannot_says_so(project: Project) -> None:
    outcome, results = project.run(SCENARIO + '[[backend]]\nuse = "null"\n')
    assert {row["status"] for row in outcome.rows} == {"OK"}
    assert {*results.warnings[results.warnings["code"] == "P01"]["message"]} == {"not profiled: null does not profile"}


# --- the command -------------------------------------------------------------------------------------------------


QUICK = ("--set", "measure.budget=1", "--results", "r")


def test_the_command_shows_layers_operators_and_their_sum(project: Project) -> None:
    ended = project.cli("profile", "null:m", "--backend", "fake", "--input", "x=batchx4", "--top", "2", *QUICK)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("layers: m on fake, fp32, batch=1; 50"))
    assert lines[head + 1].split()[:4] == ["layer", "operator", "time", "µs"]
    assert lines[head + 2].startswith("layer")
    assert lines[head + 4].startswith("and 2 more")
    text = "\n".join(lines[head:])
    assert "\noperator" in text
    for words in ("sum of layers ", "profiled inference ", "latency ", "without profiling"):
        assert words in text
    shown = project.cli("show", "--layers", "2", "--results", "r")
    assert "\n".join(shown.stdout.splitlines()[-(len(lines) - head) :]) == text


def test_the_command_in_json(project: Project) -> None:
    ended = project.cli(
        "profile", "null:m", "--backend", "fake", "--input", "x=batchx4", "--iterations", "3", "--json", *QUICK
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert len(found["layers"]) == len(LAYERS)
    assert {row["n"] for row in found["layers"]} == {3}
    assert found["operators"] == operators(found["layers"])
    assert {row["op"]: row["layers"] for row in found["operators"]} == {"Conv": 2, "Relu": 1, "MatMul": 1}
    assert found["sums"] == sums(found["cases"][0], found["layers"])


def test_the_command_refuses_what_does_not_profile(project: Project) -> None:
    ended = project.cli("profile", "null:m", "--backend", "null")
    assert ended.returncode == 2
    assert "--backend null: it does not profile" in ended.stderr
    assert "fake" in ended.stderr


# --- real frameworks ---------------------------------------------------------------------------------------------

NET = """
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16 * 16, 5)).eval()
"""
MACS = 8 * 16 * 16 * 27 + 8 * 16 * 16 * 5
PARAMETERS = 8 * 27 + 8 + 8 * 16 * 16 * 5 + 5


@pytest.fixture
def net(project: Project) -> Project:
    """A project with a convolution, a ReLU and a dense layer, as `net.onnx` and as `python:net:make`."""
    random = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (5, 8 * 16 * 16), "b2": (5,)}
    weights = [numpy_helper.from_array(random.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Flatten", ["r"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], name="dense", transB=1),
    ]
    ends = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5]),
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    save(made, str(project.folder / "net.onnx"))
    (project.folder / "net.py").write_text(NET)
    return project


def of(backend: str, ref: str) -> str:
    shape = '[model.inputs.input]\nshape = ["batch", 3, 16, 16]'
    text = SCENARIO.replace('ref = "null:model"', f'ref = "{ref}"').replace("batch = [1, 2]", "batch = [2]")
    return text.replace('[model.inputs.x]\nshape = ["batch", 4]', shape) + f'[[backend]]\nuse = "{backend}"\n'


@pytest.mark.framework
@pytest.mark.parametrize(("backend", "conv"), [("ort-cpu", "Conv"), ("openvino", "Convolution")])
def test_layers_of_a_graph_have_its_operations(net: Project, backend: str, conv: str) -> None:
    outcome, results = net.run(of(backend, "onnx:net.onnx"))
    (row,) = outcome.rows
    assert row["status"] == "OK", row["status_reason"]
    assert (row["graph_flops"], row["graph_parameters"]) == (2 * 2 * MACS, PARAMETERS)
    layers = results.layers.set_index("op")
    assert layers["flops"].sum() == row["graph_flops"]
    assert layers["parameters"].sum() == PARAMETERS
    assert "conv" in json.loads(str(layers["nodes"][conv]))
    assert layers["flops"][conv] == 2 * 2 * 8 * 16 * 16 * 27
    assert {*layers["precision"]} == {"fp32"}
    assert (layers["kernel"] if backend == "openvino" else layers["provider"]).notna().all()


@pytest.mark.framework
def test_layers_of_eager_pytorch_are_those_of_its_modules(net: Project) -> None:
    outcome, results = net.run(of("torch-eager", "python:net:make"))
    assert outcome.rows[0]["status"] == "OK", outcome.rows[0]["status_reason"]
    assert {*results.layers["layer"]} == {"0.conv2d", "1.relu", "2.flatten", "3.linear"}
    kernels = results.layers.set_index("op")["kernel"]
    assert kernels["linear"] == "addmm"
    assert "conv" in kernels["conv2d"]


def test_torch_compile_is_refused_before_anything_runs(net: Project) -> None:
    ended = net.cli("profile", "python:net:make", "--backend", "torch-compile")
    assert ended.returncode == 2
    assert "torch-eager" in ended.stderr
    assert not Path(net.folder, "results").exists()
