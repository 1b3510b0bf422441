"""Kernels that TensorRT-RTX has compiled, kept between processes: one file per version, GPU and driver."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class RuntimeCache:
    """The kernels of one process. Those of processes at the same time may be lost, and are compiled again.

    Args:
        folder: Where the files are.
        here: What kernels hold for: `version`, `gpu`, `compute_capability`, `driver`.
        config: The runtime configuration of the contexts that use them.

    Attributes:
        state: `warm` if there were any, else `cold`.
    """

    def __init__(self, folder: Path, here: Mapping[str, str], config: Any) -> None:
        words = "-".join(here[key] for key in ("version", "gpu", "compute_capability", "driver"))
        self._file = folder / f"{re.sub('[^A-Za-z0-9.]+', '-', words)}.kernels"
        self._cache = config.create_runtime_cache()
        content = self._read()
        self.state = "warm" if content and self._cache.deserialize(content) else "cold"
        config.set_runtime_cache(self._cache)

    def keep(self) -> None:
        """Write what there is by now. A file that cannot be written costs time and no more: it is said in the log."""
        content = self._cache.serialize()
        if content is None:
            sys.stderr.write("[warning] TensorRT-RTX does not tell the kernels of its runtime cache: none are kept\n")
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            draft = self._file.with_suffix(f".{os.getpid()}")
            draft.write_bytes(bytes(content))
            os.replace(draft, self._file)
        except OSError as error:
            sys.stderr.write(f"[warning] the runtime cache {self._file.name} cannot be kept: {error}\n")

    def _read(self) -> bytes:
        try:
            return self._file.read_bytes()
        except OSError:
            return b""
