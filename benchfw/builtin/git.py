"""Which commit of the user's project a run was made from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any


def checkout(folder: Path) -> dict[str, Any] | None:
    """Return commit, branch and whether there are changes that are in no commit; None where git tracks nothing."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    return {
        "commit": commit,
        "branch": _git(folder, "branch", "--show-current") or None,
        "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no")),
    }


def _git(folder: Path, *arguments: str) -> str:
    try:
        run = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""
