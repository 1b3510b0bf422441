"""What the errors of CUDA are for benchfw. The driver's interface and the runtime's have the same numbers.

Needs no CUDA: both of benchfw's ways to it ask here.
"""

from __future__ import annotations

from benchfw.errors import BackendError, DeviceLost, MissingDependency, OutOfMemory

_OUT_OF_MEMORY = 2
_ABSENT = frozenset({3, 34, 35, 46, 100, 101, 802, 803, 804})
"""No driver, one that is too old or not the libraries' own, no device, none of this number, or one that is reserved."""
_LOST = frozenset({214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911})
"""Errors of what ran on the device, after which "any further CUDA work will return the same error" (cuda.h), and memory
errors of its hardware."""


def cuda_error(code: int, text: str) -> BackendError:
    """Return the error to raise for a failure of CUDA.

    Args:
        code: Its number, a `CUresult` or a `cudaError_t`; not 0.
        text: What failed, with the error's name.

    Returns:
        `OutOfMemory`; `MissingDependency`, where CUDA cannot be used on this machine; `DeviceLost`, where this process
        cannot use it any more; `BackendError` for all others.
    """
    if code == _OUT_OF_MEMORY:
        return OutOfMemory(text)
    if code in _ABSENT:
        return MissingDependency(text, hint="this needs an NVIDIA GPU and its driver")
    if code in _LOST:
        return DeviceLost(text, hint="the log of its worker may say more")
    return BackendError(text)
