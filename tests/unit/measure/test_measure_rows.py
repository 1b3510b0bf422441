"""The rows and columns of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchfw.errors import BuildFailed
from benchfw.measure.rows import case_hash, case_row, expel_misfits, planned_row
from benchfw.measure.statistics import invocation_rows
from benchfw.measure.tables import block_rows, iteration_columns, shape_rows
from benchfw.scenario import Scenario, make_plan
from benchfw.spec.accuracy import TOLERANCES
from benchfw.spec.backend import BackendInfo
from benchfw.store.schema import TABLES
from benchfw.store.writer import to_arrow
from benchfw.worker.timing import Mode


def test_the_row_of_a_measured_case(tmp_path: Path, members: Any) -> None:
    record = members.record(members.measured())
    for block in record.last.blocks:
        block.counters["nivcsw"] = 1
    row = case_row(record, members.COMMON, tmp_path)
    samples = np.sort(record.last.samples)
    assert (row["status"], row["verdict"], row["n"], row["blocks"]) == ("OK", "VALID", 1900, 20)
    assert (row["invocations"], row["steady_state"]) == (1, "flat")
    assert row["latency_p50_ns"] == samples[949]
    assert row["latency_p50_low_ns"] <= row["latency_p50_ns"] <= row["latency_p50_high_ns"]
    assert row["latency_p99_ns"] == samples[1880]
    assert (row["first_call_ns"], row["artifact_steps"]) == (5000, "A+B")
    assert row["step_options"] == '{"A": {"x": 1}, "B": {}}'
    assert row["warmup_s"] == 10_000e-9
    assert row["nivcsw"] == 20, "of the measured blocks"
    assert (row["batch"], row["profile"], row["shape"]) == (4, "static", '{"batch": 4}')
    assert (row["cache"], row["input_sets"]) == ("warm", 1)
    assert to_arrow("cases", [row], "r").num_rows == 1


def _hash(backend: Mapping[str, Any] | None = None, **more: Any) -> str:
    """Return the hash of the one case of a scenario, in fp32."""
    document = {"name": "s", "model": {"ref": "null:net"}, "sweep": [{"kind": "fixed"}], **more}
    scenario = Scenario.model_validate({**document, "backend": [{"use": "fake", **(backend or {})}]})
    info = BackendInfo(name="fake", factory="x:Y", accepts=("*",))
    (case,) = make_plan(scenario, backends={"fake": info}).cases
    return case_hash(case, {})


def test_a_case_is_the_same_wherever_its_options_of_steps_stand() -> None:
    """The hash is what resuming goes by, and a cohort whose cases have other ones is measured again."""
    shared = _hash(steps={"Export": {"opset": 18, "exporter": "old"}})
    assert _hash({"steps": {"Export": {"opset": 18, "exporter": "old"}}}) == shared
    assert _hash({"steps": {"Export": {"opset": 18}}}, steps={"Export": {"opset": 20, "exporter": "old"}}) == shared
    assert _hash({"steps": {}}) == _hash() != shared
    assert _hash({"steps": {"Export": {}}}) != _hash(), "to name a step can be to ask for it"


def test_a_case_is_another_one_by_a_tolerance_of_its_own_precision_alone() -> None:
    def of(**tolerance: Any) -> str:
        return _hash(accuracy={"tolerance": tolerance})

    assert of() == of(fp32={}) == of(fp16={"rel_l2": 0.1}) == _hash()
    assert of(fp32={"rel_l2": TOLERANCES["fp32"].rel_l2}) == _hash(), "the default, spelt out"
    unlike = [of(fp32={"rel_l2": 0.1}), of(fp32={"rtol": 0.1}), of(fp32={"outputs": {"y": {"rtol": 0.1}}})]
    assert len({_hash(), *unlike}) == 4


def test_the_cache_is_called_by_what_was_done(tmp_path: Path, members: Any) -> None:
    for sweep, sets, cache in ((members.FIXED, 4, "rotate"), (members.FIXED, 1, "warm"), (members.RANDOM, 1, "rotate")):
        row = case_row(members.record(members.member(sweep, sets=sets)), members.COMMON, tmp_path)
        assert (row["cache"], row["input_sets"]) == (cache, sets)


def test_waiting_is_called_by_what_was_done(tmp_path: Path, members: Any) -> None:
    """ONNX Runtime before 1.18 gets no stream, so that it waits within its launches, whatever the plan said."""
    for is_asynchronous, sync in ((True, "spin"), (False, "blocking")):
        member = members.measured()
        member.case = replace(member.case, mode=Mode(sync="spin"))
        member.is_asynchronous = is_asynchronous
        assert case_row(members.record(member), members.COMMON, tmp_path)["sync"] == sync


def test_the_row_of_a_failed_case_has_its_reason_and_no_statistics(tmp_path: Path, members: Any) -> None:
    member = members.measured()
    member.fail(BuildFailed("no kernel"))
    row = case_row(members.record(member), members.COMMON, tmp_path)
    assert (row["status"], row["status_reason"]) == ("BUILD_FAILED", "no kernel")
    assert "latency_p50_ns" not in row and "verdict" not in row


def test_the_row_of_a_planned_case_fits_the_table(members: Any) -> None:
    row = planned_row(members.case(members.RANDOM), members.COMMON)
    assert row["batch"] is None and row["sequence_sha256"]
    assert row["shape"] == '{"batch": [1, 4]}'
    assert set(row) <= set(TABLES["cases"].names)


def test_the_worst_output_stands_in_the_row_also_if_it_is_no_number(tmp_path: Path, members: Any) -> None:
    member = members.measured()
    for rel_l2, verdict in ((1e-7, "pass"), (float("nan"), "fail"), (1e-3, "fail")):
        member.accuracy.append(
            {"verdict": verdict, "reference": "r", "rel_l2": rel_l2, "max_abs_err": rel_l2, "cosine": 1 - rel_l2}
        )
    row = case_row(members.record(member), members.COMMON, tmp_path)
    assert row["accuracy"] == "fail"
    assert np.isnan(row["rel_l2"]) and np.isnan(row["max_abs_err"]) and np.isnan(row["cosine"])


# --- raw data ---------------------------------------------------------------------------------------------------


def test_every_iteration_is_stored_with_its_phase(members: Any) -> None:
    member = members.measured()
    columns = iteration_columns([members.record(member), members.record(member)])
    assert len(columns["phase"]) == len(columns["start_ns"]) == 2 * (1 + 2 + 2000)
    assert columns["phase"][:3] == ["first", "warmup", "warmup"]
    assert columns["phase"][3:10] == ["rewarm"] * 5 + ["measure"] * 2
    kept = columns["host_latency_ns"][[phase == "measure" for phase in columns["phase"]]]
    assert kept.tolist() == member.samples.tolist() * 2
    assert to_arrow("iterations", columns, "r").num_rows == 4006
    assert iteration_columns([]) == {}


def test_rows_of_blocks(members: Any) -> None:
    rows = block_rows(members.record(members.measured()))
    assert [row["phase"] for row in rows[:3]] == ["first", "warmup", "measure"]
    assert [row["block"] for row in rows] == list(range(22))
    assert {(row["n"], row["rewarm"]) for row in rows[2:]} == {(100, 5)}
    assert [row["steady"] for row in rows] == [0, 0] + [1] * 20
    assert to_arrow("blocks", rows, "r").num_rows == 22


def test_blocks_are_numbered_over_all_invocations_and_join_with_iterations(members: Any) -> None:
    """Windows have blocks, but no iterations: the numbers of the others do not shift for that."""
    every = [members.measured([1000.0] * 20, number=number, depth=2) for number in range(3)]
    for member in every:
        member.blocks.insert(5, members.window(90_000, 100, phase="warmup", round_=-1))
        member.blocks.insert(8, members.window(80_000, 100))
    record = members.record(*every)
    rows, columns = block_rows(record), iteration_columns([record])
    assert [row["block"] for row in rows] == list(range(3 * 24))
    assert [row["invocation"] for row in rows] == [0] * 24 + [1] * 24 + [2] * 24
    by_number = {row["block"]: row for row in rows}
    windows = {number for number, row in by_number.items() if row["depth"] > 1}
    assert len(windows) == 6
    assert set(columns["block"].tolist()) == set(by_number) - windows
    for number in set(columns["block"].tolist()):
        mine = columns["block"] == number
        row = by_number[number]
        assert mine.sum() == row["n"]
        assert columns["start_ns"][mine][0] == row["start_ns"]
        assert np.median(columns["host_latency_ns"][mine][row["rewarm"] :]) == row["median_ns"]
    assert {by_number[number]["median_ns"] for number in windows} == {None}, "a window knows no latency"


def test_rows_of_shapes_tell_switches_from_repetitions(members: Any) -> None:
    member = members.member({**members.RANDOM, "draw": "trace", "trace": [1, 1, 2]})
    member.blocks += [
        members.block([77], phase="first", sizes=[1]),
        members.block([88], phase="first", sizes=[2]),
        members.block([500, 10, 11, 20, 12, 13, 21], rewarm=1, sizes=[2, 1, 1, 2, 1, 1, 2]),
        members.block([5, 6, 7], phase="steady", rewarm=1, sizes=[2, 2, 2]),
    ]
    one, two = shape_rows(members.record(member))
    assert (one["size"], one["n"], one["first_seen_ns"], one["p50_ns"]) == (1, 4, 77, 11)
    assert (one["after_switch_ns"], one["after_same_ns"], one["steady_ns"]) == (10, 11, None)
    assert (two["size"], two["n"], two["first_seen_ns"], two["steady_ns"]) == (2, 2, 88, 6)
    assert two["after_same_ns"] is None
    assert two["p99_ns"] is None
    assert to_arrow("shapes", [one, two], "r").num_rows == 2
    assert shape_rows(members.record(members.measured())) == []


def test_rows_of_invocations(members: Any) -> None:
    every = [members.measured([1000.0 + 100 * number] * 20, number=number) for number in range(3)]
    every[1].instance = None
    rows = invocation_rows([members.record(*every, members.member(number=3))])
    assert [row["invocation"] for row in rows] == [0, 1, 2], "one that measured nothing has no row"
    assert [row["n"] for row in rows] == [1900] * 3
    for row, member in zip(rows, every, strict=True):
        assert row["latency_p50_low_ns"] < row["latency_p50_ns"] < row["latency_p50_high_ns"]
        assert row["latency_p50_ns"] == np.sort(member.samples)[949]
        assert (row["steady_state"], row["steady_from"]) == ("flat", 0)
    assert [row["load_s"] for row in rows] == [0.2, None, 0.2]
    assert to_arrow("invocations", rows, "r").num_rows == 3


def test_a_case_whose_rows_do_not_fit_is_invalid_and_takes_nobody_with_it() -> None:
    tables: dict[str, Any] = {
        "cases": [
            {"case_id": "a", "batch": 1, "status": "OK", "threads": True, "n": 3},
            {"case_id": "b", "status": "OK"},
            {"case_id": "c", "status": "OK", "batch": 2},
        ],
        "blocks": [{"case_id": "a", "block": 1}, {"case_id": "b", "block": 0}, {"case_id": "c", "block": 1 << 40}],
        "iterations": {},
    }
    expel_misfits(tables)
    a, b, c = tables["cases"]
    assert (a["status"], a["batch"], "n" in a, "threads" in a) == ("INVALID", 1, False, False)
    assert "'threads'" in a["status_reason"]
    assert b == {"case_id": "b", "status": "OK"}
    assert (c["status"], c["batch"]) == ("INVALID", 2)
    assert tables["blocks"] == [{"case_id": "b", "block": 0}]
    for name in ("cases", "blocks"):
        to_arrow(name, tables[name], "r")
