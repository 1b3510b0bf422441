"""Speed-ups: of what they are made, what forbids them, and that nothing is left out silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import benchfw
from benchfw.analysis.compare import COLUMNS, geometric_means
from benchfw.analysis.labels import BY, label_differences
from benchfw.errors import UsageError
from tests.unit.analysis.synthetic import MACHINE, Synthetic


def run(seed: int, slower: float = 1.0, **more: Any) -> Synthetic:
    made = Synthetic(seed, **more)
    for batch in (1, 8):
        made.case("torch-eager", 4.0 * batch, batch=batch)
        made.case("ort-cpu", 2.0 * batch * slower, batch=batch, profile="static", backend_version="1.2")
    return made


def test_runs_are_compared_by_the_medians_of_their_invocations() -> None:
    frame = benchfw.compare([run(1).frames("a"), run(2, 1.08).frames("b")])
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["metric"].unique()) == ["p50", "p99", "throughput"]
    assert set(frame["level"]) == {"invocation"}
    assert (frame["n"] == 5).all()
    slow, same = frame[frame["name"] == "ort-cpu"], frame[frame["name"] == "torch-eager"]
    assert (slow["speedup_high"] < 1).all()
    assert slow["speedup"].between(1 / 1.1, 1 / 1.06).all()
    assert ((same["speedup_low"] < 1.005) & (same["speedup_high"] > 0.995)).all()


def test_too_few_invocations_give_a_ratio_and_no_interval() -> None:
    frame = benchfw.compare([run(1, invocations=4).frames("a"), run(2).frames("b")], metric="p50")
    assert frame["speedup"].notna().all()
    assert frame[["speedup_low", "speedup_high", "p_value"]].isna().all(axis=None)
    assert (frame["reason"] == "5 and 4 invocations, 5 of each are needed").all()


def test_processes_of_one_build_are_one_piece_of_evidence() -> None:
    """Engines differ by far more than processes: ten processes of five engines are five numbers, not ten."""
    frames = [run(seed, invocations=10).frames(name) for seed, name in ((1, "a"), (2, "b"))]
    for frame in frames:
        table = frame["invocations"]
        built = table["case_id"].str.contains("ort-cpu")
        table["build"] = (table["invocation"] % 5).where(built).astype("Int64")
        of_engines = np.array([1.0, 1.02, 1.05, 1.08, 1.1])[table["invocation"] % 5]
        table["latency_p50_ns"] *= np.where(built, of_engines, 1.0)
    compared = benchfw.compare(frames, metric="p50")
    of = dict(list(compared.groupby("name", observed=True)))
    assert set(of["ort-cpu"]["n"]) == {5}
    assert set(of["torch-eager"]["n"]) == {10}, "there was nothing to build"
    width = {name: rows["speedup_high"] / rows["speedup_low"] for name, rows in of.items()}
    assert width["ort-cpu"].min() > 1.05 > width["torch-eager"].max()
    assert set((of["ort-cpu"]["speedup_low"] < 1) & (of["ort-cpu"]["speedup_high"] > 1)) == {True}


def test_a_run_of_one_process_counts_as_one_invocation() -> None:
    old = {name: frame for name, frame in run(1).frames("a").items() if name == "cases"}
    frame = benchfw.compare([old, run(2).frames("b")], metric="p50")
    assert (frame["n_baseline"] == 1).all()


def test_cases_of_a_run_are_compared_by_the_rounds_in_which_they_took_turns() -> None:
    frame = benchfw.compare(run(1).frames(), by="backend", baseline="torch-eager", metric=["p50", "throughput"])
    assert set(frame["level"]) == {"round"}
    assert (frame["n"] == 125).all()
    assert frame["speedup"].between(1.9, 2.1).all()
    assert ((frame["speedup_high"] / frame["speedup_low"]) < 1.02).all()  # a drift of 1 % per round is not in it


def test_tails_are_compared_over_rounds() -> None:
    made = Synthetic(3, invocations=2, rounds=20, between=0.0)
    made.case("a", 1.0, iterations=60)
    made.case("b", 1.5, iterations=60)
    row = benchfw.compare(made.frames(), by="name", metric="p99").iloc[0]
    assert (row["level"], row["n"]) == ("round", 40)
    assert row["speedup_low"] < 1 / 1.5 < row["speedup_high"]


def test_unsteady_blocks_are_not_used() -> None:
    made = run(1)
    for row in made.tables["blocks"]:
        row["steady"] = int(row["round"] >= 10)
        row["median_ns"] *= 1.0 if row["round"] >= 10 or "torch" in row["case_id"] else 50.0
    frame = benchfw.compare(made.frames(), by="name", metric="p50")
    assert (frame["n"] == 5 * 15).all()
    assert frame["speedup"].between(1.9, 2.1).all()


def test_cases_that_did_not_take_turns_are_compared_by_invocations() -> None:
    made = run(1)
    for row in made.tables["cases"]:
        row["interleave"] = "off"
    assert set(benchfw.compare(made.frames(), by="name")["level"]) == {"invocation"}


@pytest.mark.parametrize(
    ("label", "value"),
    [("threads", 4), ("io_scope", "pinned"), ("seed", 2), ("model_hash", "0b"), ("cache", "warm"), ("device", None)],
)
def test_unlike_labels_are_refused_unless_forced(label: str, value: object) -> None:
    other = run(2)
    for row in other.tables["cases"]:
        row[label] = value
    sources = [run(1).frames("a"), other.frames("b")]
    refused = benchfw.compare(sources)
    assert refused["speedup"].isna().all()
    assert refused["reason"].str.startswith(f"not comparable: {label} ").all()
    forced = benchfw.compare(sources, force=True)
    assert forced["speedup"].notna().all()
    assert forced["forced"].str.startswith(f"{label} ").all()


@pytest.mark.parametrize(
    ("manifest", "named"),
    [
        ({"machine": MACHINE | {"cpu": "Another"}}, "cpu Made-up CPU → Another"),
        ({"machine": MACHINE | {"affinity": [0]}}, "affinity 2 CPUs → 1 CPUs"),
        ({"machine": MACHINE | {"governor": "powersave"}}, "governor unknown → powersave"),
        ({"samples_sha256": "1"}, "samples_sha256 unknown → 1"),
        ({"machine": "nonsense"}, "system Linux → unknown"),
    ],
)
def test_unlike_machines_are_refused_unless_forced(tmp_path: Path, manifest: dict[str, Any], named: str) -> None:
    runs = [run(1).write(tmp_path), run(2).write(tmp_path, **manifest)]
    assert benchfw.compare(runs)["reason"].str.startswith(f"not comparable: {named}").all()
    assert benchfw.compare(runs, force=True)["forced"].str.startswith(named).all()


def test_what_may_differ_is_told(tmp_path: Path) -> None:
    other = run(2)
    for row in other.tables["cases"]:
        row["backend_version"] = "1.3"
    machine = MACHINE | {"kernel": "6.1"}
    frame = benchfw.compare([run(1).write(tmp_path), other.write(tmp_path, machine=machine)], metric="p50")
    assert frame["speedup"].notna().all()
    ort = frame[frame["name"] == "ort-cpu"]
    assert (ort["differs"] == "backend_version 1.2 → 1.3, kernel unknown → 6.1").all()


def test_of_several_baselines_the_most_alike_is_taken_and_precision_is_refused() -> None:
    made = Synthetic(1)
    made.case("torch-eager", 4.0)
    made.case("torch-eager", 3.0, precision="fp16")
    made.case("ort-cpu", 1.5, precision="fp16")
    made.case("openvino", 2.0, precision="int8")
    frame = benchfw.compare(made.frames(), by="backend", baseline="torch-eager", metric="p50").set_index("name")
    assert frame.loc["ort-cpu", "speedup"] == pytest.approx(2.0, rel=0.02)
    assert frame.loc["openvino", "reason"] == "not comparable: precision fp32 → int8"
    by = benchfw.compare(made.frames(), by="precision", baseline="fp32", metric="p50").set_index("name")
    assert by.loc["torch-eager", "speedup"] == pytest.approx(4 / 3, rel=0.02)
    assert by.loc["ort-cpu", "reason"] == "the baseline is missing in r"


@pytest.mark.parametrize("by", BY)
def test_every_label_can_be_compared_by(by: str) -> None:
    made = Synthetic(1)
    made.case("one", 2.0, case_id="first")
    made.case("one", 1.0, case_id="second")
    for row, value in zip(made.tables["cases"], (1, 2) if by == "threads" else ("x", "y"), strict=True):
        row |= {by: value} if by in ("precision", "profile") else {"name": value, by: value}
    found = benchfw.compare(made.frames(), by=by, metric="p50").iloc[0]
    assert found["speedup"] == pytest.approx(2.0, rel=0.05), found["reason"]


def test_whatever_has_no_number_has_a_row_with_the_reason() -> None:
    first, second = run(1), run(2)
    first.fail("trt", "SKIPPED")
    second.fail("trt", "OOM")
    first.case("gone", 1.0)
    second.case("new", 1.0)
    second.tables["cases"][0] |= {"verdict": "NO_STEADY_STATE", "verdict_reason": "it drifts"}
    second.tables["cases"][1] |= {"verdict": "CONTENDED"}
    second.tables["cases"][2]["latency_p50_ns"] = float("nan")
    frame = benchfw.compare([first.frames("a"), second.frames("b")], metric="p50")
    reasons = dict(zip(frame["case_id"].str.split("/").str[1] + frame["cohort"], frame["reason"], strict=True))
    assert reasons["trtbatch1"] == "the baseline is SKIPPED: trt could not"
    assert reasons["gonebatch1"] == "the case is missing in b"
    assert reasons["newbatch1"] == "the baseline is missing in a"
    assert reasons["torch-eagerbatch1"] == "the case is NO_STEADY_STATE: it drifts"
    assert reasons["ort-cpubatch1"] == "not comparable: verdict VALID → CONTENDED"
    assert reasons["torch-eagerbatch8"] == "the case has no p50"
    assert frame["speedup"].notna().sum() == 1


def test_the_geometric_mean_says_of_how_many_cases() -> None:
    first, second = run(1), run(2, 2.0)
    second.fail("trt", "OOM")
    means = geometric_means(benchfw.compare([first.frames("a"), second.frames("b")], metric="p50"))
    assert means[["cases", "of"]].to_numpy().tolist() == [[4, 5]]
    assert means["speedup"][0] == pytest.approx(2**-0.5, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "backnd"}, "did you mean 'backend'"),
        ({"by": "backend", "baseline": "none"}, "no case of r has backend 'none'"),
        ({"by": "backend", "metric": "p5"}, "there is no metric 'p5'"),
        ({}, "nothing to compare it with"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        benchfw.compare(run(1).frames(), **arguments)
    assert error.value.hint


def test_a_run_is_not_compared_with_itself() -> None:
    with pytest.raises(UsageError, match="given twice"):
        benchfw.compare([run(1).frames("a"), run(1).frames("a")])
    with pytest.raises(UsageError, match="holds no results"):
        benchfw.compare(3)


def test_frames_of_strangers_raise_nothing() -> None:
    """Columns missing or of other types, ids that stand twice, numbers that are none."""
    odd = pd.DataFrame(
        {
            "case_id": ["x", "x", None, "y", "z"],
            "status": "OK",
            "latency_p50_ns": ["fast", 1.0, 2.0, float("inf"), -3.0],
            "shape": [b"\0", "{", None, "[" * 5000, 3],
            "interleave": "all",
            "name": ["a", "a", "b", "b", "c"],
        }
    )
    blocks = pd.DataFrame({"case_id": ["y"], "round": ["one"], "median_ns": [None]})
    frame = benchfw.compare([{"cases": odd, "blocks": blocks}], by="name")
    assert frame["speedup"].isna().all()
    assert frame["reason"].notna().all()
    gated = benchfw.gate({"cases": odd.assign(run_id="b")}, {"cases": odd}, fail_on={"p50": 0.1})
    assert set(gated["verdict"]) == {"NOT_COMPARABLE", "INCONCLUSIVE"}


@pytest.mark.parametrize(
    ("effective", "told"),
    [
        ("TensorRT", ["provider TensorRT → CUDA"]),
        ("CPU", ["provider TensorRT → CUDA", "provider_effective CPU → CUDA"]),
    ],
)
def test_what_was_in_effect_is_told_where_it_was_not_what_was_asked_for(effective: str, told: list[str]) -> None:
    fell_back = {"provider": "TensorRT", "provider_effective": effective}
    found = label_differences(fell_back, {"provider": "CUDA", "provider_effective": "CUDA"}, BY["provider"])
    assert [str(item) for item in found] == told
    assert not any(item.refused for item in found)


def test_tolerances_that_differ_are_told_where_both_are_known_and_of_one_precision() -> None:
    def told(then: Any, now: Any, precision: str = "fp16") -> list[str]:
        baseline, current = {"tolerance": then, "precision": "fp16"}, {"tolerance": now, "precision": precision}
        found = label_differences(baseline, current, frozenset({"precision"}))
        assert not any(item.refused for item in found)
        return [str(item) for item in found if item.label != "precision"]

    strict = json.dumps({"rel_l2": 0.006, "rtol": 0.01})
    wide = json.dumps({"rel_l2": 0.02, "rtol": 0.01})
    own = json.dumps({"rel_l2": 0.006, "rtol": 0.01, "outputs": {"y": {"rel_l2": 0.5, "rtol": 0.01}}})
    assert told(strict, strict) == []
    assert told(strict, wide) == ["tolerance.rel_l2 0.006 → 0.02"]
    assert told(own, strict) == ["tolerance.y.rel_l2 0.5 → 0.006"]
    assert told(strict, wide, "bf16") == []
    for unusable in (None, float("nan"), "", "{", "[]", "[" * 10_000):
        assert told(unusable, strict) == told(own, unusable) == [], "a run that an older benchfw made, or a stranger"


def test_options_of_steps_that_differ_are_told_where_both_are_known() -> None:
    def told(then: Any, now: Any) -> list[str]:
        found = label_differences({"step_options": then}, {"step_options": now})
        assert not any(item.refused for item in found)
        return [str(item) for item in found]

    traced = json.dumps({"Export": {"opset": 16, "exporter": "old", "\x1b": 1}, "Simplify": {"tool": "a"}})
    new = json.dumps({"Export": {"opset": 20, "exporter": "new"}, "Half": {}})
    assert told(traced, new) == ["Export.\\x1b 1 → unknown", "Export.exporter old → new", "Export.opset 16 → 20"]
    assert told(traced, traced) == []
    for unusable in (None, float("nan"), "", "{", "[]", '{"Export": 1}', "[" * 10_000):
        assert told(unusable, new) == [], "a run that an older benchfw made, or a stranger"
