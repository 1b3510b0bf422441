"""What follows from measured cases: speed-ups and warnings."""

from __future__ import annotations

from typing import Any

import pytest

from benchfw.measure.judge import add_speedup, add_warnings
from benchfw.measure.member import Member
from benchfw.store.writer import to_arrow


def _row(
    name: str, throughput: float | None, profile: str = "static", status: str = "OK", precision: str = "fp32"
) -> dict[str, Any]:
    return {
        "name": name,
        "precision": precision,
        "profile": profile,
        "status": status,
        "throughput_samples_s": throughput,
        "arm": None,
    }


def test_speedups_are_relative_to_the_reference_of_the_same_profile() -> None:
    rows = [
        _row("r", 100.0),
        _row("r", 50.0, "dynamic"),
        _row("a", 200.0),
        _row("a", 200.0, "dynamic"),
        _row("b", 10.0, "any"),
    ]
    add_speedup(rows, "r")
    assert [row["speedup"] for row in rows] == [1.0, 1.0, 2.0, 4.0, 0.1]


def test_another_precision_of_the_reference_is_no_yardstick() -> None:
    rows = [
        _row("r", 100.0),
        _row("r", 300.0, precision="fp16"),
        _row("r", None, status="UNSUPPORTED", precision="bf16"),
    ]
    add_speedup(rows, "r")
    assert [row.get("speedup") for row in rows] == [1.0, 3.0, None]


def test_without_a_reference_there_is_no_speedup() -> None:
    rows = [_row("r", None, status="CRASH"), _row("a", 200.0)]
    add_speedup(rows, "r")
    add_speedup(rows, None)
    assert all("speedup" not in row for row in rows)


def test_without_a_number_there_is_no_speedup() -> None:
    failed, unsteady = _row("a", None, status="CRASH"), _row("b", None)
    del unsteady["throughput_samples_s"]  # as of a case without a steady state
    add_speedup([_row("r", 100.0), failed, unsteady], "r")
    assert "speedup" not in failed and "speedup" not in unsteady
    unsteady["name"] = "r"
    rows = [unsteady, _row("a", 100.0)]
    add_speedup(rows, "r")
    assert "speedup" not in rows[1]


# --- warnings ---------------------------------------------------------------------------------------------------


def _codes(member: Member) -> list[str]:
    add_warnings(member)
    return [warning["code"] for warning in member.warnings]


def test_a_quiet_case_has_no_warnings(members: Any) -> None:
    assert _codes(members.measured()) == []


def test_warnings_follow_from_the_counters(members: Any) -> None:
    member = members.measured()
    member.stopping.converged = False
    member.session.overhead = {"harness_overhead_ns": 500.0}
    for block in member.measured:
        block.counters |= {"nivcsw": 11, "nr_throttled": 2}
    assert _codes(member) == ["W01", "W10", "W10", "W15"]
    _, throttled, switches, overhead = member.warnings
    assert (throttled["value"], throttled["threshold"]) == (40, 0)
    assert (switches["value"], switches["threshold"]) == (220, 10), "over 100 ms"
    assert overhead["value"] == pytest.approx(500 / member.samples.mean())
    assert all(warning["case_id"] == member.case.case_id for warning in member.warnings)
    assert to_arrow("warnings", member.warnings, "r").num_rows == 4


@pytest.mark.parametrize(
    ("levels", "codes", "words"),
    [
        ([1300.0] * 10 + [1000.0] * 40, ["G3"], "warmup: from block 0 +"),
        ([800.0] * 10 + [1000.0] * 40, ["G3"], "slowdown: from block 0 -"),
        (
            [1000.0] * 30 + [1300.0] * 20,
            ["V07", "W17"],
            "which begins at block 30 of 50: a number would depend on when",
        ),
    ],
)
def test_levels_are_told(levels: list[float], codes: list[str], words: str, members: Any) -> None:
    """Without a steady state all samples are shown, and two levels among them are two modes (W17)."""
    member = members.measured(levels)
    member.stopping.conclude(member.evidence(), 1.0)
    assert _codes(member) == codes
    row = member.warnings[0]
    assert words in row["message"]
    assert row["value"] == pytest.approx((len(levels) - member.steady.start) / len(levels))
    assert row["value"] < row["threshold"]


def test_too_short_a_steady_part_is_no_lack_of_one(members: Any) -> None:
    member = members.measured([1300.0] * 8 + [1000.0] * 15)
    member.stopping.conclude(member.evidence(), 5.0)
    assert _codes(member) == ["W01"]
    assert "15 steady blocks, wanted 20" in member.warnings[0]["message"]
