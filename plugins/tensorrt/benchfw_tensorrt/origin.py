"""What an engine belongs to: a version of TensorRT, a GPU, a driver. Known from its side-car before it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from benchfw.errors import BuildFailed

DISTRIBUTIONS = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu11")
"""Names under which TensorRT is installed, and no other of its kind beside it."""

_AMPERE = (8, 0)
_REBUILD = "build it again; the cache does so by itself"


def distribution() -> str:
    """Return the distribution that TensorRT comes from; empty where it was not installed by pip."""
    for name in DISTRIBUTIONS:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return name
    return ""


def check_origin(made: Mapping[str, Any], here: Mapping[str, str]) -> None:
    """Refuse an engine that belongs elsewhere, in one sentence.

    Args:
        made: `meta` of the engine: `version`, `gpu`, `compute_capability`, `driver`, `flags`, `hardware_compatibility`.
        here: The same of this process: `version`, `gpu`, `compute_capability`, `driver`.

    Raises:
        BuildFailed: Made by another TensorRT, on another GPU or with another driver.
    """
    problem = _version(made, here) or _gpu(made, here) or _driver(made, here)
    if problem:
        raise BuildFailed(problem, hint=_REBUILD)


def _version(made: Mapping[str, Any], here: Mapping[str, str]) -> str:
    then, now = str(made.get("version")), here["version"]
    portable = "VERSION_COMPATIBLE" in made.get("flags", ()) and _numbers(then)[:1] == _numbers(now)[:1]
    if then == now or (portable and _numbers(then) <= _numbers(now)):
        return ""
    return f"the engine was made by TensorRT {then}, and only that version can load it; here is {now}"


def _gpu(made: Mapping[str, Any], here: Mapping[str, str]) -> str:
    then, now = made.get("compute_capability"), here["compute_capability"]
    level = made.get("hardware_compatibility")
    if level == "AMPERE_PLUS" and _numbers(now) >= _AMPERE:
        return ""
    if then == now and (made.get("gpu") == here["gpu"] or level == "SAME_COMPUTE_CAPABILITY"):
        return ""
    return f"the engine was made on {made.get('gpu')} ({then}), for which it is tuned; here is {here['gpu']} ({now})"


def _driver(made: Mapping[str, Any], here: Mapping[str, str]) -> str:
    if made.get("driver") == here["driver"]:
        return ""
    return f"the engine was made with the driver {made.get('driver')}, here is {here['driver']}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
