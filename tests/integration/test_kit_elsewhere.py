"""The kit for a backend whose framework is elsewhere: ONNX Runtime 1.20, in an environment without onnx and pytest."""

from __future__ import annotations

from typing import Any

import pytest

from benchfw.environments import managed
from benchfw.testing import BackendCase, BackendConformance
from benchfw.testing.bench import Bench

pytestmark = [pytest.mark.framework, pytest.mark.usefixtures("brief")]


@pytest.fixture(scope="module")
def backend_case(ort_old: dict[str, Any]) -> BackendCase:
    return BackendCase(backend="ort-cpu", environment={"python": ort_old["python"]}, steps={"SimplifiedOnnx": {}})


class TestElsewhere(BackendConformance):
    def test_its_workers_are_there(self, live: Bench) -> None:
        hello = live.host.worker().hello
        assert hello["executable"] == str(managed.python_of("ort-old"))
        assert hello["packages"]["onnxruntime"] == "1.20.1"
        scenario = live.scenario().scenario
        assert [entry.environment for entry in scenario.backend] == list(scenario.environments)

    def test_its_steps_are_those_of_the_case(self, live: Bench) -> None:
        assert "agreement" in live.artifact(live.profile).meta  # of the simplified graph with the one before
        assert live.scenario().scenario.backend[0].steps == {"SimplifiedOnnx": {}}
