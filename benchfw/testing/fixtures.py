"""Pytest fixtures for authors of plugins: `pytest_plugins = ["benchfw.testing.fixtures"]` in a test module.

Caches, locks and results lie in temporary folders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchfw.plugins import discover
from benchfw.testing import project as projects
from benchfw.testing.nvml import FakeGpu, FakeNvml
from benchfw.testing.project import FAKES, Project
from benchfw.testing.warm import WarmWorkers


@pytest.fixture
def project(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project folder: `project.run(text_of_a_scenario)` returns the outcome and the results; see `Project`."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("BENCHFW_CACHE", "BENCHFW_LOCKS"):
            patch.setenv(variable, str(tmp_path_factory.mktemp(variable.lower())))
        yield Project(tmp_path, discover([*projects.listed(), FAKES]))


@pytest.fixture(scope="session")
def _warm() -> Iterator[WarmWorkers]:
    workers = WarmWorkers()
    yield workers
    workers.close()


@pytest.fixture
def warm_workers(_warm: WarmWorkers) -> Iterator[None]:
    """Workers on this interpreter start in a few milliseconds while the test runs: see `benchfw.testing.warm`.

    With `virtual_backend` a whole run then takes a fraction of a second. Ask for it by
    `pytestmark = pytest.mark.usefixtures("warm_workers")`.
    """
    with _warm:
        yield


@pytest.fixture
def virtual_backend() -> Callable[..., str]:
    """A function that returns a `[[backend]]` table with a virtual clock; see `benchfw.testing.project`."""
    return projects.virtual_backend


@pytest.fixture
def fake_nvml() -> Iterator[FakeNvml]:
    """NVML with one GPU, in place of the module `pynvml`, as in `open_nvml(fake_nvml)`.

    What the GPU says is in the fields of `fake_nvml.gpus[0]`; its `errors` are NVML codes by the names of the functions
    that fail for it. `fake_nvml.gpus.append(FakeGpu(uuid="GPU-1"))` adds one, `fake_nvml.errors["nvmlInit"] = 9` is a
    driver that is not loaded, `fake_nvml.hangs.add("nvmlDeviceGetTemperature")` one that hangs until the test is over.
    """
    fake = FakeNvml([FakeGpu()])
    yield fake
    fake.release()
