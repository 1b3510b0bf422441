"""Errors of PyTorch in one line."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch

_TORCH = str(Path(torch.__file__).parent)
_HERE = {str(Path(__file__).with_name(name)) for name in ("export.py", "samples.py", "tensors.py")}


def reason(error: BaseException) -> str:
    """Return what went wrong at the root of an error, and where in the model's own code."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_foreign(frame.filename)]
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno} in {own[-1].name})" if own else ""
    return f"{type(error).__name__}: {lines[0] if lines else ''}{place}"


def _is_foreign(file: str) -> bool:
    return file in _HERE or file.startswith(("<", _TORCH))
