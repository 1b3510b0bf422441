"""Environments: named interpreters that workers run on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchfw.worker import cgroups

DEFAULT = "default"
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A named interpreter.

    Attributes:
        name: What scenarios call it.
        python: Path of the interpreter.
        env: Variables of its workers.
    """

    name: str = DEFAULT
    python: str = sys.executable
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def foreign(self) -> bool:
        """Whether this is another interpreter than the parent's."""
        return Path(self.python) != Path(sys.executable)


def thread_variables(threads: int) -> dict[str, str]:
    """Return the variables that bound a worker's thread pools; they must be set before a framework is imported."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


def usable_cpus() -> int:
    """Return how many CPUs this process may use: its affinity, bounded by the quotas of its cgroups, at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroups.cpu_quota()
    return cpus if quota is None else max(1, min(cpus, int(quota)))


def find_python(version: str) -> str | None:
    """Return an interpreter of a `major.minor` version, or None: from PATH, then where pyenv and uv keep theirs."""
    for candidate in _candidates(version):
        try:
            probe = subprocess.run(
                [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
                capture_output=True,
                text=True,
                timeout=20,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if probe.returncode == 0 and probe.stdout.strip() == version:
            return candidate
    return None


def pythons() -> list[tuple[str, tuple[int, int]]]:
    """Return every CPython 3 that is found, this one first, then one per version: path and version."""
    here = sys.version_info[:2]
    found = [(sys.executable, here)]
    for minor in range(10, 20):
        path = find_python(f"3.{minor}") if (3, minor) != here else None
        if path:
            found.append((path, (3, minor)))
    return found


def _candidates(version: str) -> Iterator[str]:
    found = shutil.which(f"python{version}")
    if found:
        yield found
    home = os.path.expanduser("~")  # stays as it is where the user has no home
    roots = (
        Path(os.environ.get("PYENV_ROOT", f"{home}/.pyenv")) / "versions",
        Path(home) / ".local/share/uv/python",
    )
    for root in filter(Path.is_absolute, roots):
        for path in sorted(root.glob(f"*{version}*/bin/python{version}"), reverse=True):
            yield str(path)
