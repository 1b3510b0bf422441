"""How far outputs are from the reference."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from benchfw.errors import Invalid
from benchfw.spec.accuracy import TOLERANCES, compare, compare_all, match, worst

R: NDArray[np.float64] = np.random.default_rng(1).standard_normal((16, 50))


def _off(reference: NDArray[np.float64], rel_l2: float, seed: int = 2) -> NDArray[np.float64]:
    """Return the reference with noise of this relative L2 norm."""
    noise = np.random.default_rng(seed).standard_normal(reference.shape)
    return reference + noise * (rel_l2 * np.linalg.norm(reference) / np.linalg.norm(noise))


_VALUES = hnp.arrays(np.float64, (3, 4), elements=st.floats(-1e3, 1e3).map(lambda x: round(x, 3)))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(_VALUES, _VALUES)
def test_metrics_against_numpy(y: NDArray[np.float64], r: NDArray[np.float64]) -> None:
    metrics = compare(y, r, "fp16")
    difference = np.abs(y - r).ravel()
    norm = np.sqrt(np.sum(r * r))
    error = np.sqrt(np.sum(difference**2))
    assert metrics["max_abs_err"] == difference.max()
    assert metrics["mean_abs_err"] == pytest.approx(difference.mean())
    assert metrics["p99_abs_err"] == pytest.approx(np.percentile(difference, 99))
    assert metrics["nonfinite"] == 0
    rms = np.sqrt(np.mean(r * r))
    outside = np.mean(difference > 1e-2 * np.abs(r).ravel() + 5e-3 * rms)
    assert metrics["outside_share"] == pytest.approx(outside, abs=1 / 12)
    if norm > 0:
        assert metrics["rel_l2"] == pytest.approx(error / norm)
        floor = np.maximum(np.abs(r).ravel(), 1e-3 * rms)
        assert metrics["mean_rel_err"] == pytest.approx(np.mean(difference / floor))
        if error > 0:
            assert metrics["snr_db"] == pytest.approx(20 * math.log10(norm / error))
        if y.any():
            cosine = np.sum(y * r) / (norm * np.linalg.norm(y))
            assert metrics["cosine"] == pytest.approx(cosine)


def test_equal_outputs_pass_everywhere() -> None:
    for precision in TOLERANCES:
        metrics = compare(R, R, precision)
        assert (metrics["verdict"], metrics["reason"]) == ("pass", "")
        assert metrics["rel_l2"] == metrics["outside_share"] == 0
        assert metrics["cosine"] == pytest.approx(1.0)
        assert metrics["snr_db"] is None


@pytest.mark.parametrize("precision", sorted(TOLERANCES))
def test_thresholds_of_each_precision(precision: str) -> None:
    tolerance = TOLERANCES[precision]
    reference = np.sign(R) * (1 + np.abs(R))  # none near zero, so that no share lies outside before the norm does
    for factor, verdict in (
        (0.9 * tolerance.rel_l2_warn, "pass"),
        (1.1 * tolerance.rel_l2_warn, "warn"),
        (1.1 * tolerance.rel_l2, "fail"),
    ):
        metrics = compare(_off(reference, factor), reference, precision)
        assert metrics["rel_l2"] == pytest.approx(factor, rel=1e-3)
        assert metrics["verdict"] == verdict, metrics["reason"]
        assert ("relative L2" in metrics["reason"]) == (verdict != "pass")


def test_thresholds_are_those_of_the_specification_or_wider_by_calibration() -> None:
    expected = {
        "fp32": (1e-5, 1e-6, 1e-4, 1e-5, 0.0),
        "tf32": (4e-3, 1e-3, 1e-2, 5e-3, 4e-3),
        "fp16": (6e-3, 1e-3, 1e-2, 5e-3, 4e-3),
        "bf16": (5e-2, 1e-2, 5e-2, 2e-2, 8e-2),
    }
    for precision, (fail, warn, rtol, atol, share) in expected.items():
        tolerance = TOLERANCES[precision]
        assert (tolerance.rel_l2, tolerance.rel_l2_warn) == (fail, warn)
        assert (tolerance.rtol, tolerance.atol, tolerance.outside_share) == (rtol, atol, share)
    for precision in ("fp8", "int8"):
        tolerance = TOLERANCES[precision]
        assert (tolerance.rel_l2, tolerance.rel_l2_warn, tolerance.cosine) == (1e-1, 5e-2, 0.99)


def test_one_element_far_off_fails_fp32_though_the_norm_hides_it() -> None:
    reference = np.full(1_000_000, 1.0) + np.arange(1_000_000) * 1e-6
    output = reference.copy()
    output[5] += 5e-4
    metrics = compare(output, reference, "fp32")
    assert metrics["rel_l2"] < 1e-6
    assert metrics["verdict"] == "fail"
    assert "rtol" in metrics["reason"]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_rounding_to_a_precision_does_not_fail_it_by_the_share(precision: str) -> None:
    """Noise of the largest distance that the models of the calibration had: a third of what may be."""
    metrics = compare(_off(R, TOLERANCES[precision].rel_l2 / 3), R, precision)
    assert metrics["outside_share"] > 0
    assert metrics["verdict"] == "warn", metrics["reason"]


def test_a_tenth_of_the_elements_far_off_fails_bf16_though_the_norm_allows_it() -> None:
    spoilt = R.copy()
    spoilt[:, :5] += 0.13  # five of fifty columns
    metrics = compare(spoilt, R, "bf16")
    assert metrics["rel_l2"] < TOLERANCES["bf16"].rel_l2
    assert metrics["verdict"] == "fail"
    assert "rtol" in metrics["reason"]


def test_a_low_cosine_fails_int8() -> None:
    rotated = R.copy()
    rotated[:, :2] = R[:, 1::-1]  # two columns exchanged
    metrics = compare(rotated, R, "int8")
    assert metrics["cosine"] < 0.99
    assert metrics["verdict"] == "fail"
    assert "cosine" in metrics["reason"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda y: np.where(np.arange(y.size).reshape(y.shape) == 3, np.nan, y), "1 elements are NaN or infinite"),
        (lambda y: np.where(np.arange(y.size).reshape(y.shape) < 2, np.inf, y), "2 elements are NaN or infinite"),
        (np.zeros_like, "all elements are zero"),
        (lambda y: np.full_like(y, 0.5), "all elements are the same"),
    ],
    ids=["nan", "inf", "zero", "constant"],
)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_spoilt_outputs_fail_whatever_the_precision(spoil: Any, reason: str, precision: str) -> None:
    metrics = compare(spoil(R), R, precision)
    assert (metrics["verdict"], metrics["reason"]) == ("fail", reason)


def test_not_a_number_in_the_reference_too_is_no_pass() -> None:
    spoilt = R.copy()
    spoilt[0, 0] = np.nan
    assert compare(spoilt, spoilt, "int8")["verdict"] == "fail"


def test_zero_or_constant_references_may_be_met() -> None:
    for reference in (np.zeros((2, 3)), np.full((2, 3), 4.0), np.array([7.0]), np.empty((0, 3))):
        assert compare(reference, reference, "fp32")["verdict"] == "pass"
    assert compare(np.ones(3), np.zeros(3), "int8")["verdict"] == "fail"


def test_integers_are_compared_exactly_in_fp32() -> None:
    labels = np.arange(20)
    assert compare(labels, labels, "fp32")["verdict"] == "pass"
    assert compare(labels, np.roll(labels, 1), "fp32")["verdict"] == "fail"


def test_low_precision_outputs_are_compared_in_double() -> None:
    metrics = compare(R.astype(np.float16), R, "fp16")
    assert metrics["verdict"] == "pass"
    assert 0 < metrics["rel_l2"] < 1e-3
    assert compare(np.array([60000.0, 1.0], np.float16), np.array([60000.0, 1.0]), "fp16")["verdict"] == "pass"


def test_top1_and_top5() -> None:
    reference = np.tile(np.arange(10.0), (4, 1))
    output = reference.copy()
    output[0, 9] = 5.5  # first is now 8, which is among the reference's five
    output[1, 0] = 20.0  # first is now 0, which is not
    metrics = compare(output, reference, "int8")
    assert metrics["top1_agreement"] == 0.5
    assert metrics["top5_agreement"] == 0.75


@pytest.mark.parametrize("shape", [(40,), (4, 9), (2, 2, 10), (0, 10)])
def test_only_rows_of_classes_have_a_ranking(shape: tuple[int, ...]) -> None:
    metrics = compare(np.ones(shape), np.ones(shape), "fp32")
    assert metrics["top1_agreement"] is metrics["top5_agreement"] is None


# --- tolerances of a scenario -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "verdict", "default", "reason"),
    [
        ({"rel_l2": 2e-2}, "warn", "fail", "beyond the default of fp16: relative L2 1.0e-02 is above 0.006"),
        ({"rel_l2": 9e-3}, "fail", "fail", "relative L2 1.0e-02 is above 0.009"),
        ({"rel_l2": 2e-2, "rel_l2_warn": 2e-2}, "warn", "fail", "beyond the default of fp16: relative L2 1.0e-02"),
        ({"rel_l2": 2e-2, "cosine": 0.99999}, "fail", "fail", "is below 0.99999"),
    ],
)
def test_what_only_another_tolerance_lets_pass_is_a_warn_that_says_what_the_default_is(
    change: dict[str, Any], verdict: str, default: str, reason: str
) -> None:
    allowed = replace(TOLERANCES["fp16"], outside_share=1.0, **change)
    output = _off(R, 1e-2)
    assert compare(output, R, "fp16")["verdict"] == compare(output, R, "fp16")["default_verdict"] == "fail"
    metrics = compare(output, R, "fp16", allowed)
    assert (metrics["verdict"], metrics["default_verdict"]) == (verdict, default)
    assert reason in metrics["reason"]


@pytest.mark.parametrize("wider", [{"outside_share": 0.2}, {"rtol": 1.0}, {"atol": 0.2}])
def test_the_share_outside_is_allowed_by_each_of_its_three_terms(wider: dict[str, Any]) -> None:
    spoilt = R.copy()
    spoilt[:, :5] += 0.013  # a tenth of the elements, of which some are large enough for it
    assert "5.62% of the elements" in compare(spoilt, R, "fp16")["reason"]
    metrics = compare(spoilt, R, "fp16", replace(TOLERANCES["fp16"], **wider))
    assert (metrics["verdict"], metrics["default_verdict"]) == ("warn", "fail")
    assert "5.62% of the elements are outside of rtol 0.01, atol 0.005 RMS" in metrics["reason"]


def test_a_narrower_tolerance_fails_what_the_default_lets_pass() -> None:
    metrics = compare(_off(R, 5e-4), R, "fp16", replace(TOLERANCES["fp16"], rel_l2=1e-4))
    assert (metrics["verdict"], metrics["default_verdict"]) == ("fail", "pass")


def test_no_tolerance_lets_spoilt_outputs_pass() -> None:
    all_of_it = replace(TOLERANCES["fp16"], rel_l2=1.0, rtol=1.0, atol=1.0, outside_share=1.0)
    for spoilt in (np.zeros_like(R), np.full_like(R, 0.5), np.where(R > 2, np.nan, R)):
        assert compare(spoilt, R, "fp16", all_of_it)["verdict"] == "fail"


def test_an_output_has_a_tolerance_of_its_own_by_the_name_that_the_reference_gives_it() -> None:
    default = TOLERANCES["fp16"]
    own = replace(default, outputs={"b": replace(default, rel_l2=2e-2, outside_share=1.0)})
    off = {"output_0": _off(R, 1e-2), "output_1": _off(R, 1e-2)}
    found = compare_all(off, {"a": R, "b": R}, "fp16", own)
    assert {name: metrics["verdict"] for name, metrics in found.items()} == {"a": "fail", "b": "warn"}
    assert compare_all(off, {"a": R, "b": R}, "fp16")["b"]["verdict"] == "fail"
    with pytest.raises(Invalid, match=r"the tolerance of fp16 is for the output 'b', the reference has \['a', 'c'\]"):
        compare_all(off, {"a": R, "c": R}, "fp16", own)


# --- pairs ------------------------------------------------------------------------------------------------------


def test_outputs_are_matched_by_name_whatever_their_order() -> None:
    a, b = np.zeros(2), np.ones(3)
    pairs = match({"b": b, "a": a}, {"a": a, "b": b})
    assert [name for name, _, _ in pairs] == ["a", "b"]
    assert all(output is reference for _, output, reference in pairs)


def test_outputs_are_matched_by_place_if_names_differ() -> None:
    a, b = np.zeros(2), np.ones(3)
    pairs = match({"output_0": a, "output_1": b}, {"logits": a, "hidden": b})
    assert [(name, output is reference) for name, output, reference in pairs] == [("logits", True), ("hidden", True)]


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ({}, "0 outputs"),
        ({"a": np.zeros(2), "b": np.zeros(2)}, "2 outputs"),
        ({"a": np.zeros(3)}, r"shape \[3\], the reference \[2\]"),
        ({"x": np.zeros((2, 1))}, r"shape \[2, 1\]"),
        ({"a": np.zeros(2, np.int64)}, "int64"),
    ],
)
def test_what_cannot_be_matched_is_invalid(outputs: dict[str, NDArray[Any]], reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        match(outputs, {"a": np.zeros(2)})


@pytest.mark.parametrize(
    ("verdicts", "result"),
    [([], "pass"), (["pass", "warn"], "warn"), (["fail", "pass", "warn"], "fail"), (["pass"], "pass")],
)
def test_worst(verdicts: list[str], result: str) -> None:
    assert worst(verdicts) == result
