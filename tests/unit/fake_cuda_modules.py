"""Puts a CUDA runtime that is made up in the place of cuda-bindings."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.fake_cudart import FakeCuda


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
