"""NVIDIA GPUs, as far as their driver tells."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchfw.doctor import permission
from benchfw.doctor.findings import DEADLINE_S, Check, Finding, Level
from benchfw.errors import NoDriver, NvmlError
from benchfw.gpu.nvml import Device, Nvml, open_nvml
from benchfw.gpu.sampler import TICK
from benchfw.worker.pace import COST_SHARE, MIN_PERIOD_NS

_GIB = 1 << 30
_HIDDEN = _GIB
"""An idle GPU has some megabytes in use, a desktop some hundred."""

_BETWEEN = ("counters", "memory_used_bytes", "processes", "energy_j")
_READS = 5
_DEAR_US = COST_SHARE * MIN_PERIOD_NS / 1e3
"""A reading that takes longer is more than telemetry may cost."""

_STUCK = Finding(
    "GPU",
    "NVML",
    "FAIL",
    f"the driver does not answer within {DEADLINE_S:.0f} s",
    "look for Xid messages: dmesg | grep -i xid; then reboot",
)


def checks(
    module: Any = None,
    *,
    deadline_s: float = DEADLINE_S,
    driver: dict[str, str | None] | None = None,
    process: Path = permission.THIS,
) -> list[Check]:
    """Return the checks of the GPUs.

    Args:
        module: Takes the place of `pynvml`.
        deadline_s: Seconds after which the driver counts as stuck.
        driver: Filled with what other checks want to know of the driver: `cuda`, the newest version that it serves, and
            nothing where no GPU is visible.
        process: Where the kernel tells of this process.
    """
    return [Check("GPU", "NVML", functools.partial(_look, module, driver, process), deadline_s, late=_STUCK)]


def _look(module: Any, driver: dict[str, str | None] | None, process: Path) -> Iterator[Finding]:
    try:
        with open_nvml(module) as nvml:
            if driver is not None and nvml.count:
                driver["cuda"] = nvml.cuda
            yield from _driver(nvml)
            if nvml.count:
                yield _finding("clocks", "OK", permission.to_lock_clocks(process))
            for index in range(nvml.count):
                yield from _gpu(nvml, index)
    except NoDriver:
        yield _finding("NVML", "OK", "no NVIDIA driver: GPU backends cannot run here")
    except NvmlError as error:
        yield _finding("NVML", "FAIL", error.message, error.hint or "")


def _driver(nvml: Nvml) -> Iterator[Finding]:
    text = f"{nvml.driver or 'of unknown version'}, CUDA up to {nvml.cuda or 'unknown'}"
    if nvml.count:
        yield _finding("driver", "OK", text)
    else:
        remedy = "in a container: --gpus all; else look whether it is there: lspci | grep -i nvidia"
        yield _finding("driver", "WARN", f"{text}, but no GPU is visible", remedy)


def _gpu(nvml: Nvml, index: int) -> Iterator[Finding]:
    try:
        device = nvml.device(index)
        facts = device.read()
    except NvmlError as error:
        yield _finding(f"GPU {index}", "FAIL", error.message, error.hint or "")
        return
    yield _finding(f"GPU {index}", "OK", _summary(facts))
    yield _finding(f"GPU {index}", "OK", _modes(facts))
    yield from _state(index, facts)
    yield from _others(index, facts)
    yield from _calls(device)
    if device.refused:
        yield _finding(f"GPU {index}", "OK", f"does not tell: {_refused(device)}")


def _summary(facts: dict[str, Any]) -> str:
    parts = [facts["name"] or "without a name"]
    if facts["memory_total_bytes"] is not None:
        parts.append(f"{facts['memory_total_bytes'] / _GIB:.1f} GiB")
    if facts["temperature_c"] is not None:
        parts.append(f"{facts['temperature_c']} °C")
    if None not in (facts["power_w"], facts["power_limit_w"]):
        parts.append(f"{facts['power_w']:.0f} of {facts['power_limit_w']:.0f} W")
    if None not in (facts["sm_mhz"], facts["sm_max_mhz"]):
        parts.append(f"{facts['sm_mhz']} of {facts['sm_max_mhz']} MHz")
    return ", ".join([*parts, facts["uuid"] or "without a UUID"])


def _modes(facts: dict[str, Any]) -> str:
    """Describe what somebody has set: what changes the clock, what takes memory bandwidth, what takes time."""
    switches = ("persistence", "persistence mode"), ("ecc", "ECC"), ("mig", "MIG"), ("display", "display")
    states = {True: "on", False: "off", None: "unknown"}
    parts = [f"{text} {states[facts[name]]}" for name, text in switches]
    if None not in (facts["memory_mhz"], facts["memory_max_mhz"]):
        parts.append(f"memory clock {facts['memory_mhz']} of {facts['memory_max_mhz']} MHz")
    return ", ".join(parts)


def _calls(device: Device) -> Iterator[Finding]:
    """Yield what calls cost: those of one reading of telemetry, those between blocks, and what is asked once."""
    tick = [field for field, _ in TICK.values()]
    once = {name: us for name, us in _costs(device, device.costs).items() if name not in {*tick, *_BETWEEN}}
    try:
        for _ in range(_READS):
            device.read(*tick, *_BETWEEN)
    except NvmlError as error:
        yield _finding(f"GPU {device.index}", "FAIL", error.message, error.hint or "")
        return
    often, between = _costs(device, tick), _costs(device, _BETWEEN)
    total = sum(often.values())
    text = f"telemetry reads {len(often)} of {len(tick)} fields in {total:.0f} µs ten times per second"
    text += f": {_listed(often)}" if often else ""
    text += f"; between blocks {_listed(between)}" if between else ""
    if once:
        dearest = max(once, key=lambda name: once[name])
        text += f"; once {len(once)} calls in {sum(once.values()):.0f} µs, the dearest {dearest} {once[dearest]:.0f} µs"
    if total > _DEAR_US:
        remedy = 'it will be read more seldom; leave it out if that disturbs: samplers = ["host"]'
        yield _finding(f"GPU {device.index}", "WARN", text, remedy)
    else:
        yield _finding(f"GPU {device.index}", "OK", text)


def _costs(device: Device, names: Iterable[str]) -> dict[str, float]:
    """Return what a call for each field takes, in µs, of those that this GPU has."""
    return {name: device.costs[name].mean_us for name in names if name not in device.refused}


def _listed(costs: dict[str, float]) -> str:
    return ", ".join(f"{name} {us:.0f} µs" for name, us in costs.items())


def _state(index: int, facts: dict[str, Any]) -> Iterator[Finding]:
    """Yield what slows the GPU down or takes telemetry away."""
    name = f"GPU {index}"
    if facts["persistence"] is False:
        text = "persistence mode is off: the driver unloads when nobody uses the GPU, and forgets clocks that were set"
        yield _finding(name, "WARN", text, f"sudo nvidia-smi -i {index} -pm 1")
    if facts["mig"]:
        text = "MIG is on: there is no utilisation, and power, clocks and temperature are those of the whole GPU"
        yield _finding(name, "WARN", text, f"without anybody on it: sudo nvidia-smi -i {index} -mig 0")
    if facts["throttling"]:
        text = f"its clock is held down now: {', '.join(facts['throttling'])}"
        yield _finding(name, "WARN", text, f"let it cool or raise its limit: nvidia-smi -i {index} -q -d PERFORMANCE")
    if facts["ecc_uncorrected"]:
        text = f"{facts['ecc_uncorrected']} uncorrected memory errors since the driver was loaded: outputs may be wrong"
        yield _finding(name, "WARN", text, f"sudo nvidia-smi -i {index} --gpu-reset; if they come back, replace it")


def _others(index: int, facts: dict[str, Any]) -> Iterator[Finding]:
    """Yield who else is there. Processes are those of the host, and a container may see none of them."""
    name, remedy = f"GPU {index}", "end them, or choose another GPU: nvidia-smi"
    if facts["processes"]:
        known = ((item.pid, item.memory_bytes) for item in facts["processes"])
        each = (f"{pid}" if used is None else f"{pid} ({used / _GIB:.1f} GiB)" for pid, used in known)
        yield _finding(name, "WARN", f"others compute on it: process {', '.join(each)}", remedy)
    elif (facts["memory_used_bytes"] or 0) > _HIDDEN:
        used = facts["memory_used_bytes"] / _GIB
        yield _finding(name, "WARN", f"{used:.1f} GiB are in use by processes that are not visible from here", remedy)


def _refused(device: Device) -> str:
    return ", ".join(f"{name}: {reason}" for name, reason in device.refused.items())


def _finding(what: str, level: Level, text: str, remedy: str = "") -> Finding:
    return Finding("GPU", what, level, text, remedy)
