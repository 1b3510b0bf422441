"""An environment with another Python and another framework, made once: that takes a while."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from benchfw.environments import find_python, managed
from benchfw.environments.create import create
from benchfw.errors import UsageError

OLD = "onnxruntime==1.20.1"


@pytest.fixture(scope="session")
def no_index() -> Callable[[], NoReturn]:
    """A function that ends a test for which no package index offers what it needs."""

    def end() -> NoReturn:
        reason = "no package index offers what is needed"
        if os.environ.get("BENCHFW_NEED_INDEX"):
            pytest.fail(f"{reason}, and BENCHFW_NEED_INDEX says that it must")
        pytest.skip(f"{reason}; BENCHFW_NEED_INDEX=1 makes this a failure")

    return end


@pytest.fixture(scope="session")
def ort_old(cache: Path, no_index: Callable[[], NoReturn]) -> dict[str, Any]:
    """The environment `ort-old` of two_onnxruntimes.toml, on CPython 3.10; under `lines` what its making printed."""
    if find_python("3.10") is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs a CPython 3.10 on PATH, or under pyenv or uv")
        pytest.skip("no CPython 3.10 on this machine")
    lines: list[str] = []
    try:
        made = create("ort-old", python="3.10", requirements=[OLD], use_uv=False, notify=lines.append)
    except UsageError:
        raise
    except Exception:
        options = ["--quiet", "--no-deps", "--python-version", "3.10", "--only-binary", ":all:", "--dest", str(cache)]
        if subprocess.run([sys.executable, "-m", "pip", "download", *options, OLD], capture_output=True).returncode:
            no_index()
        raise
    return {"made": made, "python": str(managed.python_of("ort-old")), "lines": lines}
