"""The kit for backends, on a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchfw.testing import BackendCase, BackendConformance
from tests.contract.test_backends import CASES

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("device", "brief")]


@pytest.fixture(scope="module", params=["torch-eager", "torch-compile", "torch-tensorrt"])
def backend_case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BackendCase:
    return replace(CASES[request.param](request.param, tmp_path_factory.mktemp("model")), device="cuda")


class TestBackendOnGpu(BackendConformance):
    pass
