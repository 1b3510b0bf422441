"""Frameworks whose memory runs out: the case says so, larger ones are spared, and everything else is measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

pytestmark = [pytest.mark.framework, pytest.mark.usefixtures("brief")]

SMALL, HUGE, HUGER = 2, 512, 640
MODEL = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(1, 64, 1), nn.ReLU(), nn.Conv2d(64, 1, 1))
"""
SCENARIO = f"""
name = "memory"
threads = 1
[model]
ref = "python:wide:make"
[model.inputs.input]
shape = ["batch", 1, 64, 64]
[shapes]
batch = {{ min = {SMALL}, opt = {HUGE}, max = {HUGER} }}
[measure]
effort = "quick"
budget = "1s"
"""
"""What lies between the convolutions takes 1 MiB for each sample, and what lies outside of them next to nothing."""
LIMITS = {"torch-eager": 1150, "ort-cpu": 440, "openvino": 550, "torch-compile": 1100}
"""The address space of a worker in MiB. What is small took up to 930, 190, 290 and 800 of it (VmPeak, with one arena of
malloc), so that at least 200 are left, and the 512 MiB of the huge batch do not fit by about as much."""
WORDS = {
    "torch-eager": "DefaultCPUAllocator: can't allocate memory: you tried to allocate 536870912 bytes",
    "torch-compile": "DefaultCPUAllocator: can't allocate memory: you tried to allocate 536870912 bytes",
    "ort-cpu": "Failed to allocate memory for requested buffer of size 536870912",
    "openvino": "Failed to allocate 536870912 bytes of memory",
}


MEANT = {
    "benchfw_torch.backend:TorchEager": """
import errno, torch
meant = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 1 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("backend='inductor' raised:\\nRuntimeError: DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("std::bad_alloc"),
    RuntimeError("C++ compile error\\ncc1plus: out of memory allocating 65536 bytes after a total of 9 bytes"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
other = [
    RuntimeError("unsupported operation: more than one element of the written-to tensor refers to a single memory"),
    RuntimeError("Unsupported memory format option Preserve"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("the model said: out of memory"),
    ValueError("DefaultCPUAllocator: can't allocate memory"),
    OSError(errno.ENOENT, "memory"),
]
""",
    "benchfw_onnxruntime.backend:OrtCpu": """
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException
arena = "void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) "
meant = [
    RuntimeException("Status Message: " + arena + "Failed to allocate memory for requested buffer of size 1073741824"),
    RuntimeException("Status Message: " + arena + "Available memory of 9 is smaller than requested bytes of 10"),
    Fail("[ONNXRuntimeError] : 1 : FAIL : Load model from m.onnx failed:std::bad_alloc"),
    Fail("CUDA failure 2: out of memory ; GPU=0 ; hostname=h"),
]
other = [
    Fail("Failed to get allocator for location: Cuda"),
    RuntimeError("Output memory info cannot be null."),
    Fail("CUDA failure 700: an illegal memory access was encountered"),
    InvalidArgument("Failed to allocate memory for requested buffer of size 1"),
]
""",
    "benchfw_openvino.backend:OpenVino": """
meant = [
    RuntimeError("Check 'ptr' failed at cpu_memory.cpp:257:\\nFailed to allocate 1073741824 bytes of memory\\n\\n"),
    RuntimeError("Exception from core.cpp:84:\\nLoading input model\\nstd::bad_alloc\\n"),
]
other = [
    RuntimeError("Check failed:\\nCan't get memory size for undefined shape"),
    RuntimeError("Cannot allocate memory for incompatible descriptors."),
    RuntimeError("Failed to create plugin\\nResource temporarily unavailable"),
    ValueError("Failed to allocate 1 bytes of memory"),
]
""",
}
"""For each backend, errors that mean that memory has run out, and errors that mention memory in another sense."""


def scenario(folder: Path, sweeps: str, limits: dict[str, int]) -> str:
    """Return a scenario in which each backend in `limits` has that many MiB of address space.

    With one arena of malloc for all threads: another one reserves 128 MiB of it, whenever two threads happen to meet.
    """
    (folder / "wide.py").write_text(MODEL)
    text = SCENARIO + sweeps
    for name, mib in limits.items():
        python = folder / f"{name}-python"
        bounds = f"ulimit -v {mib << 10}\nexport MALLOC_ARENA_MAX=1\n"
        python.write_text(f'#!/bin/sh\n{bounds}exec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        text += f'[environments."{name}-env"]\npython = "{python}"\n'
        text += f'[[backend]]\nuse = "{name}"\nname = "{name}"\nenvironment = "{name}-env"\n'
    return text


def by_batch(rows: list[dict[str, Any]], name: str) -> dict[int | None, dict[str, Any]]:
    """Return the rows of a backend by their batch; that of a mixture has none."""
    return {row["batch"]: row for row in rows if row["name"] == name}


def check_that_huge_is_oom(rows: dict[int | None, dict[str, Any]], words: str) -> None:
    assert rows[SMALL]["status"] == "OK", rows[SMALL]["status_reason"]
    assert rows[HUGE]["status"] == "OOM", rows[HUGE]["status_reason"]
    reason = rows[HUGE]["status_reason"]
    assert words in reason, reason
    assert rows[HUGER]["status"] == "SKIPPED"
    assert rows[HUGER]["status_reason"] == f"batch {HUGE} ran out of memory, and this is larger"


def test_a_batch_that_does_not_fit_is_oom_and_a_larger_one_is_spared(project: Any) -> None:
    """What comes after it is right again: in the same artifact (the mixture), and in another of the same worker.

    The artifact is loaded anew. In the old session ONNX Runtime (`BFCArena::Extend`) would ask for the 512 MiB that it
    failed to get for any new size, and a tenth less until it gets so much, which may be all that is left.
    """
    sweeps = f"""
[[sweep]]
kind = "min-opt-max"
[[sweep]]
kind = "random-batch"
axis = "batch"
range = [{SMALL}, {SMALL + 2}]
[[sweep]]
kind = "fixed"
batch = [{SMALL + 3}]
"""
    limits = {name: LIMITS[name] for name in ("torch-eager", "ort-cpu", "openvino")}
    text = scenario(project.folder, sweeps, limits) + '[[backend]]\nuse = "ort-cpu"\nname = "unlimited"\n'
    outcome, _ = project.run(text)
    assert [row["status"] for row in outcome.rows if row["name"] == "unlimited"] == ["OK"] * 5
    for name in limits:
        rows = by_batch(outcome.rows, name)
        check_that_huge_is_oom(rows, WORDS[name])
        for batch in (None, SMALL + 3):
            assert rows[batch]["status"] == "OK", rows[batch]["status_reason"]
            assert rows[batch]["accuracy"] == "pass"
        assert {row["invocation"] for row in rows.values()} == {0}  # no worker was lost


def test_a_compiled_model_serves_the_sizes_that_fit(project: Any) -> None:
    """`prepare` runs the model at every point of its profile: two of them do not fit."""
    text = scenario(project.folder, '[[sweep]]\nkind = "min-opt-max"\n', {"torch-compile": LIMITS["torch-compile"]})
    outcome, _ = project.run(text)
    check_that_huge_is_oom(by_batch(outcome.rows, "torch-compile"), WORDS["torch-compile"])


def test_shapes_of_their_own_run_out_of_memory_when_they_are_compiled(project: Any) -> None:
    """OpenVINO allocates for a static shape then. The order is that of the file: what fits comes last."""
    sweeps = f'[[sweep]]\nkind = "fixed"\nbatch = [{HUGE}, {HUGER}, {SMALL}]\n'
    shapes = ((64, 1, 1, 1), (1, 64, 1, 1))
    weights = [numpy_helper.from_array(np.ones(shape, np.float32), f"w{shape[0]}") for shape in shapes]
    nodes = [helper.make_node("Conv", ["input", "w64"], ["wide"]), helper.make_node("Conv", ["wide", "w1"], ["output"])]
    ends = [helper.make_tensor_value_info(name, 1, ["batch", 1, 64, 64]) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "wide", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, project.folder / "wide.onnx")
    text = scenario(project.folder, sweeps, {"openvino": LIMITS["openvino"]})
    outcome, _ = project.run(text.replace("python:wide:make", "onnx:wide.onnx"))
    rows = by_batch(outcome.rows, "openvino")
    check_that_huge_is_oom(rows, WORDS["openvino"])
    assert rows[HUGE]["stage"] in ("prepare", "bind")


@pytest.mark.parametrize("factory", MEANT)
def test_only_the_frameworks_own_words_mean_out_of_memory(factory: str) -> None:
    """In a process of its own: the tests' process imports no framework."""
    module, _, name = factory.partition(":")
    code = f"""
from pathlib import Path
from benchfw.errors import OutOfMemory
from benchfw.spec import Context
from {module} import {name}
{MEANT[factory]}
context = Context(device="cpu", threads=1, precision="fp32", cache_dir=Path("."), root=Path("."), inputs=())
backend = {name}({{}}, context)
for error in meant:
    assert isinstance(backend.explain(error), OutOfMemory), error
for error in other:
    assert backend.explain(error) is None, error
"""
    subprocess.run([sys.executable, "-c", code], check=True)
