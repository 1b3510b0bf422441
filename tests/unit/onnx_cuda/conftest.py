"""A CUDA that is made up, for a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.onnx_cuda.lab import Lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "unset by no test")
    made = Lab(tmp_path, monkeypatch)
    yield made
    made.made.close()
    assert not made.cuda.live and not made.cuda.streams
