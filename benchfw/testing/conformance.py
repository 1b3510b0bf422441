"""What every backend must do, as a test class with one fixture.

    import pytest
    from benchfw.testing import BackendCase, BackendConformance

    @pytest.fixture(scope="module")
    def backend_case() -> BackendCase:
        return BackendCase(backend="mine")

    class TestMine(BackendConformance):
        pass

The backend runs in workers, as in a run. Capabilities are measured, not believed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchfw.errors import MissingDependency
from benchfw.testing.bench import BackendCase as BackendCase
from benchfw.testing.bench import Bench
from benchfw.testing.checks.cost import CostChecks
from benchfw.testing.checks.layers import LayerChecks
from benchfw.testing.checks.life import LifeChecks
from benchfw.testing.checks.outputs import OutputChecks
from benchfw.testing.checks.places import PlaceChecks
from benchfw.testing.checks.registration import RegistrationChecks


class BackendConformance(  # the last goes first
    PlaceChecks, CostChecks, LayerChecks, OutputChecks, LifeChecks, RegistrationChecks
):
    """Derive a class `Test…` from it, in a module with a fixture `backend_case` of scope `module`."""

    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls, backend_case: BackendCase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
        """What all checks share."""
        folder = tmp_path_factory.mktemp("conformance")
        (folder / "host").mkdir()
        bench = Bench(backend_case, folder)
        yield bench
        bench.host.close()

    @pytest.fixture
    def live(self, bench: Bench) -> Bench:
        """The same, where the framework is installed; what does not need it is checked everywhere."""
        try:
            bench.host.worker()
        except MissingDependency as error:
            if bench.case.environment is not None:  # who names one means it
                pytest.fail(f"{error.message}; {error.hint or ''}", pytrace=False)
            pytest.skip(f"{error.message}; {error.hint or 'no way to install it is known'}")
        return bench
