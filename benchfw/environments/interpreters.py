"""The Pythons of this machine: on PATH, then where pyenv and uv keep theirs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

OLDEST = (3, 10)
"""What the code of workers runs on."""

VERSION = re.compile(r"\d{1,2}\.\d{1,3}")
"""How a `major.minor` version is told from a path or a name."""

_NAME = re.compile(r"python(\d+)\.(\d+)")
_PROBE = "import os, sys; print('%d.%d.%d' % sys.version_info[:3], os.path.realpath(sys.executable))"
_TIMEOUT_S = 20


class Python(NamedTuple):
    """An interpreter: where it was found, and its `major.minor.micro` version."""

    path: str
    version: str


def find_python(version: str) -> str | None:
    """Return an interpreter of a `major.minor` version, or None: from PATH, then where pyenv and uv keep theirs."""
    for candidate in _candidates(version):
        found = probe(candidate)
        if found is not None and is_of(found[0], version):
            return candidate
    return None


def pythons() -> list[Python]:
    """Return every interpreter that workers can run on, oldest version first; each one once, whatever leads to it."""
    candidates: dict[str, str] = {}
    for candidate in _all_candidates():
        candidates.setdefault(os.path.realpath(candidate), candidate)
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(probe, candidates.values()))
    found: dict[str, Python] = {}
    for candidate, answer in zip(candidates.values(), answers, strict=True):
        if answer is not None and as_numbers(answer[0]) >= OLDEST:
            found.setdefault(answer[1], Python(candidate, answer[0]))
    return sorted(found.values(), key=lambda python: as_numbers(python.version))


def probe(python: str) -> tuple[str, str] | None:
    """Start an interpreter and return its version and its real path; None if it does not start."""
    version, _, real = _ask(python, _PROBE).partition(" ")
    return (version, real) if re.fullmatch(r"\d+\.\d+\.\d+", version) else None


def has_numpy(python: str) -> bool:
    """Say whether an interpreter has numpy, without importing it."""
    return _ask(python, "from importlib.util import find_spec; print(find_spec('numpy') is not None)") == "True"


def as_numbers(version: str) -> tuple[int, ...]:
    """Return a version for comparisons: 3.9 is before 3.10."""
    return tuple(map(int, version.split(".")))


def is_of(version: str, wanted: str) -> bool:
    """Say whether a version, as 3.10.13, is one of a `major.minor` version."""
    return version.startswith(f"{wanted}.")


def _ask(python: str, code: str) -> str:
    """Return what code prints in an interpreter; empty if that fails."""
    try:
        answer = subprocess.run(
            [python, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):  # ValueError: a null byte, or output that is no text
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _candidates(version: str) -> Iterator[str]:
    found = shutil.which(f"python{version}")
    if found:
        yield found
    for root in _roots():
        for path in sorted(root.glob(f"*{version}*/bin/python{version}"), reverse=True):
            yield str(path)


def _all_candidates() -> Iterator[str]:
    folders = [Path(folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    for folder in (*folders, *(bin for root in _roots() for bin in sorted(root.glob("*/bin"), reverse=True))):
        for path in sorted(folder.glob("python3.*")):
            name = _NAME.fullmatch(path.name)
            if name and (int(name[1]), int(name[2])) >= OLDEST and os.access(path, os.X_OK):
                yield str(path)


def _roots() -> list[Path]:
    """Return the folders in which pyenv and uv keep a folder per interpreter."""
    home = os.path.expanduser("~")  # stays as it is where the user has no home
    roots = (
        Path(os.environ.get("PYENV_ROOT", f"{home}/.pyenv")) / "versions",
        Path(os.environ.get("UV_PYTHON_INSTALL_DIR", f"{home}/.local/share/uv/python")),
    )
    return [root for root in roots if root.is_absolute()]
