"""Engines of TensorRT-RTX, built for real on a machine without a GPU; none is ever run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from benchfw.artifacts import Made, Wanted
from benchfw.cli import cli
from benchfw.errors import BenchfwError, BuildFailed
from benchfw.executors.making import making
from benchfw.plugins import Registry
from benchfw.spec import Profile, TensorSpec
from benchfw.spec.tensors import AxisRange
from benchfw_tensorrt.header import describe_engine
from tests.unit import fake_cuda_modules

STEP = "RtxEngineFromOnnx"
BATCH = AxisRange(min=1, opt=4, max=8)
X = TensorSpec(name="x", dtype="float32", shape=("batch", 8))


@pytest.fixture(scope="module", autouse=True)
def version() -> str:
    try:
        return metadata.version("tensorrt-rtx-cu13")
    except metadata.PackageNotFoundError:
        pytest.skip("TensorRT-RTX is not installed: pip install 'benchfw-tensorrt[rtx]'")


@pytest.fixture(scope="module")
def module_build(registry: Registry, version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Function that builds an engine of a graph; one worker serves all tests of this module."""
    folder = tmp_path_factory.mktemp("models")
    told: list[str] = []
    source = registry.model_source("onnx")

    with making(registry, log=folder / "log", notify=told.append) as builder:

        def run(graph: onnx.GraphProto, inputs: Sequence[TensorSpec], axes: dict[str, AxisRange], **given: Any) -> Made:
            file = folder / f"{graph.name}.onnx"
            write(graph, file)
            model = builder.resolve(source, str(file), root=folder, seed=0, weights=None)
            wanted = Wanted(accepts=("rtx-engine",), given={STEP: given})
            return builder.make(model.artifact, wanted, inputs=inputs, profile=Profile(axes))

        run.log = folder / "log"  # type: ignore[attr-defined]
        run.uses = builder._uses  # type: ignore[attr-defined]
        assert builder.worker.alive  # started before the first test, which may leave nothing behind
        yield run


@pytest.fixture
def build(module_build: Any) -> Iterator[Any]:
    """The same; what a test has built is no longer needed once it is over."""
    yield module_build
    module_build.uses.close()


def write(graph: onnx.GraphProto, path: Path) -> Path:
    domains = [helper.make_opsetid("", 18), helper.make_opsetid("of.nobody", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=9), path)
    return path


def perceptron(name: str, batch: int | str, kind: int = TensorProto.FLOAT) -> onnx.GraphProto:
    weights = np.linspace(-1, 1, 32).reshape(8, 4).astype(helper.tensor_dtype_to_np_dtype(kind))
    return helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], name="product"),
            helper.make_node("Relu", ["h"], ["y"], name="rectifier"),
        ],
        name,
        [helper.make_tensor_value_info("x", kind, [batch, 8])],
        [helper.make_tensor_value_info("y", kind, [batch, 4])],
        [numpy_helper.from_array(weights, "w")],
    )


def embedding() -> onnx.GraphProto:
    """An int64 input and a float one, whose axes the graph calls otherwise than the case does."""
    return helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"], name="look-up"),
            helper.make_node("Add", ["rows", "bias"], ["y"], name="sum"),
        ],
        "embedding",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", "L"]),
            helper.make_tensor_value_info("bias", TensorProto.FLOAT, ["N", 1, 4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "L", 4])],
        [numpy_helper.from_array(np.ones((10, 4), np.float32), "table")],
    )


def test_an_engine_for_one_shape(build: Any, version: str) -> None:
    made = build(perceptron("static", 2), [TensorSpec(name="x", dtype="float32", shape=(2, 8))], {})
    meta = made.artifact.meta
    assert made.artifact.format == "rtx-engine"
    assert meta["profiles"] == []
    assert meta["tensors"] == [
        {"name": "x", "mode": "input", "dtype": "float32", "shape": [2, 8]},
        {"name": "y", "mode": "output", "dtype": "float32", "shape": [2, 4]},
    ]
    assert (meta["package"], meta["version"]) == ("tensorrt-rtx-cu13", version)


def test_an_engine_for_several_shapes(build: Any, version: str) -> None:
    made = build(perceptron("dynamic", "batch"), [X], {"batch": BATCH})
    path, meta = Path(made.artifact.path), made.artifact.meta
    assert meta["profiles"] == [{"x": [[1, 8], [4, 8], [8, 8]]}]
    assert meta["tensors"][0]["shape"] == [-1, 8]
    assert meta["plan_bytes"] == path.stat().st_size
    assert meta["flags"] == ["REQUIRE_USER_ALLOCATION"]  # TF32, which it has by default, is off
    found = describe_engine(path)
    assert (found["version"], found["bytes"], found["problem"]) == (version, path.stat().st_size, "")
    assert found["sidecar"]["recipe"]["profile"] == {"batch": [1, 4, 8]}
    assert {node for layer in found["layers"] for node in layer["nodes"]} == {"product", "rectifier"}
    assert meta["layers"]["count"] == len(found["layers"])


def test_options_make_another_engine(build: Any) -> None:
    graph = perceptron("dynamic", "batch")
    given = {
        "optimization_level": 1,
        "workspace": "1GiB",
        "strict_nans": True,
        "weight_streaming": True,
        "profiling_verbosity": "none",
        "compute_capabilities": ["8.6", "12.0"],
    }
    made = build(graph, [X], {"batch": BATCH}, **given)
    assert made.artifact.path != build(graph, [X], {"batch": BATCH}).artifact.path
    meta = made.artifact.meta
    assert meta["flags"] == ["STRICT_NANS", "WEIGHT_STREAMING"]
    assert (meta["optimization_level"], meta["compute_capabilities"]) == (1, ["8.6", "12.0"])
    assert meta["layers"]["count"] is None


def test_several_inputs_of_several_types_and_axes(build: Any) -> None:
    specs = [
        TensorSpec(name="ids", dtype="int64", shape=("batch", "seq")),
        TensorSpec(name="bias", dtype="float32", shape=("batch", 1, 4)),
    ]
    made = build(embedding(), specs, {"batch": BATCH, "seq": AxisRange(min=2, opt=3, max=5)})
    meta = made.artifact.meta
    assert meta["profiles"] == [{"ids": [[1, 2], [4, 3], [8, 5]], "bias": [[1, 1, 4], [4, 1, 4], [8, 1, 4]]}]
    assert [item["dtype"] for item in meta["tensors"]] == ["int64", "float32", "float32"]
    assert meta["builder_warnings"] == ["Make sure input ids has Int64 binding."]
    assert (meta["builder_warnings_total"], meta["warnings"], made.warnings) == (1, [], ())


def test_the_engine_has_the_precision_of_its_model(build: Any) -> None:
    spec = TensorSpec(name="x", dtype="float16", shape=("batch", 8))
    made = build(perceptron("half", "batch", TensorProto.FLOAT16), [spec], {"batch": BATCH})
    assert made.artifact.precision == "fp16"
    assert [item["dtype"] for item in made.artifact.meta["tensors"]] == ["float16", "float16"]


def test_a_model_in_bf16_between_casts(build: Any) -> None:
    graph = perceptron("brain", "batch")
    weights = helper.make_tensor("w", TensorProto.BFLOAT16, [8, 4], np.linspace(-1, 1, 32))
    graph.initializer[0].CopyFrom(weights)
    graph.node[0].input[0], graph.node[1].output[0] = "x16", "y16"
    graph.node.insert(0, helper.make_node("Cast", ["x"], ["x16"], to=TensorProto.BFLOAT16))
    graph.node.append(helper.make_node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT))
    made = build(graph, [X], {"batch": BATCH})
    assert made.artifact.precision == "bf16"
    assert [item["dtype"] for item in made.artifact.meta["tensors"]] == ["float32", "float32"]
    layers = json.loads(Path(made.artifact.path).with_name("layers.json").read_text())
    assert any("product" in layer["nodes"] for layer in layers)


def test_integer_biases_of_a_quantised_model(build: Any) -> None:
    graph = perceptron("biased", "batch")
    graph.node[1].input[0] = "sum"
    graph.node.insert(0, helper.make_node("DequantizeLinear", ["b", "scale"], ["bias"], name="dequantise"))
    graph.node.insert(2, helper.make_node("Add", ["h", "bias"], ["sum"], name="sum"))
    graph.initializer.append(numpy_helper.from_array(np.arange(4, dtype=np.int32), "b"))
    graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "scale"))
    with pytest.raises(BuildFailed) as raised:
        build(graph, [X], {"batch": BATCH})
    assert "node 'dequantise' (DequantizeLinear): " in raised.value.message
    assert "input has type Int32 but must have type FP8" in raised.value.message
    assert 'recipe = "tensorrt"' in (raised.value.hint or "")


def test_an_operator_that_it_does_not_know(build: Any) -> None:
    graph = perceptron("unknown", "batch")
    graph.node[1].op_type, graph.node[1].domain = "Wobble", "of.nobody"
    with pytest.raises(BuildFailed) as raised:
        build(graph, [X], {"batch": BATCH})
    assert "node 'rectifier' (Wobble): Plugin not found" in raised.value.message
    assert "replace it in the model" in (raised.value.hint or "")
    assert "While parsing node number 1 [Wobble" in build.log.read_text()  # all that the parser said


@pytest.mark.parametrize(
    ("specs", "axes", "given", "says"),
    [
        ([X], {}, {}, "no profile can be made: axis 'batch' of 'x' has no size"),
        ([], {"seq": BATCH}, {}, "input 'x' of the model has axes without a size and is not declared"),
        ([X], {"batch": BATCH}, {"workspace": "1KiB"}, "no tactics to implement the operation within workspace limit"),
        ([X], {"batch": BATCH}, {"compute_capabilities": ["9.0"]}, "option compute_capabilities: tensorrt_rtx "),
        ([X], {"batch": BATCH}, {"compute_capabilities": ["7.5"]}, "Cannot compile operation 'product' for Turing"),
    ],
)
def test_what_cannot_be_built_is_said_in_the_builders_words(
    build: Any, specs: list[TensorSpec], axes: dict[str, AxisRange], given: dict[str, Any], says: str
) -> None:
    with pytest.raises(BuildFailed) as raised:
        build(perceptron("dynamic", "batch"), specs, axes, **given)
    assert says in raised.value.message
    build(perceptron("static", 2), [], {})  # the same worker goes on


def test_inputs_whose_values_decide_shapes(build: Any) -> None:
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"], name="reshape")],
        "reshape",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 8]),
            helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])],
    )
    with pytest.raises(BuildFailed, match="the values of input 'shape' decide shapes"):
        build(graph, [], {})


LOAD = """
import json, sys
from pathlib import Path
from benchfw.errors import MissingDependency
from benchfw.spec import Artifact, Context
from benchfw_tensorrt.backend import TrtRtx
from benchfw_tensorrt.options import RtxOptions

here = Path()
options = RtxOptions().model_dump(mode="json")
backend = TrtRtx(options, Context(device="cuda:0", threads=1, precision="fp32", cache_dir=here, root=here, inputs=()))
try:
    backend.load(Artifact.from_json(json.loads(sys.argv[1])))
except MissingDependency as error:
    print(error.message, error.hint, sep="\\n")
backend.close()
backend.close()
assert backend.facts() == {}
"""


def test_an_engine_is_not_loaded_where_there_is_no_driver(build: Any, tmp_path: Path) -> None:
    """The real TensorRT-RTX, up to what needs a driver; memory and streams, which would come next, are made up."""
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("there is a driver: what happens then was never seen")
    made = build(perceptron("dynamic", "batch"), [X], {"batch": BATCH})
    text = json.dumps(asdict(made.artifact))
    path = os.pathsep.join([fake_cuda_modules.write(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(
        [sys.executable, "-c", LOAD, text],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    message, hint = run.stdout.splitlines()
    assert message.startswith("trt-rtx cannot load the engine: ") and "cudaError" in message
    assert hint == "this needs an NVIDIA GPU and its driver"


# --- the command ----------------------------------------------------------------------------------------------------


def command(*arguments: str) -> Any:
    """Run `benchfw build` in this process, whose plugins include this one; return stdout or raise its error."""
    result = CliRunner().invoke(cli, ["build", *arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write(perceptron("dynamic", "N"), tmp_path / "m.onnx"))


def test_build_writes_a_copy_and_its_side_car(model: str, tmp_path: Path) -> None:
    target = tmp_path / "m.rtx"
    arguments = (model, "--for", "tensorrt-rtx", "--min", "1", "--opt", "4", "--max", "8", "--set", "workspace=1GiB")
    told = command(*arguments, "-o", str(target))
    assert f"engine   {target}" in told.stdout and "profile  batch 1:4:8" in told.stdout
    found = describe_engine(target)
    assert found["problem"] == "" and found["sidecar"]["recipe"]["options"]["workspace"] == "1GiB"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "m.rtx", "m.rtx.json", "m.rtx.layers.json"]
    assert {node for layer in found["layers"] for node in layer["nodes"]} == {"product", "rectifier"}
    text = CliRunner().invoke(cli, ["inspect", str(target)], standalone_mode=False).stdout
    for line in (
        f"version: {found['version']}",
        f"installed: {found['version']}",
        "step: RtxEngineFromOnnx",
        "profiles:",
    ):
        assert f"\n{line}" in text
    assert "problem" not in text and "none lies beside" not in text

    told = json.loads(command(*arguments, "--json").stdout)
    assert (told["seconds"], told["steps"], told["profile"]) == (0.0, [STEP], {"batch": "1:4:8"})
    assert told["bytes"] == target.stat().st_size
    assert command(*arguments, "--rebuild", "--json").stdout != ""


@pytest.mark.framework
@pytest.mark.parametrize(
    ("model", "arguments", "megabytes"),
    [
        ("mlp", (), 0.127),
        pytest.param("resnet18", ("input=batchx3x112x112",), 47, marks=pytest.mark.slow),
        pytest.param("resnet50", ("input=batchx3x224x224",), 103, marks=pytest.mark.slow),
        pytest.param("vit", (), 349, marks=pytest.mark.slow),
        pytest.param("bert", (), 444, marks=pytest.mark.slow),
        pytest.param("detr", ("pixel_values=batchx3x256x256",), 176, marks=pytest.mark.slow),
    ],
)
def test_the_models_of_the_scenarios(model: str, arguments: tuple[str, ...], megabytes: float) -> None:
    """With dynamic axes, from PyTorch on; weights in fp32 are most of an engine."""
    given = [item for each in arguments for item in ("--input", each)]
    sizes = ["--size", "sequence=8:128:512"] if model == "bert" else []
    points = ["--min", "1", "--opt", "4", "--max", "8"]
    told = command(f"builtin:{model}", "--for", "tensorrt-rtx", *points, *given, *sizes, "--json").stdout
    made = json.loads(told)
    assert made["steps"][-1] == STEP
    assert made["bytes"] == pytest.approx(megabytes * 1e6, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--for", "tensorrt-rt"], 2, "--for tensorrt-rt: no plugin builds for it"),
        (["--for", "tensorrt-rtx", "--set", "worspace=1GiB"], 2, "unknown option (did you mean 'workspace'?)"),
        (["--for", "tensorrt-rtx", "--set", "workspace=much"], 2, "String should match pattern"),
        (["--for", "tensorrt-rtx", "--set", "Nothing.key=1"], 2, "no installed plugin provides this step"),
        (["--for", "tensorrt-rtx", "-o", "nowhere/x.rtx"], 2, "there is no folder nowhere"),
        (["--for", "tensorrt-rtx", "--size", "seq=4"], 2, "--size seq: the model has no such axis"),
        (["--for", "tensorrt-rtx", "--precision", "fp8"], 3, "to 'rtx-engine' in fp8"),
    ],
)
def test_build_refuses_what_cannot_be(model: str, arguments: list[str], code: int, says: str) -> None:
    with pytest.raises(BenchfwError) as raised:
        command(model, *arguments)
    assert says in raised.value.message
    assert raised.value.exit_code == code


def test_build_writes_over_nothing_but_engines(model: str, tmp_path: Path) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"mine")
    (tmp_path / "link.rtx").symlink_to(model)
    whole = Path(model).read_bytes()
    for option, name, says in (
        ("-o", "m.onnx", "m.onnx is the model itself, which is never changed"),
        ("-o", "link.rtx", "link.rtx is the model itself"),
        ("--log", "m.onnx", "m.onnx is the model itself"),
        ("-o", "weights.bin", "weights.bin is there already, and is no engine"),
    ):
        with pytest.raises(BenchfwError) as raised:
            command(model, "--for", "tensorrt-rtx", option, str(tmp_path / name))
        assert says in raised.value.message and raised.value.exit_code == 2
    assert (Path(model).read_bytes(), weights.read_bytes()) == (whole, b"mine")
    for _ in range(2):
        command(model, "--for", "tensorrt-rtx", "-o", str(tmp_path / "m.rtx"))


def test_a_copy_that_cannot_be_written_is_an_error_with_its_place(model: str, tmp_path: Path) -> None:
    (tmp_path / "m.rtx.json").mkdir()
    with pytest.raises(BenchfwError) as raised:
        command(model, "--for", "tensorrt-rtx", "-o", str(tmp_path / "m.rtx"))
    assert "m.rtx.json cannot be written: Is a directory" in raised.value.message
    assert raised.value.hint is not None and "the engine is" in raised.value.hint
    assert not list(tmp_path.glob(".m.rtx*")), "no draft stays"


def test_an_engine_is_built_in_the_environment_that_is_asked_for(model: str, tmp_path: Path, version: str) -> None:
    """It is this interpreter under another name, which notes that it was started."""
    twin, started = tmp_path / "python", tmp_path / "started"
    twin.write_text(f'#!/bin/sh\necho >>"{started}"\nexec "{sys.executable}" "$@"\n')
    twin.chmod(0o755)
    environments = f'[environments.other]\npython = "{twin}"\npackages = ["tensorrt-rtx-cu13=={version}"]\n'
    (tmp_path / "s.toml").write_text(SCENARIO + environments)
    log = tmp_path / "log"
    options = ("--batch", "3", "--set", "log=verbose", "--log", str(log), "--json")
    arguments = (model, "--for", "tensorrt-rtx", *options, "--scenario", str(tmp_path / "s.toml"))
    told = json.loads(command(*arguments, "--environment", "other").stdout)
    assert told["steps"] == ["FixedBatchOnnx", STEP] and started.exists()
    assert log.stat().st_size, "what the builder prints is asked for, not what is converted here before"
    started.unlink()
    assert json.loads(command(*arguments, "--environment", "default").stdout)["path"] == told["path"]
    assert not started.exists()
    with pytest.raises(BenchfwError, match="there is no environment 'none' in"):
        command(*arguments, "--environment", "none")
    with pytest.raises(BenchfwError, match="no environment of it is named"):
        command(*arguments)
    (tmp_path / "s.toml").write_text((SCENARIO + environments).replace(version, "0.1"))
    with pytest.raises(BenchfwError) as raised:
        command(*arguments, "--environment", "other", "--rebuild")
    assert raised.value.message == f"the environment 'other' needs tensorrt-rtx-cu13==0.1, {version} is installed"


# --- in a scenario --------------------------------------------------------------------------------------------------

SCENARIO = """
name = "gpu"
[model]
ref = "onnx:m.onnx"
[model.inputs.x]
shape = ["batch", 8]
[shapes]
batch = { min = 1, opt = 4, max = 8 }
[[sweep]]
kind = "fixed"
batch = [2]
[[backend]]
use = "trt-rtx"
precision = ["fp32", "bf16", "fp8"]
"""


def test_plan_shows_the_route_of_what_is_skipped_here(model: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SCENARIO)
    result = CliRunner().invoke(cli, ["plan", str(tmp_path / "s.toml"), "--json"], standalone_mode=False)
    assert result.exception is None
    told = {case["case_id"].split("/")[2]: case for case in json.loads(result.stdout)["cases"]}
    assert (told["fp32"]["status"], told["fp32"]["reason"]) == ("SKIPPED", "trt-rtx needs a GPU")
    assert told["fp32"]["route"] == "onnx -> onnx (FixedBatchOnnx) -> rtx-engine (RtxEngineFromOnnx)"
    assert told["bf16"]["status"] == "SKIPPED"
    assert told["bf16"]["route"].endswith("onnx in bf16 (Bf16Onnx) -> rtx-engine (RtxEngineFromOnnx)")
    assert (told["fp8"]["status"], told["fp8"]["route"]) == ("UNSUPPORTED", "")
    text = CliRunner().invoke(cli, ["plan", str(tmp_path / "s.toml")], standalone_mode=False).stdout
    assert text.count("its route: onnx -> onnx (FixedBatchOnnx)") == 2


def test_init_leaves_what_needs_a_gpu_in_a_comment(model: str) -> None:
    result = CliRunner().invoke(cli, ["init", model, "-o", "-", "-q"], standalone_mode=False)
    assert result.exception is None
    lacks = "it needs a GPU, and there is none here"
    try:
        metadata.version("cuda-bindings")
    except metadata.PackageNotFoundError:  # said first
        lacks = "it needs cuda-bindings>=12.6, which is not installed: pip install 'benchfw-tensorrt[rtx,cuda]'"
    assert f'# use = "trt-rtx" # {lacks}\n' in result.stdout


def test_a_run_skips_what_needs_a_gpu(project: Any) -> None:
    write(perceptron("dynamic", "N"), project.folder / "m.onnx")
    outcome, _ = project.run(SCENARIO)
    assert {(row["precision"], row["status"], row["status_reason"]) for row in outcome.rows} == {
        ("fp32", "SKIPPED", "trt-rtx needs a GPU (run it on a machine that has one)"),
        ("bf16", "SKIPPED", "trt-rtx needs a GPU (run it on a machine that has one)"),
        ("fp8", "UNSUPPORTED", "trt-rtx does not compute in fp8 (it computes in fp32, tf32, fp16, bf16, int8)"),
    }
