"""The sampler `nvml`: clocks, power, temperature and utilisation of the GPUs of a run. In the sampler process alone.

Ten times per second only what costs microseconds; energy, times of throttling, memory and processes at boundaries.
Calls contend for locks of the driver with what is measured, so that a process of its own protects from Python alone: it
is which calls are made, and how often, that counts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchfw.errors import MissingDependency, NvmlError
from benchfw.gpu.fields import COUNTERS
from benchfw.gpu.fields import Process as GpuProcess
from benchfw.gpu.nvml import Device, open_nvml
from benchfw.spec.device import CUDA, DeviceName, cuda_numbers
from benchfw.spec.sampler import Sampler

TICK = {
    "sm_clock": ("sm_mhz", "MHz"),
    "memory_clock": ("memory_mhz", "MHz"),
    "power": ("power_w", "W"),
    "temperature": ("temperature_c", "°C"),
    "busy": ("busy", "ratio"),
    "reasons": ("reasons", "bits"),
}
"""What is read ten times per second: our name, that of NVML's field, and the unit."""
WORKER_MEMORY = "worker_memory"
_BOUNDARY = {
    **dict.fromkeys(COUNTERS, "s"),
    "memory_used": "bytes",
    "foreign_processes": "processes",
    "hidden_processes": "processes",
    "energy": "J",
}
_FACTS = (
    *("uuid", "name", "sm_max_mhz", "memory_max_mhz", "power_limit_w", "memory_total_bytes"),
    *("persistence", "ecc", "ecc_uncorrected", "display", "mig"),
)


class NvmlSampler(Sampler):
    """Reads the GPUs that the run measures on. Fields are called `sm_clock:cuda:0`, by the device as CUDA counts.

    `worker_memory:cuda:0:SESSION` is what the worker of a session has there, its CUDA context included.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._gpus: dict[str, Device] = {}
        self._known: dict[str, dict[str, Any]] = {}
        self._driver: str | None = None
        self._visible = 0
        self._workers: dict[str, int] = {}

    def open(self) -> Mapping[str, str]:
        try:
            nvml = self._stack.enter_context(open_nvml())
            self._driver = nvml.driver
            visible = nvml.visible()
            self._visible = len(visible)
            self._gpus = _wanted(visible, cuda_numbers(self.devices))
            self._known = {name: gpu.read(*_FACTS) for name, gpu in self._gpus.items()}
        except NvmlError as error:
            text = f"{error.message} ({error.hint})" if error.hint else error.message
            raise MissingDependency(text) from error
        units = {**{name: unit for name, (_, unit) in TICK.items()}, **_BOUNDARY}
        return {f"{name}:{gpu}": unit for gpu in self._gpus for name, unit in units.items()}

    def watch(self, processes: Mapping[str, int]) -> Mapping[str, str]:
        self._workers = dict(processes)
        return {f"{WORKER_MEMORY}:{gpu}:{label}": "bytes" for gpu in self._gpus for label in processes}

    def sample(self) -> Mapping[str, float | None]:
        figures: dict[str, float | None] = {}
        for name, gpu in self._gpus.items():
            for field, (source, _) in TICK.items():
                figures[f"{field}:{name}"] = gpu.read(source)[source]
        return figures

    def boundary(self, *, dear: bool) -> Mapping[str, float | None]:
        figures: dict[str, float | None] = {}
        for name, gpu in self._gpus.items():
            read = gpu.read("sm_mhz", "counters", "memory_used_bytes", "processes", *(("energy_j",) if dear else ()))
            values = dict(read["counters"] or dict.fromkeys(COUNTERS))
            values["sm_clock"] = read["sm_mhz"]
            values["memory_used"] = read["memory_used_bytes"]
            values |= self._foreign(read["processes"])
            if dear:
                values["energy"] = read["energy_j"]
            figures.update({f"{field}:{name}": value for field, value in values.items()})
            figures.update(self._own(name, read["processes"] or ()))
        return figures

    def facts(self) -> Mapping[str, Any]:
        """Return the driver, how many GPUs CUDA sees, and by device of the run what is known of it.

        That is what does not change, what it refuses, and what each call costs.
        """
        return {
            "driver": self._driver,
            "visible": self._visible,
            "gpus": {
                name: {
                    **self._known[name],
                    "scope": "gpu_shared" if gpu.slice or self._known[name]["mig"] else "gpu",
                    "refused": dict(gpu.refused),
                    "call_us": {field: round(cost.mean_us, 1) for field, cost in gpu.costs.items()},
                    "call_max_us": {field: round(cost.max_ns / 1e3, 1) for field, cost in gpu.costs.items()},
                    "calls": {field: cost.calls for field, cost in gpu.costs.items()},
                }
                for name, gpu in self._gpus.items()
            },
        }

    def close(self) -> None:
        self._stack.close()

    def _foreign(self, found: tuple[GpuProcess, ...] | None) -> dict[str, float | None]:
        """Count processes on the GPU that are not of this run, and those whose numbers mean nothing here.

        A container may be told numbers of the host: whose process that is cannot be seen from within.
        """
        if found is None:
            return {"foreign_processes": None, "hidden_processes": None}
        there = [process.pid for process in found if Path(f"/proc/{process.pid}").exists()]
        foreign = sum(not self._is_ours(pid) for pid in there)
        return {"foreign_processes": foreign, "hidden_processes": len(found) - len(there)}

    def _own(self, gpu: str, found: tuple[GpuProcess, ...]) -> dict[str, float | None]:
        """Return the memory of the workers that are on a GPU; none in a container that is told numbers of the host."""
        sizes = {process.pid: process.memory_bytes for process in found}
        return {f"{WORKER_MEMORY}:{gpu}:{label}": sizes[pid] for label, pid in self._workers.items() if pid in sizes}

    def _is_ours(self, pid: int) -> bool:
        """Say whether a process is a worker of this run or descends from what has started this process."""
        run = os.getppid()
        while pid > 1:
            if pid == run or pid in self._workers.values():
                return True
            pid = _parent(pid)
        return False


def _wanted(visible: list[Device], numbers: list[int]) -> dict[str, Device]:
    """Return the GPUs of the run by their names; `visible` are those that CUDA sees, in its order.

    Raises:
        NvmlError: One of them is not there.
    """
    found = {}
    for number in numbers:
        name = str(DeviceName(CUDA, number))
        if number >= len(visible):
            raise NvmlError(f"there is no {name}: CUDA sees {len(visible)} GPUs here", hint="nvidia-smi -L lists them")
        found[name] = visible[number]
    if not found:
        raise NvmlError("no case runs on a GPU", hint="leave `nvml` out of `samplers`")
    return found


def _parent(pid: int) -> int:
    """Return the number of a process's parent; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
