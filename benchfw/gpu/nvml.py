"""NVIDIA GPUs through NVML, NVIDIA's management library.

    with open_nvml() as nvml:
        for index in range(nvml.count):
            device = nvml.device(index)
            values = device.read("name", "temperature_c")  # None where NVML refuses; device.refused says why

A device refuses what it does not have (a GeForce its ECC, a MIG slice its clocks): that is None and a reason. What
makes every answer worthless, such as a GPU that is lost, is a `NvmlError`. NVML's own errors do not leave this module.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchfw.errors import NoDriver, NvmlError

_UNINITIALIZED, _NOT_SUPPORTED, _NO_PERMISSION, _DRIVER_NOT_LOADED, _TIMEOUT = 1, 3, 4, 9, 10
_LIBRARY_NOT_FOUND, _FUNCTION_NOT_FOUND, _GPU_IS_LOST, _RESET_REQUIRED, _MISMATCH = 12, 13, 15, 16, 18

REMEDIES = {
    _UNINITIALIZED: "somebody has shut NVML down in this process: open it again",
    _NO_PERMISSION: "give this user the right to open /dev/nvidiactl and /dev/nvidia*; in a container: --gpus all",
    _DRIVER_NOT_LOADED: "load the driver: sudo modprobe nvidia; if that fails: dmesg | grep -i nvidia",
    _TIMEOUT: "the driver is busy or hangs: try again, then look for Xid messages: dmesg | grep -i xid",
    _LIBRARY_NOT_FOUND: "install NVIDIA's driver if this machine has an NVIDIA GPU; in a container: --gpus all",
    _FUNCTION_NOT_FOUND: "the driver is older than the call: install a newer driver",
    _GPU_IS_LOST: "the GPU does not answer on its bus: dmesg | grep -i xid, then reboot",
    _RESET_REQUIRED: "the GPU wants a reset: end what uses it, then sudo nvidia-smi --gpu-reset, or reboot",
    _MISMATCH: "the driver was updated and its old kernel module is still loaded: reboot",
}
"""What can be done, by code; other codes have no better remedy than `_UNKNOWN_REMEDY`."""

_UNKNOWN_REMEDY = "compare with nvidia-smi; look for messages of the driver: dmesg | grep -i nvrm"
_FATAL = {_UNINITIALIZED, _DRIVER_NOT_LOADED, _LIBRARY_NOT_FOUND, _GPU_IS_LOST, _RESET_REQUIRED, _MISMATCH}
"""After these no other question has an answer."""

_LASTING = {_NOT_SUPPORTED, _NO_PERMISSION, _FUNCTION_NOT_FOUND}
"""Refusals that will not change while this process lives: the question is not asked again."""

_REASONS = {
    "nvmlClocksEventReasonSwPowerCap": "power cap",
    "nvmlClocksEventReasonHwSlowdown": "hardware slowdown",
    "nvmlClocksEventReasonSwThermalSlowdown": "thermal slowdown by the driver",
    "nvmlClocksEventReasonHwThermalSlowdown": "thermal slowdown by the hardware",
    "nvmlClocksEventReasonHwPowerBrakeSlowdown": "external power brake",
}
"""Why clocks may be below what was asked for. Idleness, clocks that the user set, groups of GPUs that keep in step and
a display are no throttling."""


@dataclass(frozen=True)
class Process:
    """A process that computes on a GPU.

    Attributes:
        pid: Its number as the host counts, also in a container.
        memory_bytes: Memory that it has on the GPU; None if the driver does not tell.
    """

    pid: int
    memory_bytes: int | None


def _either(nvml: Any, newer: Callable[[], Any], older: Callable[[], Any]) -> Any:
    """Return what the newer of two functions says, or the older one where the driver has only that."""
    try:
        return newer()
    except nvml.NVMLError as error:
        if _code(error) != _FUNCTION_NOT_FOUND:
            raise
        return older()


def _memory(nvml: Any, handle: Any) -> Any:
    """Return the memory; what the driver reserves for itself counts as used only with drivers before 510."""
    return _either(
        nvml,
        lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2),
        lambda: nvml.nvmlDeviceGetMemoryInfo(handle),
    )


def _processes(nvml: Any, handle: Any) -> tuple[Process, ...]:
    found = nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)  # the name without version hides NVML's error
    return tuple(Process(item.pid, item.usedGpuMemory) for item in found)


def _throttling(nvml: Any, handle: Any) -> tuple[str, ...]:
    bits = _either(
        nvml,
        lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
        lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
    )
    return tuple(text for name, text in _REASONS.items() if bits & getattr(nvml, name))


FIELDS: dict[str, Callable[[Any, Any], Any]] = {
    "name": lambda nvml, handle: nvml.nvmlDeviceGetName(handle),
    "uuid": lambda nvml, handle: nvml.nvmlDeviceGetUUID(handle),
    "memory_total_bytes": lambda nvml, handle: _memory(nvml, handle).total,
    "memory_used_bytes": lambda nvml, handle: _memory(nvml, handle).used,
    "mig": lambda nvml, handle: bool(nvml.nvmlDeviceGetMigMode(handle)[0]),
    "persistence": lambda nvml, handle: bool(nvml.nvmlDeviceGetPersistenceMode(handle)),
    "graphics_mhz": lambda nvml, handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_GRAPHICS),
    "sm_mhz": lambda nvml, handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
    "memory_mhz": lambda nvml, handle: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
    "graphics_max_mhz": lambda nvml, handle: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_GRAPHICS),
    "sm_max_mhz": lambda nvml, handle: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
    "memory_max_mhz": lambda nvml, handle: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM),
    "power_w": lambda nvml, handle: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
    "power_limit_w": lambda nvml, handle: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,
    "temperature_c": lambda nvml, handle: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
    "processes": _processes,
    "throttling": _throttling,
    "ecc": lambda nvml, handle: bool(nvml.nvmlDeviceGetEccMode(handle)[0]),
    "ecc_uncorrected": lambda nvml, handle: nvml.nvmlDeviceGetTotalEccErrors(
        handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
    ),
}
"""What can be asked of a device. Units are in the names; `throttling` is a tuple of reasons, `processes` of `Process`,
`ecc_uncorrected` counts since the driver was loaded."""


class Device:
    """One GPU.

    Attributes:
        index: Its number in NVML's order, which need not be CUDA's: compare UUIDs.
        refused: Why a field was None when it was last read, by its name.
    """

    def __init__(self, nvml: Any, index: int, handle: Any) -> None:
        self.index = index
        self.refused: dict[str, str] = {}
        self._nvml = nvml
        self._handle = handle
        self._lasting: set[str] = set()

    def read(self, *names: str) -> dict[str, Any]:
        """Return the values of fields (default: all of `FIELDS`), None where NVML refuses; `refused` says why.

        One call into the driver per field, and none for a field that this device will never have.

        Raises:
            NvmlError: The device or the library is of no use any more.
        """
        return {name: self._field(name) for name in names or FIELDS}

    def _field(self, name: str) -> Any:
        if name in self._lasting:
            return None
        try:
            value = FIELDS[name](self._nvml, self._handle)
        except AttributeError as error:  # an nvidia-ml-py that is older than the call
            self.refused[name] = f"nvidia-ml-py lacks it: {error}"
            self._lasting.add(name)
            return None
        except self._nvml.NVMLError as error:
            code = _code(error)
            if code in _FATAL:
                raise _translated(f"GPU {self.index}", error) from error
            self.refused[name] = f"{error} (code {code})"
            if code in _LASTING:
                self._lasting.add(name)
            return None
        self.refused.pop(name, None)
        return value


class Nvml:
    """NVML, open.

    Attributes:
        driver: Version of the driver; None if it does not tell.
        cuda: Newest version of CUDA that the driver serves, like `13.0`; None if it does not tell.
        count: Number of GPUs, those that cannot be opened included.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self.driver: str | None = None
        self.cuda: str | None = None
        with contextlib.suppress(nvml.NVMLError):
            self.driver = nvml.nvmlSystemGetDriverVersion()
        with contextlib.suppress(nvml.NVMLError):
            version = nvml.nvmlSystemGetCudaDriverVersion()
            self.cuda = f"{version // 1000}.{version % 1000 // 10}"
        try:
            self.count: int = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            raise _translated("GPUs cannot be counted", error) from error

    def device(self, index: int) -> Device:
        """Return a GPU by its number, from 0.

        Raises:
            NvmlError: It cannot be opened; others may be.
        """
        try:
            return Device(self._nvml, index, self._nvml.nvmlDeviceGetHandleByIndex(index))
        except self._nvml.NVMLError as error:
            raise _translated(f"GPU {index}", error) from error


@contextlib.contextmanager
def open_nvml(module: Any = None) -> Iterator[Nvml]:
    """Open NVML for the length of a `with` block.

    Args:
        module: What is called; default: `pynvml` of nvidia-ml-py.

    Raises:
        NoDriver: There is no NVIDIA driver here.
        NvmlError: There is one, but NVML cannot be used; or nvidia-ml-py is missing.
    """
    nvml = module or _module()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise _translated("NVML cannot be opened", error) from error
    try:
        yield Nvml(nvml)
    finally:
        with contextlib.suppress(nvml.NVMLError):  # it may be lost by now
            nvml.nvmlShutdown()


def _module() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise NvmlError(f"pynvml cannot be imported: {error}", hint="pip install nvidia-ml-py") from error


def _code(error: Any) -> int:
    return int(error.value)


def _translated(what: str, error: Any) -> NvmlError:
    """Return an error of ours for one of NVML's: its words and number, and what to do."""
    code = _code(error)
    kind = NoDriver if code == _LIBRARY_NOT_FOUND else NvmlError
    return kind(f"{what}: {error} (NVML code {code})", hint=REMEDIES.get(code, _UNKNOWN_REMEDY), code=code)
