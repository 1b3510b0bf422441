"""Machines as NVML tells of them, by the names that `BENCHFW_NVML` takes: `benchfw.testing.machines:throttled`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pynvml

from benchfw.testing.nvml import FakeGpu, FakeNvml


def throttled() -> FakeNvml:
    """Return a machine whose GPU is held down by its power limit, for the process that samples.

    `BENCHFW_NVML=benchfw.testing.machines:throttled`.
    """
    clocks = {0: (1470, 1980), 1: (1470, 1980), 2: (2619, 2619)}
    power_cap = pynvml.nvmlClocksEventReasonSwPowerCap
    return FakeNvml([FakeGpu(clocks=clocks, power_mw=(700_000, 700_000), reasons=power_cap, temperature=71)])


def absent() -> FakeNvml:
    """Return a machine without a driver, likewise."""
    return FakeNvml(errors={"nvmlInit": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND})


def hanging() -> FakeNvml:
    """Return a machine whose driver does not answer any more once the GPU has been opened, likewise."""
    return FakeNvml([FakeGpu()], hangs=["nvmlDeviceGetFieldValues"])


def two() -> FakeNvml:
    """Return a machine with two GPUs, likewise: the UUIDs are those of the fake devices 0 and 1."""
    uuid = "GPU-00000000-0000-0000-0000-00000000000"
    return FakeNvml([FakeGpu(uuid=f"{uuid}{number}", bus=f"00000000:0{number}:00.0") for number in range(2)])


def silent() -> FakeNvml:
    """Return a machine whose driver never answers, likewise."""
    return FakeNvml(hangs=["nvmlInit"])


class _Heating(FakeNvml):
    """Its GPU is too hot while the counters of throttling are read for the first few times."""

    def __init__(self, hot_reads: int) -> None:
        super().__init__([FakeGpu(clocks={0: (1980, 1980), 1: (1980, 1980), 2: (2619, 2619)})])
        self._hot_reads = hot_reads

    def nvmlDeviceGetFieldValues(self, handle: FakeGpu, fieldIds: Sequence[int]) -> list[Any]:
        self._hot_reads -= 1
        self.gpus[0].reasons = pynvml.nvmlClocksEventReasonSwThermalSlowdown if self._hot_reads > 0 else 0
        return super().nvmlDeviceGetFieldValues(handle, fieldIds)


class _Sagging(FakeNvml):
    """Its SM clock is 1605 MHz for two of ten readings of the counters of throttling, which are read between blocks."""

    _reads = 0

    def nvmlDeviceGetFieldValues(self, handle: FakeGpu, fieldIds: Sequence[int]) -> list[Any]:
        self._reads += 1
        sm = 1605 if self._reads % 10 in (8, 9) else 1980
        handle.clocks = {0: (sm, 1980), 1: (sm, 1980), 2: (2619, 2619)}
        return super().nvmlDeviceGetFieldValues(handle, fieldIds)


def sagging() -> FakeNvml:
    """Return a machine whose GPU runs below its clock now and then, likewise, as after work that a limit held down."""
    return _Sagging([FakeGpu(clocks={0: (1980, 1980), 1: (1980, 1980), 2: (2619, 2619)}, reasons=0)])


def hot_at_first() -> FakeNvml:
    """Return a machine whose GPU is too hot in the first rounds, likewise."""
    return _Heating(4)


def always_hot() -> FakeNvml:
    """Return a machine whose GPU is too hot all the time, likewise; its clock does not fall for that."""
    return _Heating(1 << 62)


def crowded() -> FakeNvml:
    """Return a machine where somebody else computes on the GPU as well, likewise."""
    return FakeNvml([FakeGpu(processes=[(1, 1 << 30)], busy=99)])


def losing() -> FakeNvml:
    """Return a machine whose GPU is lost after a while, likewise."""
    return FakeNvml([FakeGpu()], lost_after=60)


def sliced() -> FakeNvml:
    """Return a machine whose GPU is cut into slices, likewise: `CUDA_VISIBLE_DEVICES` names one as `MIG-…`."""
    return FakeNvml([FakeGpu(mig=True)])


def forbidden() -> FakeNvml:
    """Return a machine on which this user may not read energy and counters, likewise."""
    calls = "nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetFieldValues"
    return FakeNvml([FakeGpu(errors=dict.fromkeys(calls, pynvml.NVML_ERROR_NO_PERMISSION))])
