"""The kit for backends, on a GPU.

It runs them in this interpreter, and once in each other `python3.X` of PATH that has what they require: TensorRT 8.6 or
ONNX Runtime 1.17 in an environment of CPython 3.10 are tried by putting its `bin` in front.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchfw.testing import BackendCase, BackendConformance
from tests.contract.test_backends import CASES
from tests.gpu.frameworks import lacking

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("device", "brief")]

OF_PYTORCH = ("torch-eager", "torch-compile", "torch-tensorrt")
OF_ONNX = ("ort-cuda", "ort-tensorrt", "trt-static", "trt-dynamic", "trt-rtx")


@pytest.fixture(scope="module", params=[*OF_PYTORCH, *OF_ONNX])
def backend_case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BackendCase:
    if why := lacking(request.param):
        pytest.skip(f"{request.param}: {why}")
    if request.param in OF_ONNX:
        return BackendCase(backend=request.param, device="cuda")
    return replace(CASES[request.param](request.param, tmp_path_factory.mktemp("model")), device="cuda")


class TestBackendOnGpu(BackendConformance):
    pass
