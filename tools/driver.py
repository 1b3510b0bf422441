"""Prints 1 if the NVIDIA driver of this machine runs what `constraints-cuda.txt` pins, else 0, for `make` to heed.

Where there is a driver, or what looks like one, and it does not, stderr says why and what to do. Nothing is installed
when this runs: the standard library is all that it uses.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CUDA = 13
"""Major version of CUDA that the packages of `constraints-cuda.txt` were built for."""

DRIVER = 580
"""The first series of drivers that serves it."""

MODULE = Path("/proc/driver/nvidia/version")
"""Where the kernel's half of the driver says its version."""

_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_OTHERWISE = "Installing what runs on the CPU; `make CUDA=1` installs the rest all the same."


def refusal(
    load: Callable[[str], Any] = ctypes.CDLL,
    module: Path = MODULE,
    which: Callable[[str], str | None] = shutil.which,
) -> str | None:
    """Return why nothing for CUDA is to be installed; an empty text where there is no sign of a driver, None if it is.

    Args:
        load: Opens a shared library, as `ctypes.CDLL`.
        module: The file of the kernel's module.
        which: Finds a program on PATH.
    """
    try:
        driver = load("libcuda.so.1")
    except OSError as error:
        return _without_library(str(error), module, which)
    version = ctypes.c_int(0)
    if driver.cuDriverGetVersion(ctypes.byref(version)):
        return "libcuda.so.1 does not tell its version: is it the driver's? nvidia-smi tells"
    served = f"{version.value // 1000}.{version.value % 1000 // 10}"
    if version.value // 1000 < CUDA:
        return f"the driver serves CUDA up to {served}, and {CUDA}.0 is needed: driver {DRIVER} or later"
    failed = driver.cuInit(0)
    if failed == _NO_DEVICE:
        return "there is a driver, and no GPU that it shows: does CUDA_VISIBLE_DEVICES hide it?"
    return f"the driver does not start (cuInit: error {failed}): see nvidia-smi" if failed else None


def _without_library(error: str, module: Path, which: Callable[[str], str | None]) -> str:
    if module.exists():
        found = re.search(r"\b\d{3}\.\d+(\.\d+)?\b", module.read_text(errors="replace"))
        loaded = f"the kernel has NVIDIA's driver {found[0] if found else ''}".rstrip()
        return f"{loaded}, but {error}: start the container with --gpus all, or install the driver's libraries"
    if which("nvidia-smi"):
        return f"there is nvidia-smi, but {error}: does LD_LIBRARY_PATH name the folder of the driver's libraries?"
    return ""


def main() -> None:
    why_not = refusal()
    if why_not:
        print(f"{why_not}. {_OTHERWISE}", file=sys.stderr)
    print(int(why_not is None))


if __name__ == "__main__":
    main()
