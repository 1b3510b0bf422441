"""NVIDIA GPUs through NVML, NVIDIA's management library.

    with open_nvml() as nvml:
        for index in range(nvml.count):
            device = nvml.device(index)
            values = device.read("name", "temperature_c")  # None where NVML refuses; device.refused says why

A device refuses what it does not have (a GeForce its ECC, a MIG slice its utilisation): that is None and a reason. What
makes every answer worthless, such as a GPU that is lost, is a `NvmlError`. NVML's own errors do not leave this package,
`benchfw.gpu.codes` says what each of them means. Runs in the sampler process too: stdlib, nvidia-ml-py, CPython 3.10.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

from benchfw.errors import NoDriver, NvmlError
from benchfw.gpu.codes import LIBRARY_NOT_FOUND, NO_PERMISSION, Consequence, code_of
from benchfw.gpu.fields import FIELDS, OF_A_SLICE
from benchfw.gpu.fields import Process as Process

MODULE_VARIABLE = "BENCHFW_NVML"
"""`package.module:function` that returns what is called in place of `pynvml`; for tests."""


@dataclass
class Cost:
    """What the calls for one field took.

    Attributes:
        calls: How many there were.
        total_ns, max_ns: All of them together, and the longest.
    """

    calls: int = 0
    total_ns: int = 0
    max_ns: int = 0

    def note(self, ns: int) -> None:
        self.calls, self.total_ns, self.max_ns = self.calls + 1, self.total_ns + ns, max(self.max_ns, ns)

    @property
    def mean_us(self) -> float:
        return self.total_ns / 1e3 / max(1, self.calls)


class Device:
    """One GPU, or one MIG slice of it.

    Attributes:
        index: Its number in NVML's order, which need not be CUDA's: compare UUIDs.
        slice: It is a MIG slice: clocks, power, temperature and counters are those of the whole GPU.
        refused: Why a field was None when it was last read, by its name.
        costs: What calls took, by the field's name; failed ones count as well.
    """

    def __init__(self, nvml: Any, index: int, handle: Any, slice_: Any = None) -> None:
        self.index = index
        self.slice = slice_ is not None
        self.refused: dict[str, str] = {}
        self.costs: dict[str, Cost] = {}
        self._nvml = nvml
        self._handle = handle
        self._slice = slice_
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
        before = perf_counter_ns()
        try:
            value = FIELDS[name](self._nvml, self._slice if self.slice and name in OF_A_SLICE else self._handle)
        except AttributeError as error:  # an nvidia-ml-py that is older than the call
            self.refused[name] = f"nvidia-ml-py lacks it: {error}"
            self._lasting.add(name)
            return None
        except self._nvml.NVMLError as error:
            code = _code(error)
            consequence = code_of(code).consequence
            if consequence is Consequence.FATAL:
                raise _translated(f"GPU {self.index}", error) from error
            self.refused[name] = f"{error} (code {code})"
            if consequence is Consequence.NULL:
                self._lasting.add(name)
            return None
        finally:
            self.costs.setdefault(name, Cost()).note(perf_counter_ns() - before)
        self.refused.pop(name, None)
        return value

    def lock_clocks(self, mhz: int) -> None:
        """Hold the graphics and SM clock at so many MHz, which the driver would else round without a word.

        Raises:
            NvmlError: It is none of the GPU's steps, this user may not, or the GPU cannot.
        """
        steps = self._clock_steps()
        if steps and mhz not in steps:
            nearest = sorted(sorted(steps, key=lambda step: abs(step - mhz))[:2])
            raise NvmlError(
                f"GPU {self.index} has no clock of {mhz} MHz, its steps are {min(steps)} to {max(steps)} MHz",
                hint=f"the nearest: {' or '.join(map(str, nearest))}",
            )
        try:
            self._nvml.nvmlDeviceSetGpuLockedClocks(self._handle, mhz, mhz)
        except self._nvml.NVMLError as error:
            failure = _translated(f"the clock of GPU {self.index} cannot be locked", error)
            if failure.code == NO_PERMISSION:
                failure.hint = (
                    "only who has CAP_SYS_ADMIN of the machine may, as root has outside of containers; "
                    "`benchfw doctor` says what this process lacks. A lock that nvidia-smi -lgc has set before holds "
                    "too, but NVML does not tell it: the rows of such a run say `floating` like any others"
                )
            raise failure from error

    def _clock_steps(self) -> set[int]:
        """Return the graphics clocks beside the fastest memory clock, in MHz; none if the GPU does not tell."""
        try:
            memory = max(self._nvml.nvmlDeviceGetSupportedMemoryClocks(self._handle), default=0)
            return set(self._nvml.nvmlDeviceGetSupportedGraphicsClocks(self._handle, memory))
        except self._nvml.NVMLError as error:
            if code_of(_code(error)).consequence is Consequence.FATAL:
                raise _translated(f"GPU {self.index}", error) from error
            return set()

    def unlock_clocks(self) -> None:
        """Let the clock float again, also where it was locked before, which NVML does not tell.

        Raises:
            NvmlError: As `lock_clocks`.
        """
        try:
            self._nvml.nvmlDeviceResetGpuLockedClocks(self._handle)
        except self._nvml.NVMLError as error:
            raise _translated(f"the clock of GPU {self.index} cannot be released", error) from error


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

    def visible(self, environ: Mapping[str, str] = os.environ) -> list[Device]:
        """Return the GPUs that CUDA sees in an environment, in its order: the first one is `cuda:0`.

        `CUDA_VISIBLE_DEVICES` names them by UUID or number. CUDA counts the fastest GPU first unless
        `CUDA_DEVICE_ORDER=PCI_BUS_ID`, and NVML cannot know which one that is; so numbers count only where they mean
        one thing. As CUDA does, it stops at the first name that is none.

        Raises:
            NvmlError: There are several GPUs and only numbers, and their order is not that of the bus.
        """
        gpus = self._by_bus()
        names = environ.get("CUDA_VISIBLE_DEVICES")
        by_uuid = names is not None and not any(name.strip().isdecimal() for name in names.split(","))
        if len(gpus) > 1 and not by_uuid and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            raise NvmlError(
                "which GPU is cuda:0 cannot be told: CUDA counts the fastest one first",
                hint="export CUDA_DEVICE_ORDER=PCI_BUS_ID, or name UUIDs in CUDA_VISIBLE_DEVICES (nvidia-smi -L)",
            )
        if names is None:
            return gpus
        found: list[Device] = []
        for name in map(str.strip, names.split(",")):
            device = self._named(name, gpus)
            if device is None:
                break
            found.append(device)
        return found

    def _by_bus(self) -> list[Device]:
        """Return the GPUs that can be opened, in the order of their places on the bus."""
        found = []
        for index in range(self.count):
            with contextlib.suppress(NvmlError):  # the others go on
                device = self.device(index)
                found.append((device.read("pci_bus_id")["pci_bus_id"] or "", index, device))
        return [device for _, _, device in sorted(found, key=lambda item: item[:2])]

    def _named(self, name: str, gpus: list[Device]) -> Device | None:
        if name.isdecimal():
            return gpus[int(name)] if int(name) < len(gpus) else None
        if name.startswith("MIG-"):
            return self._mig(name)
        fits = [gpu for gpu in gpus if name.startswith("GPU-") and (gpu.read("uuid")["uuid"] or "").startswith(name)]
        return fits[0] if len(fits) == 1 else None

    def _mig(self, uuid: str) -> Device | None:
        try:
            slice_ = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
            whole = self._nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(slice_)
            return Device(self._nvml, self._nvml.nvmlDeviceGetIndex(whole), whole, slice_)
        except self._nvml.NVMLError:
            return None


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
    path, _, function = os.environ.get(MODULE_VARIABLE, "").partition(":")
    if path:
        return getattr(importlib.import_module(path), function)()
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise NvmlError(f"pynvml cannot be imported: {error}", hint="pip install nvidia-ml-py") from error


def _code(error: Any) -> int:
    return int(error.value)


def _translated(what: str, error: Any) -> NvmlError:
    """Return an error of ours for one of NVML's: its words and number, and what to do."""
    code = _code(error)
    kind = NoDriver if code == LIBRARY_NOT_FOUND else NvmlError
    return kind(f"{what}: {error} (NVML code {code})", hint=code_of(code).remedy, code=code)
