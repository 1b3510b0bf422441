"""Tests that need a GPU of NVIDIA say so where there is none."""

from __future__ import annotations

import pytest

from benchfw.errors import MissingDependency
from benchfw.worker.devices import Device, open_device


@pytest.fixture(scope="session")
def device() -> Device:
    """The first GPU, its context the current one of this process."""
    try:
        found = open_device("cuda:0")
    except MissingDependency as error:
        pytest.skip(error.message)
    assert found is not None
    return found
