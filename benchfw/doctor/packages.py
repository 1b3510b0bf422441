"""Packages that have overwritten each other's files, by the records of what is installed."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from benchfw.doctor.findings import Finding
from benchfw.environments import DEFAULT

Files = Mapping[str, Mapping[tuple[str, str], str]]
"""By the name of a distribution, the hashes of its files as they were installed, by folder and path in it."""

_CODE = re.compile(r"\.(py|pyd|so(\.\d+)*)$")
_SLOPPY = {"test", "tests", "doc", "docs", "example", "examples", "scripts"}
"""Folders that packages install by mistake, and that nobody imports."""


def findings(environment: str, files: Files) -> Iterator[Finding]:
    """Yield the groups of packages that have installed the same files with different content.

    Args:
        environment: Name of benchfw's own interpreter, or of an environment that benchfw has made.
        files: What distributions have installed there; nothing is said of none.
    """
    groups = overwritten(files)
    for names, path in groups.items():
        one = names[0]
        if environment == DEFAULT:
            remedy = f"pip uninstall -y {' '.join(names)}; then the one that you want: pip install {one}"
        else:
            make = f"benchfw env create {environment} --with {one} …"
            remedy = f"benchfw env rm {environment}; then with the one that you want: {make}"
        text = f"{' and '.join(names)} overwrite each other, as in {path}: what is imported is a mixture"
        yield Finding("packages", environment, "FAIL", text, remedy)
    if not groups and files:
        yield Finding("packages", environment, "OK", f"{len(files)} packages, none overwrites another")


def installed(python: str = sys.executable) -> Files:
    """Return the files of every distribution that an interpreter sees; none if it cannot be asked."""
    if Path(python) == Path(sys.executable):
        return recorded(metadata.distributions())
    return recorded(metadata.distributions(path=_paths(python)))


def versions(python: str = sys.executable) -> dict[str, str]:
    """Return the version of every distribution that an interpreter sees; none if it cannot be asked."""
    mine = Path(python) == Path(sys.executable)
    found: dict[str, str] = {}
    for distribution in metadata.distributions() if mine else metadata.distributions(path=_paths(python)):
        with contextlib.suppress(Exception):  # what an installer that was killed has left
            found.setdefault(distribution.name, distribution.version)
    return found


def recorded(distributions: Iterable[metadata.Distribution]) -> Files:
    """Return the files of distributions, as pip has recorded them."""
    found: dict[str, dict[tuple[str, str], str]] = {}
    for distribution in distributions:
        with contextlib.suppress(Exception):  # what an installer that was killed has left
            record = distribution.read_text("RECORD") or ""
            folder = str(distribution.locate_file(""))
            rows = [row for row in csv.reader(record.splitlines()) if len(row) > 1]
            found.setdefault(distribution.name, {}).update({(folder, row[0]): row[1] for row in rows})
    return found


def overwritten(files: Files) -> dict[tuple[str, ...], str]:
    """Return the sets of distributions that have installed one file each in its own way, and the first such file.

    The same content twice, such as an empty `__init__.py`, harms nobody. A module `x.py` and a package `x` count as
    one file.
    """
    owners: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name, content in files.items():
        for (folder, path), digest in content.items():
            top, slash, _ = path.partition("/")
            module = top.partition(".")[0]
            if digest and module and _CODE.search(path) and module not in _SLOPPY:
                owners[folder, path if slash else f"{module}/__init__.py"][name] = digest
    found: dict[tuple[str, ...], str] = {}
    for (_, path), digests in sorted(owners.items()):
        if len(set(digests.values())) > 1:
            found.setdefault(tuple(sorted(digests)), path)
    return found


def _paths(python: str) -> list[str]:
    """Return where another interpreter looks for packages."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        run = subprocess.run(
            [python, "-c", r"import sys; print(*sys.path[1:], sep='\n')"],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return run.stdout.splitlines()
