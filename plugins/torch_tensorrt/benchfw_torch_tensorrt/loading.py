"""torch-tensorrt, imported; or the reason why it cannot be. Imported in workers alone.

What it raises when TensorRT's libraries are not found is a bare `Exception`, or the loader's `OSError`.
"""

from __future__ import annotations

import contextlib
import sys
from importlib import metadata
from types import ModuleType

from benchfw.errors import MissingDependency


def import_torch_tensorrt() -> ModuleType:
    """Return the package `torch_tensorrt`.

    Raises:
        ModuleNotFoundError: It is not installed.
        MissingDependency: It is, and cannot be imported.
    """
    try:
        import torch_tensorrt
    except ModuleNotFoundError as error:
        if error.name == "torch_tensorrt":
            raise
        raise _refused(error) from error
    except Exception as error:
        raise _refused(error) from error
    return torch_tensorrt


def tensorrt_version() -> str:
    """Return the version of the TensorRT that torch-tensorrt has imported; empty if it does not say."""
    return str(getattr(sys.modules.get("tensorrt"), "__version__", ""))


def _refused(error: Exception) -> MissingDependency:
    version, needs = "", "the TensorRT that it was built for"
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = " " + metadata.version("torch-tensorrt")
        needs = next((text for text in metadata.requires("torch-tensorrt") or () if text.startswith("tensorrt")), needs)
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return MissingDependency(
        f"torch-tensorrt{version} cannot be imported: {type(error).__name__}: {line}",
        hint=f"it needs {needs} with its libraries, and the CUDA build of PyTorch: pip install torch-tensorrt in an "
        "environment of its own, or put the folder of libnvinfer into LD_LIBRARY_PATH; `benchfw doctor` looks at "
        "the versions",
    )
