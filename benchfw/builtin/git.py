"""Which commit of the user's project a run was made from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any


def checkout(folder: Path) -> dict[str, Any] | None:
    """Return what git says of the checkout around a folder; None where it tracks nothing.

    Returns:
        `commit`; `branch`, None where HEAD is detached; `dirty`: whether there are changes that are in no commit, files
        below `folder` that git neither tracks nor ignores among them. None where git does not say.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    others = ("--others", "--exclude-standard", "--directory", "--no-empty-directory")
    untracked = _git(folder, "ls-files", *others, "--exclude=run=*")  # results of runs, which no run is made from
    return {
        "commit": commit,
        "branch": _git(folder, "branch", "--show-current") or None,
        "dirty": None if changes is None or untracked is None else bool(changes or untracked),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints; None if it fails. Variables that may name another checkout are dropped."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        run = subprocess.run(
            ["git", "-C", str(folder), *arguments], env=environ, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return run.stdout.strip() if run.returncode == 0 else None
