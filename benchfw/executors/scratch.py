"""A folder for what a run needs while it lasts.

What a killed run has left, folders and processes, the next one removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchfw.processes import kill_marked

_PREFIX = "benchfw-scratch-"
_UNBORN = "benchfw-unborn-"
_UNBORN_S = 3600.0


@contextlib.contextmanager
def scratch(fallback: Path) -> Iterator[Path]:
    """Make a private folder for the length of a `with` block.

    A lock on the folder itself, which the kernel drops when its process dies, tells whether it is still needed.

    Args:
        fallback: Where to make it if there is no temporary folder that can be written.

    Yields:
        The folder; workers get its name as the beginning of their mark.
    """
    try:
        root = Path(tempfile.gettempdir())
        folder, lock = _make(root)
    except OSError:
        root = fallback
        folder, lock = _make(root)
    _sweep(root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _make(root: Path) -> tuple[Path, int]:
    """Make the folder under another name until it is locked, so that nobody sees it without a lock."""
    unborn = Path(tempfile.mkdtemp(prefix=_UNBORN, dir=root))
    lock = os.open(unborn, os.O_RDONLY | os.O_DIRECTORY)
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    folder = root / unborn.name.replace(_UNBORN, _PREFIX, 1)
    os.rename(unborn, folder)
    return folder, lock


def _sweep(root: Path) -> None:
    """Remove the folders of this user's runs that are no more, and what their workers had started."""
    for folder in (*root.glob(_PREFIX + "*"), *_stillborn(root)):
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    kill_marked(folder.name)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _stillborn(root: Path) -> Iterator[Path]:
    """Yield the folders of runs that were killed before they had locked theirs."""
    for folder in root.glob(_UNBORN + "*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _UNBORN_S:
                yield folder
