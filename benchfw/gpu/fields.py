"""What NVML can be asked of a GPU, and how: one call into the driver per field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchfw.gpu.codes import FUNCTION_NOT_FOUND

COUNTERS = {
    "power_cap": "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP",
    "sync_boost": "NVML_FI_DEV_CLOCKS_EVENT_REASON_SYNC_BOOST",
    "sw_thermal": "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN",
    "hw_thermal": "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN",
    "power_brake": "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN",
}
"""Cumulative times in which something held the clock down, by our names. They miss nothing between two readings, unlike
the bits that say what does so at the moment."""

REASONS = {
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
        if error.value != FUNCTION_NOT_FOUND:
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


def _reasons(nvml: Any, handle: Any) -> int:
    bits: int = _either(
        nvml,
        lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
        lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
    )
    return bits


def _throttling(nvml: Any, handle: Any) -> tuple[str, ...]:
    bits = _reasons(nvml, handle)
    return tuple(text for name, text in REASONS.items() if bits & getattr(nvml, name))


def _counters(nvml: Any, handle: Any) -> Mapping[str, float | None]:
    """Return the counters in seconds; each has a return code of its own, and None is one that is not there."""
    names = {name: getattr(nvml, field) for name, field in COUNTERS.items() if hasattr(nvml, field)}
    values = nvml.nvmlDeviceGetFieldValues(handle, list(names.values())) if names else ()
    found = {name: value.value.ullVal / 1e9 if value.nvmlReturn == 0 else None for name, value in zip(names, values)}
    return {name: found.get(name) for name in COUNTERS}


def _clock(kind: str, function: str) -> Callable[[Any, Any], Any]:
    return lambda nvml, handle: getattr(nvml, function)(handle, getattr(nvml, kind))


_NOW, _MAX = "nvmlDeviceGetClockInfo", "nvmlDeviceGetMaxClockInfo"

FIELDS: dict[str, Callable[[Any, Any], Any]] = {
    "name": lambda nvml, handle: nvml.nvmlDeviceGetName(handle),
    "uuid": lambda nvml, handle: nvml.nvmlDeviceGetUUID(handle),
    "pci_bus_id": lambda nvml, handle: nvml.nvmlDeviceGetPciInfo(handle).busId,
    "memory_total_bytes": lambda nvml, handle: _memory(nvml, handle).total,
    "memory_used_bytes": lambda nvml, handle: _memory(nvml, handle).used,
    "mig": lambda nvml, handle: bool(nvml.nvmlDeviceGetMigMode(handle)[0]),
    "persistence": lambda nvml, handle: bool(nvml.nvmlDeviceGetPersistenceMode(handle)),
    "display": lambda nvml, handle: bool(nvml.nvmlDeviceGetDisplayActive(handle)),
    "graphics_mhz": _clock("NVML_CLOCK_GRAPHICS", _NOW),
    "sm_mhz": _clock("NVML_CLOCK_SM", _NOW),
    "memory_mhz": _clock("NVML_CLOCK_MEM", _NOW),
    "graphics_max_mhz": _clock("NVML_CLOCK_GRAPHICS", _MAX),
    "sm_max_mhz": _clock("NVML_CLOCK_SM", _MAX),
    "memory_max_mhz": _clock("NVML_CLOCK_MEM", _MAX),
    "power_w": lambda nvml, handle: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
    "power_limit_w": lambda nvml, handle: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,
    "temperature_c": lambda nvml, handle: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
    "busy": lambda nvml, handle: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
    "processes": _processes,
    "reasons": _reasons,
    "throttling": _throttling,
    "counters": _counters,
    "energy_j": lambda nvml, handle: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000,
    "ecc": lambda nvml, handle: bool(nvml.nvmlDeviceGetEccMode(handle)[0]),
    "ecc_uncorrected": lambda nvml, handle: nvml.nvmlDeviceGetTotalEccErrors(
        handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
    ),
}
"""What can be asked of a device. Units are in the names; `busy` is the share of a window of the driver's (1/6 to 1 s)
in which a kernel ran; `reasons` are bits, and `throttling` is those of them that slow down, as a tuple of texts;
`counters` are seconds by the names of `COUNTERS`; `processes` is a tuple of `Process`; `energy_j` and `ecc_uncorrected`
count since the driver was loaded."""

OF_A_SLICE = {"uuid", "name", "memory_total_bytes", "memory_used_bytes", "processes"}
"""What a MIG slice has of its own; everything else is that of the whole GPU."""
