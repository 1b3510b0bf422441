"""What kernels took, kept between builds: one file per TensorRT, GPU and driver, in the cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class TimingCache:
    """The timing cache of one build.

    Args:
        folder: Where the files are.
        here: What measurements hold for: `version`, `gpu`, `compute_capability`, `driver`.

    Attributes:
        sha256: Hash of what the build began with; empty if that was nothing.
    """

    def __init__(self, folder: Path, here: Mapping[str, str]) -> None:
        words = "-".join(here[key] for key in ("version", "gpu", "compute_capability", "driver"))
        self._file = folder / f"{re.sub('[^A-Za-z0-9.]+', '-', words)}.timing"
        self.sha256 = ""

    def use(self, config: Any) -> None:
        """Give a builder's configuration what earlier builds have measured."""
        with self._locked():
            content = self._read()
        self.sha256 = hashlib.sha256(content).hexdigest() if content else ""
        if not config.set_timing_cache(config.create_timing_cache(content), False):
            sys.stderr.write(f"[warning] {self._file.name} does not fit this TensorRT: it begins anew\n")
            self.sha256 = ""
            config.set_timing_cache(config.create_timing_cache(b""), False)

    def keep(self, config: Any) -> None:
        """Add what a build has measured to the file, and to what other builds have added meanwhile.

        A cache that cannot be kept costs time and no more: it is said in the log.
        """
        try:
            with self._locked():
                mine = config.get_timing_cache()
                content = self._read()
                if content:
                    mine.combine(config.create_timing_cache(content), False)
                draft = self._file.with_suffix(f".{os.getpid()}")
                draft.write_bytes(bytes(mine.serialize()))
                os.replace(draft, self._file)
        except OSError as error:
            sys.stderr.write(f"[warning] {self._file.name} cannot be kept: {error}\n")

    def _read(self) -> bytes:
        try:
            return self._file.read_bytes()
        except OSError:
            return b""

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the file; where none can be had, two builds at once may lose measurements."""
        lock = -1
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if lock >= 0:
                os.close(lock)
