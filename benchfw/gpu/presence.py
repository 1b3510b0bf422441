"""Is there a GPU? Told without its driver, which takes a while to ask, and need not be installed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_NODES = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/nvhost-ctrl"))
"""What the drivers of NVIDIA make: on Linux, under WSL, on Jetson."""


def has_gpu(nodes: Iterable[Path] = _NODES) -> bool:
    """Say whether this machine, or container, has a GPU of NVIDIA; if it can be used shows when it is."""
    return any(node.exists() for node in nodes)
