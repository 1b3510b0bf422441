"""From readings of NVML to what was seen of a GPU while a case was measured: all of it can be computed from the tables.

Readings are told apart by time: what was read within a measured block of a case is the case's. Counters are read before
and after each block, outside of it.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.measure.gates.gpu import CAUSES, THERMAL, GpuEvidence

SAMPLER = "nvml"
ENERGY_STEP_S = 0.1
"""The energy counter of a GPU changes this often (measured on an H100; up to 0.1 s elsewhere)."""
HELD_S = 1.3
"""Utilisation is that of the last second at most: so long must all workers be held for it to tell of others."""
_BITS = {"power_cap": 0x4, "sync_boost": 0x10, "sw_thermal": 0x20, "hw_thermal": 0x48, "power_brake": 0x80}
"""Of `nvmlClocksEventReason…`, for GPUs without counters."""
_HELD_BITS = functools.reduce(operator.or_, _BITS.values())
"""Any of them: something holds the clock down."""
_IDLE_BIT, _SET_BITS = 0x1, 0x2 | 0x100
"""The GPU idles; somebody has set its clock, as application clocks (`nvidia-smi -ac`) or that of a display."""
_HELD_TAIL_NS = 250_000_000
_POWER_LAG_NS = 1_000_000_000
"""Power readings are means of the last second from Ampere on."""

Spans = NDArray[np.int64]
"""Beginnings and ends in ns, [spans, 2], in the order of time, none of which overlap."""


class Series:
    """The readings of one GPU.

    Args:
        rows: Rows of `telemetry`, in time order.
        device: The GPU, as CUDA counts: `cuda:0`; of a worker with its session, `cuda:0:ann-fp32`.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], device: str) -> None:
        found: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            name, _, of = row["field"].partition(":")
            if row["sampler"] == SAMPLER and of == device and row["value"] == row["value"]:
                found.setdefault(name, []).append((row["time_ns"], row["value"]))
        self._times = {name: np.array([time for time, _ in each], np.int64) for name, each in found.items()}
        self._values = {name: np.array([value for _, value in each]) for name, each in found.items()}

    def within(self, field: str, spans: Spans) -> NDArray[np.float64]:
        """Return the values of a field that were read within spans."""
        if field not in self._times or not len(spans):
            return np.empty(0)
        place = np.searchsorted(spans[:, 0], self._times[field], side="right") - 1
        inside = (place >= 0) & (self._times[field] <= spans[np.maximum(place, 0), 1])
        values: NDArray[np.float64] = self._values[field][inside]
        return values

    def grown(self, field: str, spans: Spans) -> tuple[float, float] | None:
        """Return by how much a counter grew over spans, and the seconds between the readings around them.

        None if one of them has no reading before or after it.
        """
        if field not in self._times or not len(spans):
            return None
        times, values = self._times[field], self._values[field]
        before = np.searchsorted(times, spans[:, 0], side="right") - 1
        after = np.searchsorted(times, spans[:, 1])
        if (before < 0).any() or (after >= len(times)).any():
            return None
        growth = np.maximum(values[after] - values[before], 0.0)
        return float(growth.sum()), float((times[after] - times[before]).sum()) / 1e9


def latest(rows: Sequence[Mapping[str, Any]], device: str, fields: Collection[str], since_ns: int) -> dict[str, float]:
    """Return the last values of fields of a GPU that were read since then; what was not, or is null, is left out.

    Args:
        rows: Rows of `telemetry`, in time order; only those since then are looked at.
        device: The GPU, as CUDA counts.
        fields: Their names.
        since_ns: The time.
    """
    found: dict[str, float] = {}
    for row in reversed(rows):
        if row["time_ns"] < since_ns or len(found) == len(fields):
            break
        name, _, of = row["field"].partition(":")
        if row["sampler"] == SAMPLER and of == device and name in fields and row["value"] == row["value"]:
            found.setdefault(name, float(row["value"]))
    return found


def is_held(reasons: int) -> bool:
    """Say whether a clock is below its largest value for another reason than that the GPU idles.

    Args:
        reasons: Bits `nvmlClocksEventReason…`.
    """
    return bool(reasons & _HELD_BITS or (reasons & _SET_BITS and not reasons & _IDLE_BIT))


def heat(rows: Sequence[Mapping[str, Any]], devices: Collection[str], since_ns: int) -> str | None:
    """Return what of `THERMAL` held the clock of one of these GPUs since then; None if nothing did.

    Args:
        rows: Rows of `telemetry`, in time order; only those since then are looked at.
        devices: As CUDA counts.
        since_ns: The time.
    """
    recent = list(itertools.takewhile(lambda row: row["time_ns"] >= since_ns, reversed(rows)))[::-1]
    for device in devices:
        series, span = Series(recent, device), np.array([[since_ns, np.iinfo(np.int64).max]])
        bits = series.within("reasons", span).astype(np.int64)
        for name in THERMAL:
            values = series.within(name, span)
            counted = len(values) > 1  # else the bits of the readings say so
            if values[-1] > values[0] if counted else (bits & _BITS[name]).any():
                return name
    return None


def evidence(
    rows: Iterable[Mapping[str, Any]],
    device: str,
    facts: Mapping[str, Any],
    *,
    measured: Spans,
    stretch: tuple[Spans, int] | None = None,
    held: Spans | None = None,
    locked_mhz: int | None = None,
    session: str = "",
) -> GpuEvidence:
    """Return what was seen of the GPU of a case.

    Args:
        rows: Rows of `telemetry`, in time order.
        device: The GPU, as CUDA counts.
        facts: Of it, see `NvmlSampler.facts`.
        measured: The measured blocks of the case.
        stretch: One span of blocks of the case alone, and how many samples were computed in it.
        held: Spans in which all workers were held.
        locked_mhz: The clock that the run has locked.
        session: Whose worker measured the case.
    """
    rows = list(rows)
    series, own = Series(rows, device), Series(rows, f"{device}:{session}")
    sm, memory = series.within("sm_clock", measured), series.within("memory_clock", measured)
    power, energy = _energy(series, stretch) if stretch and facts.get("scope") == "gpu" else (None, None)
    return GpuEvidence(
        device=device,
        facts=facts,
        asked_mhz=locked_mhz or facts.get("sm_max_mhz"),
        sm_mhz=_of(np.median, sm),
        sm_min_mhz=_of(np.min, sm),
        memory_mhz=_of(np.median, memory),
        memory_min_mhz=_of(np.min, memory),
        temperature_c=_of(np.max, series.within("temperature", measured)),
        shares=_shares(series, measured),
        power_w=power,
        energy_j=energy,
        worker_bytes=_whole(own.within("worker_memory", _all(measured))),
        foreign=_whole(series.within("foreign_processes", _all(measured))),
        idle_busy=None if held is None or not len(held) else _of(np.max, series.within("busy", _tails(held))),
    )


def _shares(series: Series, measured: Spans) -> dict[str, float]:
    """Return the shares of the time in which something held the clock down: by counters, else of the readings."""
    found = {name: series.grown(name, measured) for name in CAUSES}
    counted = {name: min(1.0, pair[0] / pair[1]) for name, pair in found.items() if pair and pair[1]}
    if counted:
        return counted
    bits = series.within("reasons", measured).astype(np.int64)
    return {name: float((bits & mask != 0).mean()) for name, mask in _BITS.items()} if len(bits) else {}


def _energy(series: Series, stretch: tuple[Spans, int]) -> tuple[float | None, tuple[float, float, float] | None]:
    """Return mean power and the energy of one sample of a stretch, with the interval that the counter's steps leave.

    Both readings of the counter are up to one step old, so that their difference is off by at most one step of energy.
    """
    span, samples = stretch
    grown = series.grown("energy", span)
    if grown is None or not grown[0] or not samples:
        late = np.array([[min(span[0, 0] + _POWER_LAG_NS, span[0, 1]), span[0, 1]]])
        return _of(np.mean, series.within("power", late)), None
    joules, seconds = grown
    watts = joules / seconds
    off = watts * ENERGY_STEP_S
    return watts, (joules / samples, (joules - off) / samples, (joules + off) / samples)


def _all(measured: Spans) -> Spans:
    """Return the span from the first measured block to the last, with some room: counters are read around blocks."""
    if not len(measured):
        return measured
    return np.array([[measured[0, 0], measured[:, 1].max() + _HELD_TAIL_NS]])


def _tails(held: Spans) -> Spans:
    return np.stack([np.maximum(held[:, 0], held[:, 1] - _HELD_TAIL_NS), held[:, 1]], axis=1)


def _of(statistic: Any, values: NDArray[np.float64]) -> float | None:
    return float(statistic(values)) if len(values) else None


def _whole(values: NDArray[np.float64]) -> int | None:
    return int(values.max()) if len(values) else None
