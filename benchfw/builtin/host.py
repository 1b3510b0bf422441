"""How the machine as a whole is doing, and how much memory the workers hold. Imported in the sampler process alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import psutil

from benchfw.errors import MissingDependency
from benchfw.spec.sampler import Sampler

_UNITS = {
    "load_1min": "tasks",
    "cpu_busy": "ratio",
    "cpu_steal": "ratio",
    "memory_available": "bytes",
    "memory_pressure_10s": "ratio",
    "cpu_freq_mean": "MHz",
    "temperature_max": "°C",
}
_SLOW_EVERY = 10
"""Clock and temperature are in every tenth reading: psutil opens several files per core or sensor for them, which on a
machine with many cores costs more than everything else together, and they change slowly."""
_MAX_C = 200
"""A sensor that shows more, or frost, is switched off or broken."""
_PRESSURE = Path("/proc/pressure/memory")


class HostSampler(Sampler):
    """Load, CPU time, memory, clock and temperature of the machine, and the resident memory of each worker."""

    def __init__(self) -> None:
        self._times: tuple[float, ...] = ()
        self._workers: dict[str, psutil.Process] = {}
        self._readings = 0

    def open(self) -> Mapping[str, str]:
        try:
            self._ratios()
        except Exception as error:  # whatever psutil makes of a machine that hides it
            raise MissingDependency(f"psutil cannot read the CPU times of this machine: {error}") from error
        return _UNITS

    def watch(self, processes: Mapping[str, int]) -> Mapping[str, str]:
        self._workers = {}
        for label, pid in processes.items():
            try:
                self._workers[f"rss:{label}"] = psutil.Process(pid)
            except psutil.Error:  # it has ended already
                continue
        return dict.fromkeys(self._workers, "bytes")

    def sample(self) -> Mapping[str, float | None]:
        busy, steal = self._ratios()
        figures: dict[str, float | None] = {
            "load_1min": psutil.getloadavg()[0],
            "cpu_busy": busy,
            "cpu_steal": steal,
            "memory_available": psutil.virtual_memory().available,
            "memory_pressure_10s": _pressure(),
        }
        if self._readings % _SLOW_EVERY == 0:
            figures |= {"cpu_freq_mean": _clock(), "temperature_max": _temperature()}
        self._readings += 1
        return figures | self._memory()

    def _ratios(self) -> tuple[float | None, float | None]:
        """Return which shares of the CPU time since the last call were work and were taken by the hypervisor.

        The kernel counts in ticks of 10 ms or so: over 100 ms, one core has ten of them.
        """
        before, times = self._times, psutil.cpu_times()
        # what guests take is in user and nice already
        parts = ("user", "nice", "system", "irq", "softirq", "steal", "idle", "iowait")
        self._times = tuple(getattr(times, part, 0.0) for part in parts)
        if not before:
            return None, None
        passed = [max(0.0, now - then) for now, then in zip(self._times, before)]
        total = math.fsum(passed)
        return (math.fsum(passed[:5]) / total, passed[5] / total) if total else (None, None)

    def _memory(self) -> dict[str, float | None]:
        """Return the resident memory of the workers that live; one that has ended is left out from now on."""
        figures: dict[str, float | None] = {}
        for field, process in list(self._workers.items()):
            try:
                rss = process.memory_info().rss
            except psutil.Error:
                rss = 0
            if rss:
                figures[field] = rss
            else:  # gone, or a zombie: its number may be another process's later
                del self._workers[field]
        return figures


def _pressure() -> float | None:
    """Return the share of the last 10 s in which some task waited for memory; psutil does not have it."""
    try:
        text = _PRESSURE.read_text()
        return float(text.partition("avg10=")[2].split()[0]) / 100
    except (OSError, ValueError, IndexError):
        return None


def _clock() -> float | None:
    """Return the mean clock of the cores in MHz; None where the machine does not show it."""
    try:
        clock = psutil.cpu_freq()
    except (AttributeError, OSError, ValueError, NotImplementedError):
        return None
    return clock.current if clock is not None and 0 < clock.current < math.inf else None


def _temperature() -> float | None:
    """Return the highest temperature that any sensor shows in °C; None without sensors."""
    try:
        sensors = psutil.sensors_temperatures()
    except (AttributeError, OSError, ValueError):
        return None
    shown = [entry.current for entries in sensors.values() for entry in entries]
    return max((value for value in shown if value is not None and 0 <= value <= _MAX_C), default=None)
