"""What each return code of NVML means here: what becomes of the value that was asked for, and what the user can do."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Consequence(Enum):
    """What follows from a call that failed."""

    RETRY = "retry"
    """The value is null this time; the next call may succeed."""

    NULL = "null"
    """The value is null for as long as this process lives: it is not asked for again."""

    FATAL = "fatal"
    """No other question about this GPU, or at all, has an answer."""


class Code(NamedTuple):
    """One return code.

    Attributes:
        name: As in nvml.h.
        consequence: What becomes of the value.
        meaning: In a few words.
        remedy: What the user can do.
    """

    name: str
    consequence: Consequence
    meaning: str
    remedy: str


_R, _N, _F = Consequence.RETRY, Consequence.NULL, Consequence.FATAL
_XID = "look for messages of the driver: dmesg | grep -i -e xid -e nvrm"
_REPORT = "please report this line: benchfw calls NVML in a way that it does not take"
_OURS = "the driver and nvidia-ml-py do not fit each other: pip install -U nvidia-ml-py, or a newer driver"
_NOTHING = "nothing: this GPU, or this kind of virtual machine, does not have it"

NO_PERMISSION, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND = 4, 12, 13

CODES: dict[int, Code] = {
    1: Code("UNINITIALIZED", _F, "NVML is not open", "somebody has shut NVML down in this process: open it again"),
    2: Code("INVALID_ARGUMENT", _N, "an argument is not valid for this GPU", _REPORT),
    3: Code("NOT_SUPPORTED", _N, "this GPU does not have it", _NOTHING),
    4: Code(
        "NO_PERMISSION",
        _N,
        "this user may not ask for it",
        "give this user the right to open /dev/nvidiactl and /dev/nvidia*; in a container: --gpus all",
    ),
    5: Code("ALREADY_INITIALIZED", _R, "NVML was open already", "nothing: it is open"),
    6: Code("NOT_FOUND", _R, "there is no such thing now", "nothing: what was asked for has ended, or is not kept"),
    7: Code("INSUFFICIENT_SIZE", _R, "the answer is longer than the room for it", "nothing: it is asked for again"),
    8: Code(
        "INSUFFICIENT_POWER",
        _R,
        "a power cable of the GPU is not connected",
        "connect all power cables of the board, then reboot",
    ),
    9: Code(
        "DRIVER_NOT_LOADED",
        _F,
        "the driver is not loaded",
        "load the driver: sudo modprobe nvidia; if that fails: dmesg | grep -i nvidia",
    ),
    10: Code(
        "TIMEOUT",
        _R,
        "the driver did not answer in time",
        "the driver is busy or hangs: try again, then look for Xid messages: dmesg | grep -i xid",
    ),
    11: Code("IRQ_ISSUE", _R, "interrupts of the GPU do not arrive", f"{_XID}; reboot if they go on"),
    12: Code(
        "LIBRARY_NOT_FOUND",
        _F,
        "the driver's library is not there",
        "install NVIDIA's driver if this machine has an NVIDIA GPU; in a container: --gpus all",
    ),
    13: Code(
        "FUNCTION_NOT_FOUND",
        _N,
        "the driver's library lacks this function",
        "the driver is older than the call: install a newer driver",
    ),
    14: Code("CORRUPTED_INFOROM", _R, "the board's own memory is damaged", f"{_XID}; the board may need replacing"),
    15: Code(
        "GPU_IS_LOST",
        _F,
        "the GPU has fallen off its bus",
        "the GPU does not answer on its bus: dmesg | grep -i xid, then reboot",
    ),
    16: Code(
        "RESET_REQUIRED",
        _F,
        "the GPU wants a reset",
        "the GPU wants a reset: end what uses it, then sudo nvidia-smi --gpu-reset, or reboot",
    ),
    17: Code(
        "OPERATING_SYSTEM",
        _N,
        "the operating system or a control group forbids it",
        "allow the device in the control group: in a container --gpus all",
    ),
    18: Code(
        "LIB_RM_VERSION_MISMATCH",
        _F,
        "library and kernel module are of different versions",
        "the driver was updated and its old kernel module is still loaded: reboot",
    ),
    19: Code("IN_USE", _R, "the GPU is in use", "end what else uses the GPU: nvidia-smi"),
    20: Code("MEMORY", _R, "memory ran out", "free memory of the host"),
    21: Code("NO_DATA", _R, "there is nothing yet", "nothing: the driver has not taken a sample yet"),
    22: Code("VGPU_ECC_NOT_SUPPORTED", _N, "ECC is not there with virtual GPUs", _NOTHING),
    23: Code("INSUFFICIENT_RESOURCES", _R, "the driver has no room for it now", "end what else asks the driver"),
    24: Code(
        "FREQ_NOT_SUPPORTED",
        _N,
        "the GPU cannot run at this clock",
        "choose a clock that it has: nvidia-smi -q -d SUPPORTED_CLOCKS",
    ),
    25: Code("ARGUMENT_VERSION_MISMATCH", _N, "the driver knows another version of this call", _OURS),
    26: Code("DEPRECATED", _N, "the driver has given this call up", _OURS),
    27: Code("NOT_READY", _R, "the system is not ready", "nothing: it is asked for again"),
    28: Code("GPU_NOT_FOUND", _F, "there is no GPU", "look whether it is there: lspci | grep -i nvidia"),
    29: Code("INVALID_STATE", _R, "the GPU is in a state in which it cannot tell", _XID),
    30: Code("RESET_TYPE_NOT_SUPPORTED", _N, "the GPU does not have this kind of reset", _NOTHING),
    999: Code("UNKNOWN", _R, "the driver does not know why", f"compare with nvidia-smi; {_XID}"),
}
"""Every code of nvml.h (API 13) but success."""

LATER = Code("", Consequence.RETRY, "a code of a later version", f"compare with nvidia-smi; {_XID}")
"""What is made of a code that is not among them."""


def code_of(number: int) -> Code:
    """Return what a return code means."""
    return CODES.get(number, LATER)
