"""What a backend's table of a scenario says of its device, and of what is timed there."""

from __future__ import annotations

import itertools
import json
from typing import Literal

from benchfw.scenario.schema import BackendEntry, CachePolicy
from benchfw.spec.backend import BackendInfo
from benchfw.spec.device import CPU, DeviceName
from benchfw.worker.timing import Mode


def device_of(device: str | None, info: BackendInfo | None) -> str:
    """Return a device with its number; by default the CPU where the backend runs there, else its own."""
    devices = info.capabilities.devices if info else (CPU,)
    return str(DeviceName.parse(device or (CPU if CPU in devices else devices[0])))


def blocking_option(entry: BackendEntry, info: BackendInfo) -> str:
    """Return the option, as TOML has it, with which launches that would return early return complete; empty if none."""
    values = info.blocking_options.items()
    found = (f"{name} = {json.dumps(value)}" for name, value in values if entry.options.get(name, ...) == value)
    return next(found, "")


def returns_early(entry: BackendEntry, info: BackendInfo) -> bool:
    """Say whether launches on a device only enqueue, so that there are several ways to wait for them."""
    return info.capabilities.asynchronous and not blocking_option(entry, info)


def modes_of(entry: BackendEntry, info: BackendInfo | None, device: str, cache: CachePolicy) -> list[Mode]:
    """Return what is timed at each point of a sweep, a case each; `cache` is that of entries without one."""
    if device == CPU:
        return [Mode(cache=cache)]
    early = info is not None and returns_early(entry, info)
    waits: list[Literal["spin", "blocking"]] = (entry.sync or ["spin"]) if early else ["blocking"]
    scopes: list[Literal["device", "pinned"]] = entry.io_scope or ["device"]
    graphs: list[Literal["off", "on"]] = entry.graph or ["off"]
    return [
        Mode(io_scope=scope, graph=graph, sync=sync, cache=policy)
        for scope, graph, sync, policy in itertools.product(
            dict.fromkeys(scopes), dict.fromkeys(graphs), dict.fromkeys(waits), dict.fromkeys(entry.cache or [cache])
        )
    ]


def device_label(entry: BackendEntry, device: str, mode: Mode) -> str:
    """Return device and mode in a word: `cuda-device-graph`; empty on the CPU. What is usual is not said."""
    if device == CPU:
        return ""
    kind, number = DeviceName.parse(device)
    name = f"{kind}{number}" if ":" in (entry.device or "") else kind
    graph = "graph" if mode.graph == "on" else ""
    sync = "blocking" if mode.sync == "blocking" and "blocking" in (entry.sync or ()) else ""
    cache = "" if mode.cache == "rotate" else mode.cache
    return "-".join(filter(None, (name, mode.io_scope, graph, sync, cache)))
