"""The kit for backends, on a GPU.

In this interpreter, or as BENCHFW_KIT says in JSON: `environment`, `steps` and `options` of `BackendCase`. So TensorRT
8.6 is tried on CPython 3.10:

    BENCHFW_KIT='{"environment": {"python": "/opt/trt86/bin/python3.10"}}' pytest tests/gpu/test_gpu_kit.py -k trt
"""

from __future__ import annotations

import json
import os
import sys
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
    more = json.loads(os.environ.get("BENCHFW_KIT", "{}"))
    there = more.get("environment", {})
    if why := lacking(request.param, there.get("python", sys.executable), there.get("env", {})):
        pytest.skip(f"{request.param}: {why}")
    if request.param in OF_ONNX:
        case = BackendCase(backend=request.param)
    else:
        case = CASES[request.param](request.param, tmp_path_factory.mktemp("model"))
    return replace(case, device="cuda", **more)


class TestBackendOnGpu(BackendConformance):
    pass
