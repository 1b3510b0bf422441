"""Checks of the kit that need a device, on one that is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchfw.spec.tensors import TensorSpec
from benchfw.testing import BackendCase
from benchfw.testing.bench import Bench
from benchfw.testing.checks import cost
from benchfw.testing.checks.cost import CostChecks


@pytest.fixture(autouse=True)
def few_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_CYCLES", 10)


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    case = BackendCase(
        backend=request.param["backend"],
        plugin="benchfw.testing.plugin",
        model="null:",
        inputs=(TensorSpec(name="x", dtype="float32", shape=("batch", 4)),),
        options=request.param.get("options", {}),
    )
    (tmp_path / "host").mkdir()
    bench = Bench(case, tmp_path)
    yield bench
    bench.host.close()


def device(**options: int) -> dict[str, object]:
    return {"backend": "fake-device", "options": options}


@pytest.mark.parametrize("bench", [device(weights_bytes=1 << 20, library_bytes=64 << 20)], indirect=True)
def test_what_libraries_keep_once_is_no_leak(bench: Bench) -> None:
    CostChecks().test_closing_gives_device_memory_back(bench)


@pytest.mark.parametrize("bench", [device(leaked_bytes=2 << 20)], indirect=True)
def test_what_each_instance_keeps_is_a_leak(bench: Bench) -> None:
    with pytest.raises(
        AssertionError, match=f"10 times .* it kept {14 << 20} bytes of fake:0, beside {2 << 20} of the"
    ):
        CostChecks().test_closing_gives_device_memory_back(bench)


@pytest.mark.parametrize("bench", [{"backend": "fake"}], indirect=True)
def test_without_a_device_nothing_is_said_of_its_memory(bench: Bench) -> None:
    with pytest.raises(pytest.skip.Exception, match="cpu has no memory of its own"):
        CostChecks().test_closing_gives_device_memory_back(bench)
