"""The real onnxruntime-gpu where there is no CUDA: its providers are compiled in, and none of their libraries is there.

The wheel has 256 MB, so that this runs on demand: `BENCHFW_SLOW=1 .venv/bin/pytest -m slow`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from benchfw.environments import Environment, managed
from benchfw.environments.check import check
from benchfw.environments.create import create
from benchfw.errors import BenchfwError
from benchfw.executors import arm
from benchfw.plugins import Registry
from tests.unit import fake_cuda_modules

pytestmark = [pytest.mark.slow, pytest.mark.framework, pytest.mark.usefixtures("brief")]
MODEL = Path(__file__).parents[2] / "scenarios" / "models" / "mlp.onnx"
REQUIREMENTS = ["onnxruntime-gpu==1.31.1", "cuda-bindings==13.5.0"]
SCENARIO = """
name = "without-cuda"
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
budget = "1s"
[[backend]]
use = "ort-cuda"
environment = "ort-gpu"
[[backend]]
use = "ort-tensorrt"
environment = "ort-gpu"
[environments.ort-gpu]
"""


@pytest.fixture(scope="module")
def ort_gpu(cache: Path, no_index: Callable[[], NoReturn]) -> None:
    """An environment with onnxruntime-gpu and none of CUDA's libraries."""
    if fake_cuda_modules.DRIVER.exists():
        pytest.skip("there is a driver, and may be CUDA")
    try:
        create("ort-gpu", python=None, requirements=REQUIREMENTS, use_uv=False, notify=lambda line: None)
    except BenchfwError:
        no_index()


@pytest.fixture
def rows(project: Any, ort_gpu: None) -> Callable[..., list[tuple[str, str]]]:
    """Function that runs the scenario and returns status and reason of each row."""

    def run(**env: str) -> list[tuple[str, str]]:
        (project.folder / "mlp.onnx").symlink_to(MODEL)
        variables = ", ".join(f"{name} = {json.dumps(value)}" for name, value in env.items())
        outcome, _ = project.run(f"{SCENARIO}env = {{ {variables} }}\n")
        return [(row["status"], row["status_reason"]) for row in outcome.rows]

    return run


def test_without_a_gpu(rows: Callable[..., list[tuple[str, str]]]) -> None:
    reason = "{} needs a GPU (run it on a machine that has one)"
    assert rows() == [("SKIPPED", reason.format("ort-cuda")), ("SKIPPED", reason.format("ort-tensorrt"))]


def test_the_libraries_that_the_providers_do_not_find_are_named(
    ort_gpu: None, registry: Registry, tmp_path: Path
) -> None:
    """They are what every FALLBACK below sends its reader to `benchfw doctor` for."""
    environment = Environment(name="ort-gpu", python=str(managed.python_of("ort-gpu")))
    infos = [registry.backend(name) for name in ("ort-cpu", "ort-cuda", "ort-tensorrt")]
    cpu, cuda, tensorrt = check(environment, infos, tmp_path / "work").backends
    assert (cpu.loads, cpu.lacking) == (True, "")
    assert cuda.loads and "libcublas.so.13" in cuda.lacking and "libcuda.so" not in cuda.lacking
    assert tensorrt.loads and "libnvinfer.so.10" in tensorrt.lacking and "libcudnn.so.9" in tensorrt.lacking
    assert "--with 'onnxruntime-gpu[cuda,cudnn]>=1.31,<1.32' --with 'tensorrt-cu13>=10.15,<11'" in tensorrt.install


def test_with_a_gpu_and_no_driver(rows: Callable[..., list[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm, "has_gpu", lambda: True)
    for status, reason in rows():
        assert status == "SKIPPED"
        assert reason.startswith("there is no NVIDIA driver here: ")


def test_with_a_driver_and_without_the_libraries_of_the_providers(
    rows: Callable[..., list[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """ONNX Runtime itself would go on on the CPU, and answer as if it were the GPU."""
    monkeypatch.setattr(arm, "has_gpu", lambda: True)
    cuda, tensorrt = rows(PYTHONPATH=fake_cuda_modules.write(tmp_path / "bindings"))
    remedy = "(`benchfw doctor` names the libraries that are missing or do not fit)"
    assert cuda == ("FALLBACK", f"asked for CUDAExecutionProvider, got ['CPUExecutionProvider'] {remedy}")
    status, reason = tensorrt
    assert status == "FALLBACK"
    assert reason.startswith("onnxruntime cannot load TensorrtExecutionProvider: Please install TensorRT libraries")
    assert reason.endswith(remedy) and "\n" not in reason
