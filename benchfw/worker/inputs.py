"""Inputs, mapped from the files that the parent wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read(files: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """Map one `.npy` per input, read-only.

    Args:
        files: Path of the file by input name.
    """
    return {name: np.load(path, mmap_mode="r", allow_pickle=False) for name, path in files.items()}
