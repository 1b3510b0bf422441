"""NVML without a GPU: what `benchfw.gpu.nvml` calls, scripted.

    fake = FakeNvml([FakeGpu(temperature=90, errors={"nvmlDeviceGetEccMode": 3})])
    with open_nvml(fake) as nvml:
        ...

Constants and exceptions are those of nvidia-ml-py, which needs no driver to be imported.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml

_CONSTANTS = ("NVML", "nvmlClocksEventReason", "nvmlMemory_v2")
_NOT_FOUND, _GPU_IS_LOST = 6, 15
_COUNTED = {
    pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_POWER_CAP: pynvml.nvmlClocksEventReasonSwPowerCap,
    pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SYNC_BOOST: pynvml.nvmlClocksEventReasonSyncBoost,
    pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN: pynvml.nvmlClocksEventReasonSwThermalSlowdown,
    pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN: pynvml.nvmlClocksEventReasonHwThermalSlowdown,
    pynvml.NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN: pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
}
"""Which reason each counter of times counts."""
_STEP_S = 0.1
"""The energy counter of an H100 changes every 100 ms."""
_GIB = 1 << 30


@dataclass(kw_only=True)
class FakeGpu:
    """What a GPU says; values may change between calls.

    Attributes:
        clocks: Current and largest MHz of graphics, SM and memory, as NVML numbers them: 0, 1, 2.
        processes: Number and bytes of what computes on it; None where the driver does not tell the bytes.
        reasons: Bits `nvmlClocksEventReason…`.
        power_mw: Power and its limit, in milliwatts.
        ecc_uncorrected: Uncorrected errors since the driver was loaded.
        errors: NVML codes by the names of the functions that fail for this GPU.
        field_errors: NVML codes by the numbers of the field values that have one.
        later: What changes so many seconds after the GPU was first asked, by the names of attributes: a step of the
            clock, a process that comes.
        clock: Its time, in seconds; energy and times of throttling grow with it.
        locked: The clock that it was locked at, in MHz.
        steps: Graphics clocks that it has, in MHz; if there are none, it does not tell them.
    """

    name: str = "NVIDIA Fake 80GB"
    uuid: str = "GPU-00000000-0000-0000-0000-000000000000"
    memory_total: int = 80 * _GIB
    memory_used: int = 0
    mig: bool = False
    persistence: bool = True
    clocks: Mapping[int, tuple[int, int]] = field(
        default_factory=lambda: {0: (345, 1980), 1: (345, 1980), 2: (2619, 2619)}
    )
    power_mw: tuple[int, int] = (70_000, 700_000)
    temperature: int = 30
    processes: Sequence[tuple[int, int | None]] = ()
    reasons: int = pynvml.nvmlClocksEventReasonGpuIdle
    ecc: bool = True
    ecc_uncorrected: int = 0
    bus: str = "00000000:01:00.0"
    display: bool = False
    busy: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    field_errors: Mapping[int, int] = field(default_factory=dict)
    later: Mapping[float, Mapping[str, Any]] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic
    locked: int | None = None
    steps: Sequence[int] = ()
    energy_mj: float = 0.0
    counters_ns: dict[int, float] = field(default_factory=dict)
    _begun: float | None = None
    _seen: float = 0.0

    def pass_time(self) -> None:
        """Let energy and times of throttling grow since this was last called, and change what is due."""
        now = self.clock()
        if self._begun is None:
            self._begun = self._seen = now
        passed, self._seen = now - self._seen, now
        self.energy_mj += self.power_mw[0] * passed
        for number, bit in _COUNTED.items():
            self.counters_ns[number] = self.counters_ns.get(number, 0.0) + (passed * 1e9 if self.reasons & bit else 0)
        for after in sorted(after for after in self.later if now - self._begun >= after):
            for name, value in self.later[after].items():
                setattr(self, name, value)
        self.later = {after: change for after, change in self.later.items() if now - self._begun < after}


class FakeNvml:
    """Takes the place of the module `pynvml`.

    Args:
        gpus: The GPUs of the machine.
        driver: Version of the driver.
        cuda: Version of CUDA as NVML writes it: 13000 is 13.0.
        errors: NVML codes by the names of the functions that fail.
        hangs: Names of functions that do not return before `release` is called.
        lost_after: So many calls about GPUs succeed; then all GPUs are lost.

    Attributes:
        gpus, errors, hangs: As given; they may change between calls.
        calls: Names of the functions that were called, in order.
        opened: How often it was initialised and not shut down.
    """

    def __init__(
        self,
        gpus: Sequence[FakeGpu] = (),
        *,
        driver: str = "580.95.05",
        cuda: int = 13000,
        errors: Mapping[str, int] | None = None,
        hangs: Sequence[str] = (),
        lost_after: int | None = None,
    ) -> None:
        self.gpus = list(gpus)
        self.calls: list[str] = []
        self.opened = 0
        self._driver = driver
        self._cuda = cuda
        self.errors = dict(errors or {})
        self.hangs = set(hangs)
        self._released = threading.Event()
        self._left = lost_after

    def __getattr__(self, name: str) -> Any:
        if name.startswith(_CONSTANTS):
            return getattr(pynvml, name)
        raise AttributeError(f"the fake NVML has no {name!r}")

    def release(self) -> None:
        """Let what hangs go on."""
        self._released.set()

    def nvmlInit(self) -> None:
        self._call("nvmlInit")
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self._call("nvmlShutdown")
        self.opened -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        self._call("nvmlSystemGetDriverVersion")
        return self._driver

    def nvmlSystemGetCudaDriverVersion(self) -> int:
        self._call("nvmlSystemGetCudaDriverVersion")
        return self._cuda

    def nvmlDeviceGetCount(self) -> int:
        self._call("nvmlDeviceGetCount")
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        self._ask("nvmlDeviceGetHandleByIndex", self.gpus[index])
        return self.gpus[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeGpu:
        """Find a GPU, or the one slice `MIG-…` that each GPU with MIG has: the same handle."""
        self._call("nvmlDeviceGetHandleByUUID")
        for gpu in self.gpus:
            if uuid == gpu.uuid or (gpu.mig and uuid == gpu.uuid.replace("GPU-", "MIG-", 1)):
                return gpu
        raise pynvml.NVMLError(_NOT_FOUND)

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, migDevice: FakeGpu) -> FakeGpu:
        self._ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", migDevice)
        return migDevice

    def nvmlDeviceGetIndex(self, handle: FakeGpu) -> int:
        self._ask("nvmlDeviceGetIndex", handle)
        return self.gpus.index(handle)

    def nvmlDeviceGetPciInfo(self, handle: FakeGpu) -> Any:
        self._ask("nvmlDeviceGetPciInfo", handle)
        return SimpleNamespace(busId=handle.bus)

    def nvmlDeviceGetDisplayActive(self, handle: FakeGpu) -> int:
        self._ask("nvmlDeviceGetDisplayActive", handle)
        return int(handle.display)

    def nvmlDeviceGetUtilizationRates(self, handle: FakeGpu) -> Any:
        self._ask("nvmlDeviceGetUtilizationRates", handle)
        if handle.mig:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return SimpleNamespace(gpu=handle.busy, memory=handle.busy // 2)

    def nvmlDeviceGetFieldValues(self, handle: FakeGpu, fieldIds: Sequence[int]) -> list[Any]:
        """Each value has a return code of its own: `field_errors` by its number."""
        self._ask("nvmlDeviceGetFieldValues", handle)
        return [
            SimpleNamespace(
                nvmlReturn=handle.field_errors.get(number, 0),
                value=SimpleNamespace(ullVal=round(handle.counters_ns.get(number, 0.0))),
            )
            for number in fieldIds
        ]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: FakeGpu) -> int:
        """Return millijoules, as they were at the last step of 100 ms."""
        self._ask("nvmlDeviceGetTotalEnergyConsumption", handle)
        steps = (handle._seen - (handle._begun or 0.0)) / _STEP_S
        since = (steps - math.floor(steps + 1e-6)) * _STEP_S
        return round(handle.energy_mj - handle.power_mw[0] * since)

    def nvmlDeviceSetGpuLockedClocks(self, handle: FakeGpu, minGpuClockMHz: int, maxGpuClockMHz: int) -> None:
        self._ask("nvmlDeviceSetGpuLockedClocks", handle)
        handle.locked = maxGpuClockMHz

    def nvmlDeviceGetSupportedMemoryClocks(self, handle: FakeGpu) -> list[int]:
        self._ask("nvmlDeviceGetSupportedMemoryClocks", handle)
        return [handle.clocks[pynvml.NVML_CLOCK_MEM][1]] if pynvml.NVML_CLOCK_MEM in handle.clocks else []

    def nvmlDeviceGetSupportedGraphicsClocks(self, handle: FakeGpu, memoryClockMHz: int) -> list[int]:
        self._ask("nvmlDeviceGetSupportedGraphicsClocks", handle)
        if not handle.steps:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return list(handle.steps)

    def nvmlDeviceResetGpuLockedClocks(self, handle: FakeGpu) -> None:
        self._ask("nvmlDeviceResetGpuLockedClocks", handle)
        handle.locked = None

    def nvmlDeviceGetName(self, handle: FakeGpu) -> str:
        self._ask("nvmlDeviceGetName", handle)
        return handle.name

    def nvmlDeviceGetUUID(self, handle: FakeGpu) -> str:
        self._ask("nvmlDeviceGetUUID", handle)
        return handle.uuid

    def nvmlDeviceGetMemoryInfo(self, handle: FakeGpu, version: int | None = None) -> Any:
        """Fail under the name `nvmlDeviceGetMemoryInfo_v2` as well, where a version is asked for."""
        self._ask("nvmlDeviceGetMemoryInfo" + ("_v2" if version else ""), handle)
        return SimpleNamespace(total=handle.memory_total, used=handle.memory_used)

    def nvmlDeviceGetMigMode(self, device: FakeGpu) -> list[int]:
        self._ask("nvmlDeviceGetMigMode", device)
        return [int(device.mig), int(device.mig)]

    def nvmlDeviceGetPersistenceMode(self, handle: FakeGpu) -> int:
        self._ask("nvmlDeviceGetPersistenceMode", handle)
        return int(handle.persistence)

    def nvmlDeviceGetClockInfo(self, handle: FakeGpu, type: int) -> int:
        self._ask("nvmlDeviceGetClockInfo", handle)
        now = handle.clocks[type][0]
        return now if handle.locked is None or type == pynvml.NVML_CLOCK_MEM else min(now, handle.locked)

    def nvmlDeviceGetMaxClockInfo(self, handle: FakeGpu, type: int) -> int:
        self._ask("nvmlDeviceGetMaxClockInfo", handle)
        return handle.clocks[type][1]

    def nvmlDeviceGetPowerUsage(self, handle: FakeGpu) -> int:
        self._ask("nvmlDeviceGetPowerUsage", handle)
        return handle.power_mw[0]

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: FakeGpu) -> int:
        self._ask("nvmlDeviceGetEnforcedPowerLimit", handle)
        return handle.power_mw[1]

    def nvmlDeviceGetTemperature(self, handle: FakeGpu, sensor: int) -> int:
        self._ask("nvmlDeviceGetTemperature", handle)
        return handle.temperature

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: FakeGpu) -> list[Any]:
        self._ask("nvmlDeviceGetComputeRunningProcesses_v3", handle)
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in handle.processes]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: FakeGpu) -> int:
        self._ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
        return handle.reasons

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: FakeGpu) -> int:
        self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        return handle.reasons

    def nvmlDeviceGetEccMode(self, handle: FakeGpu) -> list[int]:
        self._ask("nvmlDeviceGetEccMode", handle)
        return [int(handle.ecc), int(handle.ecc)]

    def nvmlDeviceGetTotalEccErrors(self, handle: FakeGpu, errorType: int, counterType: int) -> int:
        self._ask("nvmlDeviceGetTotalEccErrors", handle)
        return handle.ecc_uncorrected

    def _ask(self, name: str, gpu: FakeGpu) -> None:
        """Do what is scripted for a call about a GPU."""
        self._call(name)
        gpu.pass_time()
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise pynvml.NVMLError(_GPU_IS_LOST)
        if name in gpu.errors:
            raise pynvml.NVMLError(gpu.errors[name])

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.hangs:
            self._released.wait()
        if name in self.errors:
            raise pynvml.NVMLError(self.errors[name])
