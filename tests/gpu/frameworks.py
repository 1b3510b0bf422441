"""Whether what a backend stands on can be loaded here, found out in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from types import MappingProxyType

_ORT = """
import contextlib, ctypes, importlib.metadata, pathlib
importlib.metadata.version("onnxruntime-gpu")
import onnxruntime
folder = pathlib.Path(onnxruntime.__file__).parent / "capi"
if hasattr(onnxruntime, "preload_dlls"):
    onnxruntime.preload_dlls()
"""
_PROVIDER = """
ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
ctypes.CDLL(str(folder / "libonnxruntime_providers_{}.so"))
"""
_LIBRARIES = """
with contextlib.suppress(ImportError, OSError):
    import tensorrt_libs
"""
_PROBES = {
    "ort-cuda": _ORT + _PROVIDER.format("cuda"),
    "ort-tensorrt": _ORT + _LIBRARIES + _PROVIDER.format("tensorrt"),
    "trt-static": "import tensorrt; tensorrt.Builder",
    "trt-dynamic": "import tensorrt; tensorrt.Builder",
    "trt-rtx": "import tensorrt_rtx; tensorrt_rtx.Builder",
}
"""What is tried, by backend. Of those that are not here the kit itself sees whether their packages are."""


def lacking(backend: str, python: str = sys.executable, env: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return why what a backend needs cannot be loaded, in the loader's own words; empty if it can be."""
    if backend not in _PROBES:
        return ""
    ours = python == sys.executable
    environ = {name: value for name, value in os.environ.items() if ours or not name.startswith("PYTHON")} | {**env}
    done = subprocess.run([python, "-c", _PROBES[backend]], capture_output=True, text=True, timeout=300, env=environ)
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"its process ended with {done.returncode}"
