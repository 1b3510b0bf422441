"""Holds the clocks of the GPUs of a run, if that was asked for, and lets them go again whatever happens."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

from benchfw.errors import NvmlError, UsageError
from benchfw.executors.workers import BUS_ORDER
from benchfw.gpu.nvml import Device, Nvml, open_nvml
from benchfw.spec.device import CUDA, DeviceName, cuda_numbers

DEADLINE_S = 20.0
"""How long a driver may take to answer before it counts as stuck; locking takes milliseconds."""

_T = TypeVar("_T")
_Within = Callable[[Callable[[], Any]], Any]


@contextlib.contextmanager
def locked_clocks(
    mhz: int | None,
    devices: Collection[str],
    notify: Callable[[str], None],
    module: Any = None,
    deadline_s: float = DEADLINE_S,
) -> Iterator[dict[str, Any]]:
    """Lock the SM clock of GPUs for the length of a `with` block.

    They float afterwards, also where they were locked before, since NVML does not tell a lock. A process that is killed
    by SIGKILL leaves them locked: `nvidia-smi -rgc` lets them go.

    Args:
        mhz: The clock; None to do nothing at all.
        devices: What the run measures on.
        notify: Told what is done.
        module: Takes the place of `pynvml`.
        deadline_s: Seconds after which a driver that does not answer is given up.

    Yields:
        What the manifest shall tell, also of the end: for each device `locked_mhz`, `sm_mhz` (as it is read right
        after the lock; None if it is not told) and `released`.

    Raises:
        UsageError: No case runs on a GPU.
        NvmlError: This user may not, the GPU has no such clock, or the driver does not answer.
    """
    facts: dict[str, Any] = {}
    if mhz is None:
        yield facts
        return
    numbers = cuda_numbers(devices)
    if not numbers:
        raise UsageError("--lock-clocks was given, and no case runs on a GPU", hint="leave it out")
    within = functools.partial(_within, deadline_s)
    with contextlib.ExitStack() as stack:
        nvml = within(lambda: _opened(module, stack, within))
        visible = within(lambda: nvml.visible({**BUS_ORDER, **os.environ}))
        for number in numbers:
            if number >= len(visible):
                raise NvmlError(f"there is no cuda:{number} to lock the clock of", hint="nvidia-smi -L lists GPUs")
            gpu = visible[number]
            told = facts[str(DeviceName(CUDA, number))] = {"locked_mhz": mhz, "sm_mhz": None, "released": None}
            within(functools.partial(gpu.lock_clocks, mhz))
            stack.callback(_release, gpu, told, notify, within)
            told["sm_mhz"] = within(functools.partial(gpu.read, "sm_mhz"))["sm_mhz"]
        notify(
            f"clocks are locked at {mhz} MHz; they float at the end of the run, also where somebody had locked them "
            "before; if this run is killed: sudo nvidia-smi -rgc"
        )
        yield facts


def _opened(module: Any, stack: contextlib.ExitStack, within: _Within) -> Nvml:
    """Open NVML; it is kept open, or a driver without persistence mode would forget what was set."""
    manager = open_nvml(module)
    nvml = manager.__enter__()
    stack.callback(_close, manager, within)
    return nvml


def _close(manager: contextlib.AbstractContextManager[Nvml], within: _Within) -> None:
    with contextlib.suppress(NvmlError):  # it ends with this process at the latest
        within(lambda: manager.__exit__(None, None, None))


def _release(
    gpu: Device,
    facts: dict[str, Any],
    notify: Callable[[str], None],
    within: _Within,
) -> None:
    try:
        within(gpu.unlock_clocks)
        facts["released"] = True
    except NvmlError as error:
        facts["released"] = False
        notify(f"warning: {error.message}; sudo nvidia-smi -i {gpu.index} -rgc")


def _within(deadline_s: float, work: Callable[[], _T]) -> _T:
    """Return what `work` does, in a thread that is left alone if a driver hangs in it.

    Raises:
        NvmlError: It takes longer.
    """
    box: list[_T | BaseException] = []

    def run() -> None:
        try:
            box.append(work())
        except BaseException as error:
            box.append(error)

    thread = threading.Thread(target=run, name="clocks", daemon=True)
    thread.start()
    thread.join(deadline_s)
    if not box:
        raise NvmlError(
            f"the driver does not answer within {deadline_s:g} s",
            hint="nvidia-smi hangs as well then: restart the machine; clocks that were locked: sudo nvidia-smi -rgc",
        )
    found = box[0]
    if isinstance(found, BaseException):
        raise found
    return found
