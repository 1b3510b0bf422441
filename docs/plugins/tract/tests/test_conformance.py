"""What every backend must do."""

import pytest
from benchfw.testing import BackendCase, BackendConformance


@pytest.fixture(scope="module")
def backend_case() -> BackendCase:
    return BackendCase(backend="tract")


class TestTract(BackendConformance):
    pass
