"""The adapter over NVML, on a fake one; the fake has the surface of the real one."""

from __future__ import annotations

import inspect
import sys

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchfw.errors import NoDriver, NvmlError
from benchfw.gpu import codes
from benchfw.gpu.fields import FIELDS
from benchfw.gpu.nvml import Process, open_nvml
from benchfw.testing.nvml import FakeGpu, FakeNvml

CODES = {getattr(pynvml, name): name for name in dir(pynvml) if name.startswith("NVML_ERROR_")}
FATAL = {code for code, meaning in codes.CODES.items() if meaning.consequence is codes.Consequence.FATAL}
LASTING = {code for code, meaning in codes.CODES.items() if meaning.consequence is codes.Consequence.NULL}


def test_every_code_of_nvml_has_a_meaning_a_consequence_and_a_remedy() -> None:
    named = {f"NVML_ERROR_{meaning.name}": code for code, meaning in codes.CODES.items()}
    assert named == {name: code for code, name in CODES.items()}
    assert all(meaning.meaning and meaning.remedy for meaning in codes.CODES.values())
    assert {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_RESET_REQUIRED,
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
        pynvml.NVML_ERROR_GPU_NOT_FOUND,
    } == FATAL
    assert {
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_OPERATING_SYSTEM,
        pynvml.NVML_ERROR_VGPU_ECC_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FREQ_NOT_SUPPORTED,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_DEPRECATED,
        pynvml.NVML_ERROR_RESET_TYPE_NOT_SUPPORTED,
    } == LASTING


def test_the_fake_has_the_names_and_parameters_of_the_real_one() -> None:
    functions = {name: value for name, value in vars(FakeNvml).items() if name.startswith("nvml")}
    assert len(functions) >= len(FIELDS)
    for name, function in functions.items():
        real = list(inspect.signature(getattr(pynvml, name)).parameters)
        assert list(inspect.signature(function).parameters)[1:] == real, name


def test_all_fields_of_a_gpu() -> None:
    ticks = iter([0.0] * 2 + [2.0] * 100)
    gpu = FakeGpu(
        clock=lambda: next(ticks),
        busy=25,
        memory_used=5,
        processes=[(41, 7), (42, None)],
        reasons=pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonGpuIdle,
        ecc_uncorrected=3,
    )
    fake = FakeNvml([gpu])
    with open_nvml(fake) as nvml:
        assert (nvml.driver, nvml.cuda, nvml.count) == ("580.95.05", "13.0", 1)
        device = nvml.device(0)
        assert device.read() == {
            "name": "NVIDIA Fake 80GB",
            "uuid": "GPU-00000000-0000-0000-0000-000000000000",
            "pci_bus_id": "00000000:01:00.0",
            "memory_total_bytes": 80 << 30,
            "memory_used_bytes": 5,
            "mig": False,
            "persistence": True,
            "display": False,
            "graphics_mhz": 345,
            "sm_mhz": 345,
            "memory_mhz": 2619,
            "graphics_max_mhz": 1980,
            "sm_max_mhz": 1980,
            "memory_max_mhz": 2619,
            "power_w": 70.0,
            "power_limit_w": 700.0,
            "temperature_c": 30,
            "busy": 0.25,
            "processes": (Process(41, 7), Process(42, None)),
            "reasons": 5,
            "throttling": ("power cap",),
            "counters": {"power_cap": 2.0, "sync_boost": 0.0, "sw_thermal": 0.0, "hw_thermal": 0.0, "power_brake": 0.0},
            "energy_j": 140.0,
            "ecc": True,
            "ecc_uncorrected": 3,
        }
        assert not device.refused
        gpu.temperature = 88
        assert device.read("temperature_c") == {"temperature_c": 88}
    assert fake.opened == 0


@pytest.mark.parametrize("code", CODES, ids=CODES.get)
def test_opening_never_lets_an_error_of_nvml_out(code: int) -> None:
    for name in ("nvmlInit", "nvmlDeviceGetCount"):
        fake = FakeNvml(errors={name: code})
        with pytest.raises(NvmlError) as caught, open_nvml(fake):
            raise AssertionError("it opened")
        assert caught.value.code == code
        assert f"(NVML code {code})" in caught.value.message
        assert caught.value.hint
        assert isinstance(caught.value, NoDriver) == (code == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        assert fake.opened == 0


@pytest.mark.parametrize("code", CODES, ids=CODES.get)
def test_a_field_that_is_refused_is_none_with_a_reason(code: int) -> None:
    gpu = FakeGpu(errors={"nvmlDeviceGetPowerUsage": code})
    fake = FakeNvml([gpu, FakeGpu(uuid="GPU-1")])
    with open_nvml(fake) as nvml:
        device = nvml.device(0)
        if code in FATAL:
            with pytest.raises(NvmlError, match="GPU 0: ") as caught:
                device.read()
            assert caught.value.code == code
            assert nvml.device(1).read("uuid") == {"uuid": "GPU-1"}  # the others go on
            return
        values = device.read("power_w", "temperature_c")
        assert values == {"power_w": None, "temperature_c": 30}
        assert f"(code {code})" in device.refused["power_w"]
        gpu.errors = {}
        again = device.read("power_w")["power_w"]
        assert again == (None if code in LASTING else 70.0)
        assert ("power_w" in device.refused) == (code in LASTING)
        assert fake.calls.count("nvmlDeviceGetPowerUsage") == (1 if code in LASTING else 2)


LATER = st.integers(1, 2**31 - 1).filter(lambda code: code not in CODES)


@given(code=LATER, name=st.sampled_from(["nvmlInit", "nvmlDeviceGetCount"]))
def test_opening_fails_with_codes_of_later_versions(code: int, name: str) -> None:
    with pytest.raises(NvmlError) as caught, open_nvml(FakeNvml(errors={name: code})):
        raise AssertionError("it opened")
    assert (caught.value.code, bool(caught.value.hint)) == (code, True)


@given(code=LATER)
def test_fields_are_refused_with_codes_of_later_versions(code: int) -> None:
    with open_nvml(FakeNvml([FakeGpu(errors={"nvmlDeviceGetEccMode": code})])) as nvml:
        device = nvml.device(0)
        assert device.read("ecc", "mig") == {"ecc": None, "mig": False}
        assert str(code) in device.refused["ecc"]


def test_what_the_driver_does_not_say_of_itself_is_none() -> None:
    errors = {"nvmlSystemGetDriverVersion": 999, "nvmlSystemGetCudaDriverVersion": 13}
    with open_nvml(FakeNvml(errors=errors)) as nvml:
        assert (nvml.driver, nvml.cuda, nvml.count) == (None, None, 0)


def test_older_drivers_know_older_names() -> None:
    missing = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
    errors = {"nvmlDeviceGetMemoryInfo_v2": missing, "nvmlDeviceGetCurrentClocksEventReasons": missing}
    gpu = FakeGpu(errors=errors, memory_used=9, reasons=pynvml.nvmlClocksEventReasonHwThermalSlowdown)
    with open_nvml(FakeNvml([gpu])) as nvml:
        device = nvml.device(0)
        assert device.read("memory_used_bytes", "throttling") == {
            "memory_used_bytes": 9,
            "throttling": ("thermal slowdown by the hardware",),
        }
        gpu.errors = {"nvmlDeviceGetMemoryInfo_v2": pynvml.NVML_ERROR_NO_PERMISSION}
        assert device.read("memory_used_bytes") == {"memory_used_bytes": None}


def test_a_function_that_the_package_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(FakeNvml, "nvmlDeviceGetEccMode")
    with open_nvml(FakeNvml([FakeGpu()])) as nvml:
        device = nvml.device(0)
        assert device.read("ecc") == {"ecc": None}
        assert "nvidia-ml-py lacks it" in device.refused["ecc"]


def test_a_gpu_that_is_lost_on_the_way() -> None:
    fake = FakeNvml([FakeGpu()], lost_after=3)
    with open_nvml(fake) as nvml:
        device = nvml.device(0)
        assert device.read("name", "uuid")["uuid"]
        with pytest.raises(NvmlError, match="GPU 0: GPU is lost") as caught:
            device.read("temperature_c")
        assert "reboot" in str(caught.value.hint)
    assert fake.opened == 0


def test_shutting_down_may_fail() -> None:
    with open_nvml(FakeNvml(errors={"nvmlShutdown": pynvml.NVML_ERROR_GPU_IS_LOST})) as nvml:
        assert nvml.count == 0


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NvmlError, match="cannot be imported") as caught, open_nvml():
        raise AssertionError("it opened")
    assert caught.value.hint == "pip install nvidia-ml-py"
