"""The sampler `nvml`, on a fake NVML."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynvml
import pytest

from benchfw.errors import MissingDependency, NvmlError
from benchfw.gpu import codes
from benchfw.gpu import sampler as module
from benchfw.gpu.nvml import open_nvml
from benchfw.gpu.sampler import NvmlSampler
from benchfw.testing.nvml import FakeGpu, FakeNvml

Open = Callable[..., NvmlSampler]
CHEAP = {
    "nvmlDeviceGetClockInfo",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetCurrentClocksEventReasons",
}
CODES = [getattr(pynvml, name) for name in dir(pynvml) if name.startswith("NVML_ERROR_")]


@pytest.fixture
def fake_nvml() -> FakeNvml:
    return FakeNvml([FakeGpu()])


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    def opened(fake: FakeNvml, *devices: str, visible: str | None = None) -> NvmlSampler:
        monkeypatch.setattr(module, "open_nvml", lambda: open_nvml(fake))
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        sampler = NvmlSampler()
        sampler.devices = devices or ("cpu", "cuda:0")
        sampler.open()
        return sampler

    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    return opened


def test_every_figure_in_its_unit(fake_nvml: FakeNvml, opened: Open) -> None:
    now = [0.0]
    gpu = fake_nvml.gpus[0]
    gpu.clock = lambda: now[0]
    gpu.reasons, gpu.busy, gpu.memory_used = pynvml.nvmlClocksEventReasonSwPowerCap, 50, 7
    sampler = opened(fake_nvml)
    fake_nvml.calls.clear()
    assert sampler.sample() == {
        "sm_clock:cuda:0": 345,
        "memory_clock:cuda:0": 2619,
        "power:cuda:0": 70.0,
        "temperature:cuda:0": 30,
        "busy:cuda:0": 0.5,
        "reasons:cuda:0": 4,
    }
    assert set(fake_nvml.calls) == CHEAP, "nothing else within blocks"
    now[0] = 2.5
    figures = sampler.boundary(dear=True)
    assert figures == {
        "sm_clock:cuda:0": 345,
        "power_cap:cuda:0": 2.5,
        **{f"{name}:cuda:0": 0.0 for name in ("sync_boost", "sw_thermal", "hw_thermal", "power_brake")},
        "memory_used:cuda:0": 7,
        "foreign_processes:cuda:0": 0,
        "hidden_processes:cuda:0": 0,
        "energy:cuda:0": 175.0,
    }
    fake_nvml.calls.clear()
    assert "energy:cuda:0" not in sampler.boundary(dear=False)
    assert "nvmlDeviceGetTotalEnergyConsumption" not in fake_nvml.calls
    facts = json.loads(json.dumps(sampler.facts()))["gpus"]["cuda:0"]
    assert (facts["uuid"], facts["sm_max_mhz"], facts["scope"]) == (gpu.uuid, 1980, "gpu")
    assert facts["calls"]["sm_mhz"] == 3, "by itself, and at both boundaries"
    assert facts["call_us"]["sm_mhz"] > 0
    sampler.close()
    assert fake_nvml.opened == 0


def test_units_of_all_that_may_come(fake_nvml: FakeNvml, opened: Open) -> None:
    sampler = opened(fake_nvml)
    units = sampler.open()
    assert set(units) == {*sampler.sample(), *sampler.boundary(dear=True)}
    assert (units["energy:cuda:0"], units["power_cap:cuda:0"], units["sm_clock:cuda:0"]) == ("J", "s", "MHz")


@pytest.mark.parametrize("code", CODES)
def test_any_error_of_a_field_is_a_null_or_the_end(code: int, opened: Open) -> None:
    gpu = FakeGpu()
    sampler = opened(FakeNvml([gpu]))
    dear = {"nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetFieldValues"}
    gpu.errors = dict.fromkeys(CHEAP | dear | {"nvmlDeviceGetCurrentClocksThrottleReasons"}, code)
    if codes.code_of(code).consequence is codes.Consequence.FATAL:
        with pytest.raises(NvmlError) as caught:
            sampler.sample()
        assert (caught.value.code, bool(caught.value.hint)) == (code, True)
        return
    figures: dict[str, Any] = {**sampler.sample(), **sampler.boundary(dear=True)}
    kept = {"memory_used:cuda:0", "foreign_processes:cuda:0", "hidden_processes:cuda:0"}
    assert {name for name, value in figures.items() if value is not None} == kept
    assert f"(code {code})" in sampler.facts()["gpus"]["cuda:0"]["refused"]["energy_j"]


def test_one_counter_that_is_not_there_is_null_and_the_others_count(opened: Open) -> None:
    gpu = FakeGpu(field_errors={pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SYNC_BOOST: pynvml.NVML_ERROR_NOT_SUPPORTED})
    figures = opened(FakeNvml([gpu])).boundary(dear=False)
    assert figures["sync_boost:cuda:0"] is None
    assert figures["power_cap:cuda:0"] == 0.0


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (FakeNvml(errors={"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}), "NVML cannot be opened"),
        (FakeNvml(errors={"nvmlInit": pynvml.NVML_ERROR_DRIVER_NOT_LOADED}), "modprobe"),
        (FakeNvml(), "there is no cuda:0"),
        (FakeNvml([FakeGpu(errors={"nvmlDeviceGetHandleByIndex": 15})]), "there is no cuda:0"),
        (FakeNvml([FakeGpu(errors={"nvmlDeviceGetUUID": 15})]), "GPU is lost"),
    ],
)
def test_without_a_gpu_the_run_goes_on_without_this_sampler(fake: FakeNvml, reason: str, opened: Open) -> None:
    with pytest.raises(MissingDependency, match=reason):
        opened(fake)
    assert fake.opened == 0


TWO = [FakeGpu(uuid="GPU-aa-1", bus="00000000:81:00.0"), FakeGpu(uuid="GPU-bb-2", bus="00000000:01:00.0")]


@pytest.mark.parametrize(
    ("visible", "order", "expected"),
    [
        (None, "PCI_BUS_ID", ["GPU-bb-2", "GPU-aa-1"]),
        ("1", "PCI_BUS_ID", ["GPU-aa-1"]),
        ("1,0", "PCI_BUS_ID", ["GPU-aa-1", "GPU-bb-2"]),
        ("0,7,1", "PCI_BUS_ID", ["GPU-bb-2"]),
        ("GPU-aa-1", None, ["GPU-aa-1"]),
        ("GPU-bb, GPU-aa", None, ["GPU-bb-2", "GPU-aa-1"]),
        ("GPU-", None, []),
        ("", None, []),
        ("-1", "PCI_BUS_ID", []),
        (None, None, None),
        ("0", None, None),
        ("0", "FASTEST_FIRST", None),
    ],
)
def test_devices_are_matched_by_uuid_or_bus_never_by_a_number_that_may_mean_another(
    visible: str | None, order: str | None, expected: list[str] | None
) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": visible, "CUDA_DEVICE_ORDER": order}
    with open_nvml(FakeNvml(TWO)) as nvml:
        given = {name: value for name, value in environ.items() if value is not None}
        if expected is None:
            with pytest.raises(NvmlError, match="which GPU is cuda:0 cannot be told") as caught:
                nvml.visible(given)
            assert "PCI_BUS_ID" in str(caught.value.hint)
            return
        assert [device.read("uuid")["uuid"] for device in nvml.visible(given)] == expected
    with open_nvml(FakeNvml(TWO[:1])) as nvml:
        assert [device.index for device in nvml.visible({"CUDA_VISIBLE_DEVICES": "0"})] == [0], "one GPU is no question"


def test_a_slice_of_a_gpu(opened: Open) -> None:
    gpu = FakeGpu(mig=True, memory_used=3)
    fake = FakeNvml([FakeGpu(uuid="GPU-x"), gpu])
    sampled = opened(fake, visible=gpu.uuid.replace("GPU-", "MIG-"))
    assert sampled.sample()["busy:cuda:0"] is None
    assert sampled.sample()["power:cuda:0"] == 70.0
    facts = sampled.facts()["gpus"]["cuda:0"]
    assert facts["scope"] == "gpu_shared"
    assert set(facts["refused"]) == {"busy"}


@pytest.mark.parametrize(("named", "visible"), [((0,), 1), ((1, 0), 2), ((1,), 1)])
def test_gpus_that_the_run_does_not_use_are_counted(named: tuple[int, ...], visible: int, opened: Open) -> None:
    gpus = [FakeGpu(uuid="GPU-a"), FakeGpu(uuid="GPU-b", bus="00000000:02:00.0")]
    facts = opened(FakeNvml(gpus), "cuda:0", visible=",".join(gpus[each].uuid for each in named)).facts()
    assert (list(facts["gpus"]), facts["visible"]) == (["cuda:0"], visible)
    assert facts["gpus"]["cuda:0"]["uuid"] == gpus[named[0]].uuid


def test_whose_processes_are_on_the_gpu(fake_nvml: FakeNvml, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = {100: 50, 101: 100, 200: 1, os.getppid(): 1}
    there = {100, 101, 200, 201}
    monkeypatch.setattr(module, "_parent", lambda pid: parents.get(pid, 0))
    monkeypatch.setattr(Path, "exists", lambda path: int(path.name) in there)
    monkeypatch.setattr(os, "getppid", lambda: 50)
    fake_nvml.gpus[0].processes = [(100, 1), (101, 1), (200, 1), (201, 1), (999, 1)]
    sampler = opened(fake_nvml)
    sampler.watch({"session": 201})
    figures = sampler.boundary(dear=False)
    assert figures["foreign_processes:cuda:0"] == 1, "200; 100 and 101 descend from the run, 201 is a worker"
    assert figures["hidden_processes:cuda:0"] == 1, "999 is a number of the host"


def test_the_memory_of_each_worker(opened: Open) -> None:
    first, second = FakeGpu(), FakeGpu(uuid="GPU-second")
    me = os.getpid()
    sampler = opened(FakeNvml([first, second]), "cuda:0", "cuda:1", visible=f"{first.uuid},{second.uuid}")
    units = sampler.watch({"a-fp32": me, "b-fp32": 999_999_999})
    names = {f"worker_memory:cuda:{number}:{label}" for number in (0, 1) for label in ("a-fp32", "b-fp32")}
    assert units == dict.fromkeys(names, "bytes")
    first.processes, second.processes = [(me, 5), (7, 9)], [(me, None)]
    figures = sampler.boundary(dear=False)
    found = {name: value for name, value in figures.items() if name in names}
    assert found == {"worker_memory:cuda:0:a-fp32": 5, "worker_memory:cuda:1:a-fp32": None}, "the driver may not tell"


def test_the_environment_may_name_another_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHFW_NVML", "benchfw.testing.machines:throttled")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with open_nvml() as nvml:
        assert nvml.device(0).read("throttling") == {"throttling": ("power cap",)}
