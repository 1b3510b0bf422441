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

from benchfw_tensorrt.log import BuildLog


class TimingCache:
    """The timing cache of one build.

    Args:
        folder: Where the files are.
        here: What measurements hold for: `version`, `gpu`, `compute_capability`, `driver`.
        log: Of the build.

    Attributes:
        sha256: Hash of what the build began with; empty if that was nothing.
    """

    def __init__(self, folder: Path, here: Mapping[str, str], log: BuildLog) -> None:
        words = "-".join(here[key] for key in ("version", "gpu", "compute_capability", "driver"))
        self._file = folder / f"{re.sub('[^A-Za-z0-9.]+', '-', words)}.timing"
        self._log = log
        self._cache: Any = None  # TensorRT wants it to live as long as the build
        self.sha256 = ""

    def use(self, config: Any) -> None:
        """Give a builder's configuration what earlier builds have measured."""
        with self._locked():
            content = self._read()
        self._cache = self._load(config, content)
        if self._cache is None or not config.set_timing_cache(self._cache, False):
            self._say("does not fit, and begins anew")
            content, self._cache = b"", config.create_timing_cache(b"")
            config.set_timing_cache(self._cache, False)
        self.sha256 = hashlib.sha256(content).hexdigest() if content else ""

    def keep(self, config: Any) -> None:
        """Add what a build has measured to the file, and to what other builds have added meanwhile.

        A cache that cannot be kept costs time and no more: it is said in the log. TensorRT 8.6.0 was seen to write some
        that it could not read again.
        """
        try:
            with self._locked():
                others = self._load(config, self._read())
                if others is not None:
                    self._cache.combine(others, False)
                content = bytes(self._cache.serialize())
                if self._load(config, content) is None:
                    self._say("is not kept: TensorRT cannot read what it has written")
                    return
                draft = self._file.with_suffix(f".{os.getpid()}")
                draft.write_bytes(content)
                os.replace(draft, self._file)
        except OSError as error:
            self._say(f"cannot be kept: {error}")

    def _load(self, config: Any, content: bytes) -> Any:
        """Return a cache, or None if this TensorRT cannot read it; it says so in its log alone."""
        with self._log.aside() as told:
            cache = config.create_timing_cache(content)
        return None if told else cache

    def _say(self, what: str) -> None:
        sys.stderr.write(f"[warning] the timing cache {self._file.name} {what}\n")

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
