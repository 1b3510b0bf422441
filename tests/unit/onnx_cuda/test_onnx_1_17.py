"""ONNX Runtime 1.17 on NVIDIA GPUs: what its providers refuse, and what it says when it goes on without them."""

from __future__ import annotations

import numpy as np
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as states

from benchfw.errors import BackendError, BuildFailed, FellBack, OutOfMemory
from tests.unit.onnx_cuda.lab import TENSORRT, Lab, expected, images, only


@pytest.mark.parametrize("name", ["OrtCuda", "OrtTensorrt"])
def test_providers_of_1_17_are_not_asked_for_what_they_do_not_know(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """They refuse it. What runs on their own stream is waited for, whatever is asked: nobody else could."""
    from benchfw_onnxruntime import cuda

    monkeypatch.setattr(cuda, "_SINCE_1_18", False)
    backend = lab.backend(name, asynchronous=True)
    for asked in lab.session.asked.values():
        assert asked["device_id"] == "0"
        assert not {"use_tf32", "user_compute_stream"} & set(asked)
    bound = backend.bind(0, images(2))
    bound.launch()
    np.testing.assert_array_equal(only(bound.outputs()), expected(lab.folder, images(2)))
    assert backend.stream is None
    assert lab.session.entries == ["0"]


RETRIED = """\
*************** EP Error ***************
EP Error /onnxruntime_src/onnxruntime/{} when using [('TensorrtExecutionProvider', {{'device_id': '0'}})]
Falling back to ['CUDAExecutionProvider', 'CPUExecutionProvider'] and retrying.
****************************************
"""
"""What 1.17.1 prints."""
FAILURE = (
    "core/providers/cuda/cuda_call.cc:121 std::conditional_t<THRW, void, Status> onnxruntime::CudaCall(ERRTYPE, int) "
    "[with ERRTYPE = cudaError; bool THRW = true] /onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:114 "
    "onnxruntime::CudaCall(ERRTYPE, int) [with ERRTYPE = cudaError] CUDA failure {} ; GPU=0 ; hostname=a ; "
    "file=/onnxruntime_src/onnxruntime/core/providers/tensorrt/tensorrt_execution_provider.cc ; line=1316 ; "
    "expr=cudaSetDevice(device_id_); \n\n"
)
BINDING = (
    "python/onnxruntime_pybind_state.cc:745 std::unique_ptr<IExecutionProvider> Create(const ProviderOptionsMap&) {}\n"
)


@pytest.mark.parametrize(
    ("first", "error", "words"),
    [
        (FAILURE.format("35: no driver"), FellBack, f"cannot load {TENSORRT}: CUDA failure 35: no driver"),
        (FAILURE.format("2: out of memory"), OutOfMemory, "CUDA failure 2: out of memory"),
        (BINDING.format("Invalid TensorRT EP option: trt_x"), BuildFailed, f"{TENSORRT}: Invalid TensorRT EP option"),
        (
            BINDING.format("[ERROR] [TensorRT] The value for the key 'trt_x' should be 'True' or 'False'."),
            BuildFailed,
            r"The value for the key 'trt_x' should be",
        ),
    ],
)
@pytest.mark.parametrize("second", [None, RuntimeError("CUDA failure 35: no driver"), states.NoSuchFile("model.onnx")])
def test_what_1_17_is_refused_by_is_told_although_it_tries_again(
    lab: Lab, first: str, error: type[BackendError], words: str, second: Exception | None
) -> None:
    """It has no `enable_fallback`: it prints the refusal and goes on, or is refused by the next one as well."""
    lab.session.says, lab.session.drops, lab.session.refusal = RETRIED.format(first), [TENSORRT], second
    with pytest.raises(error, match=words):
        lab.backend("OrtTensorrt")


def test_what_is_printed_is_in_the_log_whatever_ends_the_load(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.session.says, lab.session.refusal = "building\n", KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        lab.backend("OrtTensorrt")
    assert capsys.readouterr().out == "building\n"
