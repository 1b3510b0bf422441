"""Holds the clocks of the GPUs of a run, if that was asked for, and lets them go again whatever happens."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from typing import Any

from benchfw.errors import NvmlError, UsageError
from benchfw.executors.workers import BUS_ORDER
from benchfw.gpu.nvml import Device, open_nvml
from benchfw.spec.device import CUDA, DeviceName, cuda_numbers


@contextlib.contextmanager
def locked_clocks(
    mhz: int | None, devices: Collection[str], notify: Callable[[str], None], module: Any = None
) -> Iterator[dict[str, Any]]:
    """Lock the SM clock of GPUs for the length of a `with` block.

    A process that is killed by SIGKILL leaves them locked: `nvidia-smi -rgc` lets them go.

    Args:
        mhz: The clock; None to do nothing at all.
        devices: What the run measures on.
        notify: Told what is done.
        module: Takes the place of `pynvml`.

    Yields:
        What the manifest shall tell, also of the end.

    Raises:
        UsageError: No case runs on a GPU.
        NvmlError: This user may not, or the GPU cannot; nothing has been changed.
    """
    facts: dict[str, Any] = {}
    if mhz is None:
        yield facts
        return
    numbers = cuda_numbers(devices)
    if not numbers:
        raise UsageError("--lock-clocks was given, and no case runs on a GPU", hint="leave it out")
    with open_nvml(module) as nvml, contextlib.ExitStack() as stack:
        visible = nvml.visible({**BUS_ORDER, **os.environ})
        for number in numbers:
            if number >= len(visible):
                raise NvmlError(f"there is no cuda:{number} to lock the clock of", hint="nvidia-smi -L lists GPUs")
            gpu = visible[number]
            gpu.lock_clocks(mhz)
            told = facts[str(DeviceName(CUDA, number))] = {"locked_mhz": mhz, "restored": None}
            stack.callback(_release, gpu, told, notify)
        notify(f"clocks are locked at {mhz} MHz; if this run is killed: sudo nvidia-smi -rgc")
        yield facts


def _release(gpu: Device, facts: dict[str, Any], notify: Callable[[str], None]) -> None:
    try:
        gpu.unlock_clocks()
        facts["restored"] = True
    except NvmlError as error:
        facts["restored"] = False
        notify(f"warning: {error.message}; sudo nvidia-smi -i {gpu.index} -rgc")
