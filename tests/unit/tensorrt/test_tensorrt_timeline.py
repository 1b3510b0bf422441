"""Layers of a profile, by what TensorRT's profiler told."""

from __future__ import annotations

import pytest

from benchfw_tensorrt.timeline import layer_times


@pytest.mark.parametrize(
    ("rounds", "names"),
    [
        ([[("reshape", 0.0), ("product", 0.25)], [("reshape", 0.0), ("product", 0.5)]], ["product"]),
        ([[("reshape", 0.0), ("product", 0.25)], [("reshape", 0.125), ("product", 0.5)]], ["reshape", "product"]),
        ([[("reshape", 0.0), ("product", 0.0)]], ["reshape", "product"]),  # under what its clock resolves
    ],
)
def test_layers_that_never_took_any_time_did_not_run(rounds: list[list[tuple[str, float]]], names: list[str]) -> None:
    assert [layer.name for layer in layer_times(rounds, [])] == names
