"""Which shared libraries a library needs that cannot be loaded in this process. Imported in workers alone."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from pathlib import Path

_NOT_FOUND = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)
_OF_THE_DRIVER = "libcuda.so."
_TIMEOUT_S = 30.0


def missing(path: Path) -> list[str]:
    """Return the names of the libraries that a library needs, itself or through others, and that are not to be had.

    The loader is asked by `ldd`, with this process's LD_LIBRARY_PATH; what this process has loaded already counts as
    found, as it does when the library is loaded. The driver's own library is left out: no package brings it.

    Args:
        path: Of the library. Without such a file its own name is what is missing.
    """
    if not path.is_file():
        return [path.name]
    return [name for name in _unresolved(path) if not name.startswith(_OF_THE_DRIVER) and not _loads(name)]


def _unresolved(path: Path) -> list[str]:
    try:
        done = subprocess.run(
            ["ldd", str(path)],
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):  # there is no ldd, or it hangs: the loader names the first one
        return _first(path)
    return list(dict.fromkeys(_NOT_FOUND.findall(done.stdout)))


def _first(path: Path) -> list[str]:
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        name, _, words = str(error).partition(": ")
        return [name] if "cannot open shared object file" in words else []
    return []


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
