"""The kit for backends on `torch-tensorrt`, on the CPU: its engines are made up, what makes and times them is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from benchfw.testing import BackendCase, BackendConformance
from tests.contract.test_backends import CASES
from tests.unit.torch_trt.package import NAME, install

pytestmark = pytest.mark.usefixtures("brief")


@pytest.fixture(scope="module")
def backend_case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendCase]:
    with pytest.MonkeyPatch.context() as patch:
        plugin = install(tmp_path_factory.mktemp("package"), patch)
        yield replace(CASES["torch-tensorrt"](NAME, tmp_path_factory.mktemp("model")), plugin=plugin)


class TestBackend(BackendConformance):
    pass
