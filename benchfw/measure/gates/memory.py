"""V04: what changes or grows within measured blocks. W23: what stays on a device once all is closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchfw.measure.blocks import Block
from benchfw.measure.gates import Finding, GateFailed

_LEAST_BLOCKS = 8
_OBJECTS_PER_LAUNCH = 0.5
_OBJECTS_PER_BLOCK = 20
"""What the worker itself may come to hold while it counts; measured, it is -60 to 0."""
_BYTES_PER_LAUNCH = 256
_LEAST_BYTES = 4 << 20
_GROWING_SHARE = 0.75
LEFT_BYTES = 64 << 20
"""Less can be the libraries': code of kernels that a new shape needs, a workspace. They keep it for the process."""


def check_changes(changes: Mapping[str, int]) -> None:
    """Look at what the backend counted within one measured block.

    Raises:
        GateFailed: It compiled, captured or rebuilt, or garbage was collected.
    """
    found = ", ".join(f"{count} {name}" for name, count in changes.items() if count)
    if found:
        raise GateFailed(
            "V04",
            f"within a measured block: {found}",
            value=sum(changes.values()),
            threshold=0,
            hint="the shapes were warmed up; something else made the backend change",
        )


def check_growth(blocks: Sequence[Block]) -> None:
    """Look whether memory grew with every launch, over the second half of the measured blocks.

    The first half is for pools that grow to their size. Growth in a few jumps is no leak of launches.

    Raises:
        GateFailed: Python's objects, or the resident memory, grew.
    """
    half = blocks[len(blocks) // 2 :]
    if len(half) < _LEAST_BLOCKS:
        return
    launches = sum(block.n for block in half)
    objects = sum(block.counters["objects"] - _OBJECTS_PER_BLOCK for block in half) / launches
    if objects > _OBJECTS_PER_LAUNCH:
        raise GateFailed(
            "V04",
            f"every launch left {objects:.1f} memory blocks of Python behind",
            value=objects,
            threshold=_OBJECTS_PER_LAUNCH,
            hint="the plugin keeps what it should drop: allocate in bind, not in launch",
        )
    grown = [block.counters["rss_bytes"] for block in half]
    share = sum(growth > 0 for growth in grown) / len(grown)
    per_launch = sum(grown) / launches
    if share >= _GROWING_SHARE and sum(grown) >= _LEAST_BYTES and per_launch > _BYTES_PER_LAUNCH:
        raise GateFailed(
            "V04",
            f"the worker's memory grew by {per_launch:.0f} bytes with every launch",
            value=per_launch,
            threshold=_BYTES_PER_LAUNCH,
            hint="the framework or the plugin leaks: allocate in bind, not in launch",
        )


def left(left_bytes: int, all_left_bytes: int) -> Finding | None:
    """W23: memory of the device did not come back when the case was closed.

    Args:
        left_bytes: What the case had taken and not given back.
        all_left_bytes: The same of all cases that were closed then: those of one worker share the allocator of their
            framework, so that one can keep what another one gives back.
    """
    if min(left_bytes, all_left_bytes) <= LEFT_BYTES:
        return None
    text = (
        f"closing it left {left_bytes / (1 << 20):.0f} MiB of device memory taken: the plugin's `close` keeps what it "
        "should free, or the framework does; other cases of its worker have so much less"
    )
    return Finding("W23", left_bytes, LEFT_BYTES, text)
