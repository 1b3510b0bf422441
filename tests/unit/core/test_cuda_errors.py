"""What errors of CUDA become, by either of the ways to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchfw.errors import BackendError, DeviceLost, MissingDependency, OutOfMemory
from benchfw.spec.cuda_errors import cuda_error
from tests.unit.fake_cuda_modules import install
from tests.unit.fake_cudart import Status

MEANINGS = {
    "CUDA_ERROR_OUT_OF_MEMORY": ("cudaErrorMemoryAllocation", 2, OutOfMemory),
    "CUDA_ERROR_NOT_INITIALIZED": ("cudaErrorInitializationError", 3, MissingDependency),
    "CUDA_ERROR_STUB_LIBRARY": ("cudaErrorStubLibrary", 34, MissingDependency),
    "": ("cudaErrorInsufficientDriver", 35, MissingDependency),
    "CUDA_ERROR_DEVICE_UNAVAILABLE": ("cudaErrorDevicesUnavailable", 46, MissingDependency),
    "CUDA_ERROR_NO_DEVICE": ("cudaErrorNoDevice", 100, MissingDependency),
    "CUDA_ERROR_INVALID_DEVICE": ("cudaErrorInvalidDevice", 101, MissingDependency),
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": ("cudaErrorSystemDriverMismatch", 803, MissingDependency),
    "CUDA_ERROR_ECC_UNCORRECTABLE": ("cudaErrorECCUncorrectable", 214, DeviceLost),
    "CUDA_ERROR_ILLEGAL_ADDRESS": ("cudaErrorIllegalAddress", 700, DeviceLost),
    "CUDA_ERROR_LAUNCH_TIMEOUT": ("cudaErrorLaunchTimeout", 702, DeviceLost),
    "CUDA_ERROR_ASSERT": ("cudaErrorAssert", 710, DeviceLost),
    "CUDA_ERROR_LAUNCH_FAILED": ("cudaErrorLaunchFailure", 719, DeviceLost),
    "CUDA_ERROR_INVALID_VALUE": ("cudaErrorInvalidValue", 1, BackendError),
    "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED": ("cudaErrorStreamCaptureInvalidated", 901, BackendError),
}


@pytest.mark.parametrize(("code", "kind"), [(code, kind) for _, code, kind in MEANINGS.values()])
def test_what_an_error_is(code: int, kind: type[BackendError]) -> None:
    error = cuda_error(code, "it failed")
    assert (type(error), error.message) == (kind, "it failed")
    assert (error.hint is None) == (kind in (OutOfMemory, BackendError))


def test_both_ways_have_the_same_numbers() -> None:
    driver = pytest.importorskip("cuda.bindings.driver")
    runtime = pytest.importorskip("cuda.bindings.runtime")
    for name, (runtime_name, code, _) in MEANINGS.items():
        assert int(getattr(runtime.cudaError_t, runtime_name)) == code
        assert not name or int(getattr(driver.CUresult, name)) == code


def test_errors_of_the_runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = install(monkeypatch, tmp_path, [])
    from benchfw.spec import cuda

    with pytest.raises(OutOfMemory, match=r"^CUDA: cudaMalloc: cudaErrorMemoryAllocation \(2097152 bytes were asked"):
        cuda.Scratch(2 << 20)

    def lost(stream: int) -> tuple[Any, ...]:
        return (Status.cudaErrorIllegalAddress,)

    monkeypatch.setattr(fake, "cudaStreamSynchronize", lost)
    with pytest.raises(DeviceLost, match=r"^CUDA: lost: cudaErrorIllegalAddress$"):
        cuda.synchronize(1)
