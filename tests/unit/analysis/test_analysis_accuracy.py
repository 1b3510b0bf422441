"""Comparisons over many inputs as one line per output."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.analysis.accuracy import METRICS, summarize
from benchfw.spec.accuracy import compare

NOISE = st.lists(st.sampled_from([0.0, 1e-7, 3e-6, 1e-3]), min_size=1, max_size=6)


def row(set_: int, noise: float, output: str = "y") -> dict[str, Any]:
    random = np.random.default_rng(set_)
    reference = random.standard_normal((2, 12))
    metrics = compare(reference * (1 + noise), reference, "fp32")
    return {"output": output, "input_set": set_, **metrics}


@settings(deadline=None)  # of a machine with other work
@given(NOISE)
def test_worst_bounds_every_input_and_the_mean_lies_within(noises: list[float]) -> None:
    rows = [row(set_, noise) for set_, noise in enumerate(noises)]
    (line,) = summarize(rows)
    assert line["inputs"] == len(noises)
    assert line["failed"] == sum(item["verdict"] == "fail" for item in rows)
    for name, choose in METRICS.items():
        values = [item[name] for item in rows if item[name] is not None]
        if not values:
            assert line["worst"][name] is None
            assert line["mean"][name] is None
            continue
        assert line["worst"][name] == choose(values)
        assert min(values) - 1e-12 <= line["mean"][name] <= max(values) + 1e-12
    decisive = rows[line["input_set"]]
    assert (decisive["verdict"], decisive["reason"]) == (line["verdict"], line["reason"])
    assert line["verdict"] == max((item["verdict"] for item in rows), key=["pass", "warn", "fail"].index)


def test_outputs_are_apart_and_in_their_order() -> None:
    lines = summarize([row(0, 0.0, "b"), row(0, 1e-3, "a"), row(1, 0.0, "b")])
    assert [(line["output"], line["inputs"], line["verdict"]) for line in lines] == [("b", 2, "pass"), ("a", 1, "fail")]


@pytest.mark.parametrize("place", [0, 1])
def test_an_input_without_finite_outputs_is_not_lost_among_others(place: int) -> None:
    bad = compare(np.full((2, 12), np.nan), np.ones((2, 12)), "fp32")
    rows = [row(0, 0.0), row(1, 1e-3)]
    rows[place] |= bad
    (line,) = summarize(rows)
    assert (line["verdict"], line["input_set"]) == ("fail", place)
    assert math.isnan(line["worst"]["rel_l2"])
    assert line["worst"]["nonfinite"] == 24
