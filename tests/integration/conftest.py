"""An environment with another Python and another framework, made once: that takes a while."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchfw.environments import find_python, managed
from benchfw.environments.create import create
from benchfw.errors import UsageError

OLD = "onnxruntime==1.20.1"


@pytest.fixture(scope="session")
def ort_old(cache: Path) -> dict[str, Any]:
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
        wanted = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), "numpy"]
        if subprocess.run(wanted, capture_output=True).returncode:
            pytest.skip("no package index is reached")
        raise
    return {"made": made, "python": str(managed.python_of("ort-old")), "lines": lines}
