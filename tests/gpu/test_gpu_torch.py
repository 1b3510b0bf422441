"""PyTorch on a GPU, as a user runs it."""

from __future__ import annotations

from typing import Any

import pytest

from benchfw.testing.project import Project
from benchfw.worker.devices import Device

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("device")]

SCENARIO = """
name = "gpu"
[model]
ref = "builtin:mlp"
[shapes]
batch = { min = 1, opt = 8, max = 16 }
[[sweep]]
kind = "fixed"
batch = [8]
[measure]
effort = "quick"
settle_time = "200ms"
budget = "8s"
samplers = []
"""
LABELS = 'device = "cuda"\nio_scope = ["device", "pinned"]\ngraph = ["off", "on"]\n'


@pytest.fixture(scope="module", autouse=True)
def torch(device: Device) -> Any:
    found = pytest.importorskip("torch")
    if not found.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA")
    return found


@pytest.fixture
def project(tmp_path: Any, registry: Any) -> Project:
    return Project(tmp_path, registry)


def test_labels_and_precisions(project: Project) -> None:
    entry = '[[backend]]\nuse = "torch-eager"\nprecision = ["fp32", "tf32", "fp16", "bf16"]\n'
    _, results = project.run(SCENARIO + entry + LABELS)
    cases = results.cases
    assert set(cases.status) == {"OK"}, list(cases.status_reason)
    assert set(zip(cases.precision, cases.io_scope, cases.graph, strict=True)) == {
        (precision, scope, graph)
        for precision in ("fp32", "tf32", "fp16", "bf16")
        for scope in ("device", "pinned")
        for graph in ("off", "on")
    }
    assert (cases.enqueue_p50_ns > 0).all()
    assert (cases.device_p50_ns >= cases.compute_p50_ns).all()
    assert cases[cases.io_scope == "pinned"].h2d_p50_ns.notna().all()
    assert cases.device_uuid.str.startswith("GPU-").all()
    fp32 = cases[(cases.precision == "fp32") & (cases.io_scope == "device")].set_index("graph")
    assert fp32.enqueue_p50_ns["on"] < fp32.enqueue_p50_ns["off"]


def test_a_model_that_waits_for_the_device_cannot_be_captured(project: Project) -> None:
    (project.folder / "waits.py").write_text(
        "import torch\n\n\nclass Waits(torch.nn.Module):\n    def forward(self, x):\n"
        "        return x * float(x.sum())\n\n\ndef make():\n    return Waits()\n"
    )
    text = SCENARIO.replace("builtin:mlp", "python:waits:make").replace(
        "[shapes]", '[model.inputs.x]\nshape = ["batch", 4]\n[shapes]'
    )
    _, results = project.run(text + '[[backend]]\nuse = "torch-eager"\ndevice = "cuda"\ngraph = ["on", "off"]\n')
    cases = results.cases.set_index("graph")
    assert cases.status["on"] == "UNSUPPORTED"
    assert "captur" in cases.status_reason["on"]
    assert cases.status["off"] == "OK", "the failed capture leaves the process fit for other cases"


def test_out_of_memory_is_a_row_after_which_the_run_goes_on(project: Project, device: Device) -> None:
    width = device.facts["memory_bytes"] // 64
    (project.folder / "wide.py").write_text(
        "import torch\n\n\nclass Wide(torch.nn.Module):\n    def forward(self, x):\n"
        f"        return x[:, :1].expand(-1, {width // 4}).contiguous()[:, :4] + x\n\n\n"
        "def make():\n    return Wide()\n"
    )
    text = SCENARIO.replace("builtin:mlp", "python:wide:make").replace(
        "[shapes]", '[model.inputs.x]\nshape = ["batch", 4]\n[shapes]'
    )
    text = text.replace("max = 16", "max = 128").replace("[8]", "[128, 1]")
    _, results = project.run(text + '[[backend]]\nuse = "torch-eager"\ndevice = "cuda"\n')
    cases = results.cases.set_index("batch")
    assert cases.status[128] == "OOM", cases.status_reason[128]
    assert cases.status[1] == "OK", cases.status_reason[1]


def test_a_flushed_cache_is_a_label_and_slower(project: Project) -> None:
    """The weights are 16 MiB, which fit into the cache of an H100 (50 MiB)."""
    (project.folder / "wide.py").write_text(
        "import torch\n\n\ndef make():\n    return torch.nn.Linear(2048, 2048, bias=False)\n"
    )
    text = SCENARIO.replace("builtin:mlp", "python:wide:make").replace(
        "[shapes]", '[model.inputs.input]\nshape = ["batch", 2048]\n[shapes]'
    )
    entry = '[[backend]]\nuse = "torch-eager"\ndevice = "cuda"\ngraph = ["on"]\ncache = ["warm", "flush"]\n'
    _, results = project.run(text + entry)
    cases = results.cases.set_index("cache")
    assert set(cases.status) == {"OK"}, list(cases.status_reason)
    assert cases.compute_p50_ns["flush"] > cases.compute_p50_ns["warm"]
    assert cases.throughput_samples_s.notna().to_dict() == {"warm": True, "flush": False}
    print(cases[["latency_p50_ns", "compute_p50_ns", "device_load_bytes", "device_leak_bytes", "device_process_bytes"]])
