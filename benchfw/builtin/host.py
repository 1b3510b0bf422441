"""How the machine as a whole is doing, from /proc and /sys. Standard library alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from benchfw.errors import MissingDependency
from benchfw.spec.sampler import Sampler

_UNITS = {
    "load_1min": "tasks",
    "cpu_busy": "ratio",
    "cpu_steal": "ratio",
    "cpu_freq_mean": "MHz",
    "memory_available": "bytes",
    "memory_pressure_10s": "ratio",
    "temperature_max": "°C",
}
_MAX_BYTES = 1 << 15
_MAX_FILES = 16
"""Of the files that each core or sensor has, so many are read, evenly spread: each costs microseconds."""
_MAX_C = 200
"""A sensor that shows more, or frost, is switched off or broken."""


class HostSampler(Sampler):
    """Load, CPU time, clock, memory and temperature.

    Args:
        root: Where the file systems are.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc = root / "proc"
        self._devices = root / "sys/devices/system/cpu"
        self._class = root / "sys/class"
        self._clocks: list[Path] = []
        self._sensors: list[Path] = []
        self._times: tuple[float, ...] = ()

    def open(self) -> Mapping[str, str]:
        if not _read(self._proc / "stat"):
            raise MissingDependency(f"{self._proc / 'stat'} cannot be read: this machine does not tell what it does")
        self._clocks = _spread(self._devices.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        zones, chips = self._class.glob("thermal/thermal_zone*/temp"), self._class.glob("hwmon/hwmon*/temp*_input")
        self._sensors = _spread(zones) or _spread(chips)  # the zones are made of the chips
        self._ratios()
        return _UNITS

    def sample(self) -> Mapping[str, float | None]:
        busy, steal = self._ratios()
        kibibytes = _number(_word_after(self._proc / "meminfo", b"MemAvailable:"))
        percent = _number(_word_after(self._proc / "pressure/memory", b"some").removeprefix(b"avg10="))
        return {
            "load_1min": _number(_first(_read(self._proc / "loadavg").split())),
            "cpu_busy": busy,
            "cpu_steal": steal,
            "cpu_freq_mean": self._clock(),
            "memory_available": None if kibibytes is None else kibibytes * 1024,
            "memory_pressure_10s": None if percent is None else percent / 100,
            "temperature_max": max(self._temperatures(), default=None),
        }

    def _ratios(self) -> tuple[float | None, float | None]:
        """Return which shares of the CPU time since the last call were work and were taken by the hypervisor.

        The kernel counts in ticks of 10 ms or so: over 100 ms, one core has ten of them.
        """
        before, self._times = self._times, self._cpu_times()
        if not before or len(before) != len(self._times):
            return None, None
        passed = [max(0.0, now - then) for now, then in zip(self._times, before)]
        total = sum(passed)
        if not total:
            return None, None
        user, nice, system, _idle, _iowait, irq, softirq, steal = passed
        return (user + nice + system + irq + softirq) / total, steal / total

    def _cpu_times(self) -> tuple[float, ...]:
        """Return the ticks of all cores: user, nice, system, idle, iowait, irq, softirq, steal; empty if unknown.

        What guests take comes after them and is in user and nice already.
        """
        words = _read(self._proc / "stat").partition(b"\n")[0].split()
        times = [number for number in map(_number, words[1:9]) if number is not None]
        return tuple(times) if words[:1] == [b"cpu"] and len(times) == 8 else ()

    def _clock(self) -> float | None:
        """Return the mean clock in MHz: of cpufreq, which counts in kHz, or else what /proc/cpuinfo shows."""
        clocks = [number / 1e3 for number in map(_number, map(_read, self._clocks)) if number is not None]
        if not clocks:
            lines = (line.partition(b":") for line in _read(self._proc / "cpuinfo").splitlines(keepends=True))
            shown = (_number(text) for key, _, text in lines if key.strip() == b"cpu MHz" and text.endswith(b"\n"))
            clocks = [number for number in shown if number is not None]
        return math.fsum(clocks) / len(clocks) if clocks else None

    def _temperatures(self) -> Iterator[float]:
        for path in self._sensors:
            millidegrees = _number(_read(path))
            if millidegrees is not None and millidegrees <= _MAX_C * 1e3:
                yield millidegrees / 1e3


def _spread(paths: Iterable[Path]) -> list[Path]:
    """Return at most so many of some paths as are read, evenly spread."""
    there = sorted(paths)
    return there[:: math.ceil(len(there) / _MAX_FILES) or 1]


def _read(path: Path) -> bytes:
    """Return the beginning of a file; nothing where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(_MAX_BYTES) or b""
    except OSError:
        return b""


def _word_after(path: Path, key: bytes) -> bytes:
    """Return the first word behind a key that begins a line."""
    for line in _read(path).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == key:
            return words[1]
    return b""


def _first(words: list[bytes]) -> bytes:
    return words[0] if words else b""


def _number(text: bytes) -> float | None:
    """Return a finite number that is not below zero, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
