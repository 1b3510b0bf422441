"""What an engine belongs to: a version of TensorRT, a GPU, a driver. Known from its side-car before it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from benchfw.errors import BuildFailed

DISTRIBUTIONS = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu11")
"""Names under which TensorRT is installed, and no other of its kind beside it."""

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
    """Refuse an engine that belongs elsewhere, in one sentence; also one that was made for others to load as well.

    Such an engine could be loaded, but the key of the cache has all of these too: what is measured here is built here.

    Args:
        made: `meta` of the engine: `version`, `gpu`, `compute_capability`, `driver`.
        here: The same of this process.

    Raises:
        BuildFailed: Made by another TensorRT, on another GPU or with another driver.
    """
    problem = _version(made, here) or _gpu(made, here) or _driver(made, here)
    if problem:
        raise BuildFailed(problem, hint=_REBUILD)


def _version(made: Mapping[str, Any], here: Mapping[str, str]) -> str:
    if made.get("version") == here["version"]:
        return ""
    return f"the engine was made by TensorRT {made.get('version')}; here is {here['version']}"


def _gpu(made: Mapping[str, Any], here: Mapping[str, str]) -> str:
    then, now = made.get("compute_capability"), here["compute_capability"]
    if then == now and made.get("gpu") == here["gpu"]:
        return ""
    return f"the engine was made on {made.get('gpu')} ({then}), for which it is tuned; here is {here['gpu']} ({now})"


def _driver(made: Mapping[str, Any], here: Mapping[str, str]) -> str:
    if made.get("driver") == here["driver"]:
        return ""
    return f"the engine was made with the driver {made.get('driver')}, here is {here['driver']}"
