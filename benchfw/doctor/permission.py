"""What this process may ask of NVIDIA's driver, told without asking for it."""

from __future__ import annotations

import contextlib
from pathlib import Path

THIS = Path("/proc/self")
_SYS_ADMIN = 1 << 21
"""CAP_SYS_ADMIN of capabilities(7). NVIDIA's open kernel module takes whoever has it for the administrator
(`NV_IS_SUSER` in kernel-open/common/inc/nv-linux.h), and nobody else: not every root of a container."""
_ALL_USERS = ["0", "0", "4294967295"]
"""What stands in the map of users of the machine itself (user_namespaces(7)): `capable` asks for the right there."""


def to_lock_clocks(process: Path = THIS) -> str:
    """Return a sentence on whether `--lock-clocks` will be refused. NVML has no question for that.

    Args:
        process: Where the kernel tells of the process.
    """
    rights, user = _effective(process), _user(process)
    if rights is None:
        return "whether --lock-clocks may hold the SM clock cannot be told here: the driver wants root"
    if not rights & _SYS_ADMIN:
        if user == 0:
            return (
                "the driver will refuse --lock-clocks: this is root without CAP_SYS_ADMIN, as in a container; set them "
                "on the host, or start the container with --cap-add SYS_ADMIN"
            )
        return "the driver will refuse --lock-clocks: it wants root"
    if not _is_of_the_machine(process):
        return "the driver will refuse --lock-clocks: this is root of a user namespace, not of the machine"
    return "--lock-clocks may hold the SM clock, if the GPU can: this process has CAP_SYS_ADMIN"


def _effective(process: Path) -> int | None:
    """Return the capabilities in effect, as bits; None if the kernel does not tell."""
    value = _field(process, "CapEff:")
    return int(value[0], 16) if value else None


def _user(process: Path) -> int | None:
    """Return the number of the user whose rights are in effect."""
    value = _field(process, "Uid:")
    return int(value[1]) if len(value) > 1 else None


def _field(process: Path, name: str) -> list[str]:
    with contextlib.suppress(OSError):
        for line in (process / "status").read_text(encoding="utf-8").splitlines():
            if line.startswith(name):
                return line.split()[1:]
    return []


def _is_of_the_machine(process: Path) -> bool:
    try:
        return (process / "uid_map").read_text(encoding="utf-8").split() == _ALL_USERS
    except OSError:  # a kernel without namespaces
        return True
