"""Puts a CUDA runtime that is made up in the place of cuda-bindings, in this process or in workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.fake_cudart import FakeCuda

_REPOSITORY = Path(__file__).parents[2]
DRIVER = Path("/proc/driver/nvidia/version")
_RUNTIME = f"""
import sys

import benchfw

benchfw.__path__.append({str(_REPOSITORY / "benchfw")!r})  # workers are not given the test kit
import benchfw.testing.cuda
from tests.unit.fake_cudart import FakeCuda

sys.modules[__name__] = FakeCuda()
"""


def write(folder: Path) -> str:
    """Write cuda-bindings that are made up into a folder, for workers; return what their PYTHONPATH is to begin with.

    A worker that imports them has a GPU, as far as it looks: the device of the test kit.
    """
    package = folder / "cuda" / "bindings"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "runtime.py").write_text(_RUNTIME)
    installed = folder / "cuda_bindings-13.0.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: cuda-bindings\nVersion: 13.0.0\n")
    return os.pathsep.join([str(folder), str(_REPOSITORY)])


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, importing: Iterable[str]) -> FakeCuda:
    """Return the runtime, found by what is imported until the test is over.

    Args:
        monkeypatch: Puts back what was there.
        folder: In which no driver says its version.
        importing: Modules that hold on to it, `package.module`, to be imported anew.
    """
    cuda = FakeCuda()
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = cuda  # type: ignore[attr-defined]
    modules = {"cuda": ModuleType("cuda"), "cuda.bindings": bindings, "cuda.bindings.runtime": cuda}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("benchfw.spec.cuda", *importing):
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.delattr(name, raising=False)
    import benchfw.spec.cuda

    monkeypatch.setattr(benchfw.spec.cuda, "_DRIVER", folder / "no driver says its version here")
    return cuda
