"""Which GPU a device of CUDA's is: by NVML, else by CUDA, else not at all."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from benchfw.gpu import identify
from benchfw.gpu.identify import told, uuids
from benchfw.testing.machines import two
from benchfw.testing.nvml import FakeGpu, FakeNvml

FIRST, SECOND = (f"GPU-00000000-0000-0000-0000-00000000000{number}" for number in range(2))
BY_BUS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda", None)


def test_the_environment_says_which_gpu_is_meant() -> None:
    assert told(["cuda:0", "cuda:1"], BY_BUS, two()) == {"cuda:0": FIRST, "cuda:1": SECOND}
    assert told(["cuda:0"], {**BY_BUS, "CUDA_VISIBLE_DEVICES": "1"}, two()) == {"cuda:0": SECOND}
    assert told(["cuda:0"], {"CUDA_VISIBLE_DEVICES": SECOND}, two()) == {"cuda:0": SECOND}


def test_a_slice_is_known_by_its_gpu() -> None:
    gpu = FakeGpu(mig=True, uuid=SECOND)
    environ = {"CUDA_VISIBLE_DEVICES": SECOND.replace("GPU-", "MIG-", 1)}
    assert told(["cuda:0"], environ, FakeNvml([FakeGpu(), gpu])) == {"cuda:0": SECOND}


@pytest.mark.parametrize(
    ("environ", "nvml"),
    [
        ({}, two()),  # CUDA counts the fastest one first
        (BY_BUS, FakeNvml()),
        (BY_BUS, FakeNvml(errors={"nvmlInit": 12})),
        (BY_BUS, FakeNvml([FakeGpu(errors={"nvmlDeviceGetUUID": 3})])),
        (BY_BUS, FakeNvml([FakeGpu(errors={"nvmlDeviceGetUUID": 15})])),
        (BY_BUS, FakeNvml([FakeGpu(uuid="../../evil")])),
    ],
)
def test_what_cannot_be_told_is_left_out(environ: dict[str, str], nvml: FakeNvml) -> None:
    assert told(["cuda:0"], environ, nvml) == {}
    assert nvml.opened == 0


def test_without_nvml_cuda_tells_and_makes_no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def driver(name: str) -> Any:
        calls.append(name)
        answers = {"cuInit": (0,), "cuDeviceGetCount": (0, 1), "cuDeviceGet": (0, "handle")}
        return lambda *arguments: answers.get(name, (0, SimpleNamespace(bytes=bytes(range(16)))))

    bindings = ModuleType("cuda.bindings")
    bindings.driver = SimpleNamespace()  # type: ignore[attr-defined]
    module = ModuleType("cuda.bindings.driver")
    module.__getattr__ = driver  # type: ignore[method-assign]
    bindings.driver = module  # type: ignore[attr-defined]
    for name, each in {"cuda": ModuleType("cuda"), "cuda.bindings": bindings, "cuda.bindings.driver": module}.items():
        monkeypatch.setitem(sys.modules, name, each)
    found = told(["cuda:0", "cuda:1"], BY_BUS, FakeNvml(errors={"nvmlInit": 12}))
    assert found == {"cuda:0": "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"}, "there is one device"
    assert set(calls) == {"cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetUuid"}


def test_a_process_of_its_own_asks() -> None:
    environ = {**os.environ, **BY_BUS, "BENCHFW_NVML": "benchfw.testing.machines:two", "CUDA_VISIBLE_DEVICES": "1"}
    assert uuids(["cuda:0"], environ) == {"cuda:0": SECOND}


def test_files_where_somebody_happens_to_be_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not what is meant')\n")
    monkeypatch.chdir(tmp_path)
    environ = {**os.environ, **BY_BUS, "BENCHFW_NVML": "benchfw.testing.machines:two"}
    assert uuids(["cuda:0"], environ) == {"cuda:0": FIRST}


def test_a_driver_that_hangs_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identify, "TIMEOUT_S", 0.5)
    begun = time.monotonic()
    assert uuids(["cuda:0"], {**os.environ, "BENCHFW_NVML": "benchfw.testing.machines:silent"}) == {}
    assert time.monotonic() - begun < 10


def test_a_process_that_fails_tells_nothing() -> None:
    assert uuids(["cuda:0"], {**os.environ, "BENCHFW_NVML": "benchfw.testing.machines:nothing"}) == {}
