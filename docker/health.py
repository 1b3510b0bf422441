"""Healthy is where `benchfw doctor` finds nothing that fails; while a run measures it is not asked, as it disturbs."""

from __future__ import annotations

import subprocess
import sys

from benchfw.executors.devices import Devices, cpus


def main() -> int:
    measuring = Devices(cpus()).others()
    if measuring:
        print(f"{measuring} is measuring")
        return 0
    return int(subprocess.run(["benchfw", "doctor"]).returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
