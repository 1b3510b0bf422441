"""Real frameworks in workers: every CPU backend on a small ResNet-18, own models, weights, shipped scenarios."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from benchfw.errors import BackendError, ScenarioError
from benchfw.executors.making import describe_model, making
from benchfw.plugins import Registry
from benchfw.scenario import load, make_plan

SCENARIOS = Path(__file__).parents[2] / "scenarios"
pytestmark = [pytest.mark.framework, pytest.mark.usefixtures("brief")]

RESNET = """
name = "small"
threads = 1
[model]
ref = "builtin:resnet18"
[model.inputs.input]
shape = ["batch", 3, 32, 32]
[shapes]
batch = { min = 1, opt = 2, max = 3 }
[[sweep]]
kind = "fixed"
batch = [2]
[[sweep]]
kind = "min-opt-max"
[measure]
effort = "quick"
budget = "1s"
"""

BACKENDS = ("torch-eager", "torch-compile", "ort-cpu", "openvino")
TINY = RESNET.replace("builtin:resnet18", "python:tiny:make")
"""The same with a model of a few layers: compiling and exporting ResNet-18 takes half a minute a graph."""
ONE_SWEEP = TINY.replace('[[sweep]]\nkind = "min-opt-max"\n', "")
MODEL = """
from torch import nn

def make():
    features = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(8, 10))
"""


def with_backends(text: str, *names: str) -> str:
    return text + "".join(f'[[backend]]\nuse = "{name}"\n' for name in names)


@pytest.fixture
def tiny(project: Any) -> Any:
    (project.folder / "tiny.py").write_text(MODEL)
    return project


def test_every_cpu_backend_computes_the_same_in_fp32_with_the_same_threads(tiny: Any) -> None:
    outcome, results = tiny.run(with_backends(TINY, *BACKENDS))
    assert {(row["name"], row["status"], row["status_reason"]) for row in outcome.rows} == {
        (name, "OK", None) for name in BACKENDS
    }
    for row in outcome.rows:
        assert row["precision_effective"] == "fp32"
        assert row["provider_effective"]
        assert row["rel_l2"] < 1e-5
        assert row["accuracy"] in ("pass", "warn")
        assert json.loads(row["facts"])["threads_effective"] == 1
        assert row["backend_version"]
        assert row["model_hash"] == outcome.rows[0]["model_hash"]
        assert row["peak_rss_bytes"] > 50 << 20
    compiled = [row for row in outcome.rows if row["name"] == "torch-compile"]
    assert {row["profile"] for row in compiled} == {"static", "dynamic"}
    graphs = {(row["profile"], json.loads(row["facts"])["compilations"]) for row in compiled}
    assert ("static", 1) in graphs  # its own graph, not what the dynamic artifact compiled
    assert min(count for profile, count in graphs if profile == "dynamic") >= 2  # size 1 is a graph of its own
    assert all(json.loads(row["facts"])["graph_breaks"] == 0 for row in compiled)
    blocks = results.blocks
    assert (blocks[blocks.phase == "measure"].changes == 0).all()
    exported = [row for row in outcome.rows if row["artifact_steps"] == "OnnxFromTorch"]
    assert {row["name"] for row in exported} == {"ort-cpu", "openvino"}
    # eager is one measurement for both sweeps; the others have an artifact of each kind at batch 2
    assert {row["sweep"] for row in outcome.rows if row["name"] == "torch-eager" and row["batch"] == 2} == {
        "fixed+min-opt-max"
    }


def test_a_second_run_takes_its_artifacts_from_the_cache_unless_they_are_damaged(tiny: Any, cache: Path) -> None:
    text = with_backends(TINY, "ort-cpu")
    tiny.run(text)
    outcome, _ = tiny.run(text)
    assert [row["artifact_s"] for row in outcome.rows] == [0.0] * len(outcome.rows)
    assert all(row["artifact_steps"] == "OnnxFromTorch" for row in outcome.rows)
    for path in (cache / "artifacts").glob("*/*.onnx"):
        path.write_bytes(b"damaged" + path.read_bytes()[7:])
    outcome, _ = tiny.run(with_backends(ONE_SWEEP, "ort-cpu"))
    assert [row["status"] for row in outcome.rows] == ["OK"]
    assert outcome.rows[0]["artifact_s"] > 0


def test_recompilations_beyond_the_limit_fail_instead_of_running_eagerly(tiny: Any) -> None:
    text = with_backends(TINY, "torch-eager", "torch-compile").replace('[[sweep]]\nkind = "fixed"\nbatch = [2]\n', "")
    outcome, _ = tiny.run(text, "backend.torch-compile.options.recompile_limit=1")
    compiled = [row for row in outcome.rows if row["name"] == "torch-compile"]
    assert {row["status"] for row in compiled} == {"BUILD_FAILED"}
    assert all("ecompile" in row["status_reason"] for row in compiled)


@pytest.fixture
def models(project: Any) -> Path:
    shutil.copytree(SCENARIOS / "models", project.folder / "models")
    folder: Path = project.folder
    return folder


@pytest.mark.parametrize("name", ["custom_onnx", "custom_python"])
def test_the_scenarios_with_own_models_run(project: Any, models: Path, name: str) -> None:
    text = (SCENARIOS / f"{name}.toml").read_text()
    outcome, _ = project.run(text, "measure.budget=1s", "measure.depths=[2]")
    assert {row["status"] for row in outcome.rows} == {"OK"}
    assert {row["accuracy"] for row in outcome.rows} <= {"pass", "warn"}
    assert {row.get("throughput_depth") for row in outcome.rows} <= {2, None}  # None: no steady state on this machine


def test_onnx_models_need_no_torch(project: Any, models: Path) -> None:
    """Nothing of the PyTorch plugin is used: it is not even registered."""
    registry = project.registry
    project.registry = Registry(
        backends={name: info for name, info in registry.backends.items() if not name.startswith("torch")},
        model_sources={"onnx": registry.model_sources["onnx"]},
        steps={"FixedBatchOnnx": registry.steps["FixedBatchOnnx"]},
        owners=registry.owners,
    )
    outcome, _ = project.run((SCENARIOS / "custom_onnx.toml").read_text(), "measure.budget=1s")
    assert {row["status"] for row in outcome.rows} == {"OK"}
    assert {row["reference"] for row in outcome.rows} == {"ort-cpu"}
    static = [row for row in outcome.rows if row["profile"] == "static"]
    assert {row["artifact_steps"] for row in static} == {"FixedBatchOnnx"}


def test_a_static_model_refuses_other_sizes(project: Any, models: Path) -> None:
    model = onnx.load(models / "models/mlp.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(model, models / "models/mlp.onnx")
    text = (SCENARIOS / "custom_onnx.toml").read_text().replace("batch = [1, 32]", "batch = [4, 32]")
    text = text.replace("# Inputs", '[model.inputs.features]\nshape = ["batch", 64]\n# Inputs')
    outcome, _ = project.run(text, "measure.budget=1s", 'sweep=[{kind="fixed",batch=[4,32]}]')
    by_batch = {(row["name"], row["batch"]): row["status"] for row in outcome.rows}
    assert by_batch[("ort-cpu", 4)] == "OK"
    assert by_batch[("ort-cpu", 32)] == "UNSUPPORTED"


def test_external_data_stays_in_the_models_folder(project: Any, models: Path) -> None:
    model = onnx.load(models / "models/mlp.onnx")
    onnx.save(model, models / "models/mlp.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert describe_model(project.registry, "onnx:models/mlp.onnx", models) is not None
    model = onnx.load(models / "models/mlp.onnx", load_external_data=False)
    (models / "outside.bin").write_bytes((models / "models/w.bin").read_bytes())
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../outside.bin"
    (models / "models/mlp.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BackendError, match="outside of the model's folder"):
        describe_model(project.registry, "onnx:models/mlp.onnx", models)


def test_weights_are_loaded_and_pickles_of_code_are_refused(project: Any) -> None:
    torch = pytest.importorskip("torch")
    from benchfw_torch.resnet import ResNet18

    torch.manual_seed(5)
    model = ResNet18()
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_689_512
    torch.save(model.state_dict(), project.folder / "state.pt")
    torch.save(model, project.folder / "pickle.pt")
    source = project.registry.model_source("builtin")
    with making(project.registry) as builder:
        seeded, loaded, other = (
            builder.resolve(source, "resnet18", root=project.folder, seed=seed, weights=weights).model_hash
            for seed, weights in ((5, None), (0, "state.pt"), (0, None))
        )
    assert seeded == loaded
    assert loaded != other
    text = with_backends(RESNET, "torch-eager").replace('[[sweep]]\nkind = "min-opt-max"\n', "")
    refused, _ = project.run(text, 'model.weights="pickle.pt"')
    (row,) = refused.rows
    assert row["status"] == "BUILD_FAILED" and "pickle.pt" in row["status_reason"]


def test_the_hash_of_a_python_model_covers_the_modules_beside_it(project: Any) -> None:
    (project.folder / "mine.py").write_text("import parts\n\ndef make():\n    return parts.Net()\n")
    parts = "from torch import nn\n\nclass Net(nn.Module):\n    def forward(self, x):\n        return x.{how}()\n"
    text = RESNET.replace("builtin:resnet18", "python:mine:make").replace("inputs.input", "inputs.x")
    text = with_backends(text.replace('[[sweep]]\nkind = "min-opt-max"\n', ""), "ort-cpu")
    hashes, files = set(), set()
    for how in ("relu", "tanh"):
        (project.folder / "parts.py").write_text(parts.format(how=how))
        outcome, _ = project.run(text)
        (row,) = outcome.rows
        assert row["status"] == "OK", row["status_reason"]
        hashes.add(row["model_hash"])
        files.add(row["artifact_s"] > 0)
    assert len(hashes) == 2
    assert files == {True}  # the second export was made, not taken from the cache


def test_a_half_precision_graph_is_no_fp32(project: Any, models: Path) -> None:
    model = onnx.load(models / "models/mlp.onnx")
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, models / "models/mlp.onnx")
    outcome, _ = project.run((SCENARIOS / "custom_onnx.toml").read_text(), "measure.budget=1s")
    rows = [row for row in outcome.rows if row["name"] == "ort-cpu"]
    assert {row["status"] for row in rows} == {"UNSUPPORTED"}
    assert all("no step leads from 'onnx' in fp16 to 'onnx' in fp32" in row["status_reason"] for row in rows)


def test_models_are_asked_for_their_inputs(project: Any) -> None:
    text = RESNET.replace('[model.inputs.input]\nshape = ["batch", 3, 32, 32]\n', "")
    with pytest.raises(ScenarioError, match="'height' has no range"):
        project.run(with_backends(text, "torch-eager"))
    with pytest.raises(BackendError, match="no builtin model"):
        describe_model(project.registry, "builtin:resnet17", project.folder)


def test_samples_from_a_folder_are_used(project: Any, models: Path) -> None:
    (models / "samples").mkdir()
    for place in range(3):
        np.save(models / f"samples/{place}.npy", np.full(64, place + 1, np.float32))
    outcome, results = project.run(
        (SCENARIOS / "custom_onnx.toml").read_text(), 'model.data="samples"', "measure.budget=1s"
    )
    assert {row["status"] for row in outcome.rows} == {"OK"}
    assert results.manifests[0]["inputs"]


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_scenario_is_valid_and_planned(registry: Registry, path: Path) -> None:
    from benchfw.executors.options import backend_options

    options = backend_options(registry, set(registry.backends))
    loaded = load(path, backends=registry.backends, options=options)
    plan = make_plan(loaded.scenario, backends=registry.backends, options=options)
    assert path.read_text().startswith("#:schema ./scenario.schema.json\n")
    assert any(case.status is None for case in plan.cases)
    assert {case.status for case in plan.cases} <= {None, "SKIPPED", "UNSUPPORTED"}
    assert all(case.reason for case in plan.cases if case.status)


def test_inference_mode_outlives_the_first_instance_that_is_closed() -> None:
    """Two artifacts in one worker: closing one must not turn gradients on for the other. Nor is a compiler imported."""
    pytest.importorskip("torch")
    code = """
import torch
from pathlib import Path
from benchfw.spec import Context
from benchfw_torch.backend import TorchEager
context = Context(device="cpu", threads=1, precision="fp32", cache_dir=Path("."), root=Path("."), inputs=())
first, second = (TorchEager({"channels_last": False}, context) for _ in range(2))
first.close()
assert torch.is_inference_mode_enabled()
second.close()

import sys
assert "torch._inductor" not in sys.modules and "torch._dynamo" not in sys.modules, "seconds that eager mode needs not"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


OPTIONS = """
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from benchfw.spec import AxisRange, Context, Profile, TensorSpec
from benchfw_torch import backend, compiled, cuda
from benchfw_torch.options import CompileOptions

for allowed, precision in ((False, "highest"), (True, "high")):
    cuda.set_tf32(allowed)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (precision, allowed)

backend.build = lambda artifact: torch.nn.Conv2d(3, 4, 3)
image = TensorSpec(name="input", dtype="float32", shape=("batch", 3, 8, 8))
place = Path(sys.argv[1])
context = Context(device="cpu", threads=1, precision="fp32", cache_dir=place, root=place, inputs=(image,))
images = {"input": np.ones((2, 3, 8, 8), np.float32)}
seen = []


def look(module, given, named):
    tensors = (module.weight, *given, *named.values())
    seen.append([tensor.is_contiguous(memory_format=torch.channels_last) for tensor in tensors])


for wanted in (True, False):
    eager = backend.TorchEager({"channels_last": wanted, "cudnn_benchmark": False}, context)
    eager.load(None)
    eager._model.register_forward_pre_hook(look, with_kwargs=True)
    eager.bind(0, images).launch()
    assert seen.pop() == [wanted, wanted], wanted

compiled.compile_fx = lambda graph, example, config_patches: (seen.append(config_patches), graph.forward)[1]
offered = get_args(CompileOptions.model_fields["mode"].annotation)
capturing = {mode for mode, patches in torch._inductor.list_mode_options().items() if "triton.cudagraphs" in patches}
assert capturing == {"reduce-overhead", "max-autotune"}, "docs/decisions.md names them"
assert offered == ("default", "max-autotune-no-cudagraphs")
for mode, tunes in (("default", None), ("max-autotune-no-cudagraphs", True)):
    options = {"channels_last": False, "cudnn_benchmark": False, "mode": mode, "fullgraph": True, "recompile_limit": 8}
    compiling = compiled.TorchCompile(options, context)
    compiling.prepare(None, Profile({"batch": AxisRange(min=2, opt=2, max=2)}))
    assert [patches.get("max_autotune") for patches in seen] == [tunes], mode
    assert not any(patches.get("triton.cudagraphs") for patches in seen), "graphs are captured by benchfw alone"
    seen.clear()
"""


def test_options_of_pytorch_reach_it(tmp_path: Path) -> None:
    """Whether TF32 is allowed, the memory format of weights and inputs, and what inductor is told, without a kernel."""
    pytest.importorskip("torch")
    code = [sys.executable, "-c", OPTIONS, str(tmp_path)]
    done = subprocess.run(code, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
