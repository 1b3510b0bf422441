"""What to do about models that a framework refuses."""

from __future__ import annotations

from pathlib import Path


def onnx_remedy(path: Path | str) -> str | None:
    """Return what is odd about an ONNX file and what to do about it; see `benchfw.spec.onnx_files.oddities`.

    None where nothing is, or `onnx` is not installed where this runs.
    """
    try:
        from benchfw.spec.onnx_files import oddities
    except ImportError:
        return None
    return oddities(Path(path))
