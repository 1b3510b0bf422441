"""Machines as folders of files."""

from __future__ import annotations

from pathlib import Path

import pytest

LAPTOP = {
    "proc/cpuinfo": "model name\t: Fast CPU 9000\n",
    "proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n",
    "proc/loadavg": "0.10 0.20 0.30 1/200 4242\n",
    "proc/stat": "cpu  1000 0 500 8000 0 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8\n",
    "sys/devices/system/cpu/intel_pstate/no_turbo": "0\n",
    "sys/devices/system/cpu/smt/active": "1\n",
    **{f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor": "powersave\n" for cpu in range(4)},
    **{
        f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": f"{cpu % 2},{cpu % 2 + 2}\n"
        for cpu in range(4)
    },
}
"""Two cores with two threads each; everything that disturbs is on."""


class Machine:
    """A root folder; files are added to those of a laptop."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write(LAPTOP)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)

    def limit(self, version: int, **files: str) -> None:
        """Put this process into a group `/a` with these files, in version 1 or 2 of control groups."""
        membership, mount = {
            1: ("4:cpu,memory:/a\n", "31 30 0:27 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu,memory\n"),
            2: ("0::/a\n", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
        }[version]
        self.write({"proc/self/cgroup": membership, "proc/self/mountinfo": mount})
        self.write({f"sys/fs/cgroup/a/{name.replace('__', '.')}": text for name, text in files.items()})


@pytest.fixture
def laptop(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "laptop")
