"""A case while it is measured: its blocks, what of them counts, and the rows that follow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.artifacts import Made
from benchfw.errors import BuildFailed, OutOfMemory
from benchfw.measure.judge import add_speedup, add_warnings
from benchfw.measure.member import KEEP_MIN, REWARM_MAX, REWARM_NS, Block, Failure, Member, _rewarm
from benchfw.measure.rows import block_rows, case_row, expel_misfits, iteration_columns, planned_row, shape_rows
from benchfw.measure.session import Instance, LiveSession
from benchfw.measure.settings import Settings
from benchfw.scenario import Case, Scenario, make_plan
from benchfw.spec.artifact import Artifact
from benchfw.spec.backend import BackendInfo
from benchfw.spec.tensors import IoSpec
from benchfw.store.schema import TABLES
from benchfw.store.writer import to_arrow
from benchfw.worker.loops import MAX_BLOCK
from benchfw.worker.protocol import Message

SETTINGS = Settings(effort="quick", budget_s=None, interleave="all", threads=1, seed=0)
COUNTERS = {"cpu_time_ns": 1000, "nivcsw": 1, "minflt": 2, "majflt": 0, "nr_throttled": 0}


class Echo(LiveSession):
    """A session whose worker would take `latency_ns` per iteration; it notes which blocks it was asked for."""

    latency_ns = 1_000_000

    def ask(self, kind: str, timeout: float, /, **values: Any) -> Message:
        assert kind == "block"
        self.asked: dict[str, Any] = values
        n = len(values["slots"]) if "slots" in values else values["n"]
        starts = np.arange(n, dtype=np.int64) * self.latency_ns
        arrays = {"starts": starts, "ends": starts + self.latency_ns - 100}
        return Message("ok", {"counters": COUNTERS, "changes": {"compilations": 1}, "collections": 0}, arrays)


def _case(sweep: dict[str, Any], high: int = 8) -> Case:
    scenario = Scenario.model_validate(
        {
            "name": "s",
            "model": {"ref": "null:net"},
            "shapes": {"batch": {"min": 1, "opt": 4, "max": high}},
            "sweep": [sweep],
            "backend": [{"use": "fake"}],
        }
    )
    info = BackendInfo(name="fake", summary="", factory="x:Y", accepts=("*",), provider="p")
    (case,) = make_plan(scenario, backends={"fake": info}).cases
    return case


def _member(sweep: dict[str, Any], high: int = 8) -> Member:
    case = _case(sweep, high)

    def never(*_: object) -> Any:
        raise AssertionError("no worker is started here")

    session = Echo(session=case.session, settings=SETTINGS, start=never, root=Path(), frameworks=Path(), inputs=())
    artifact = Artifact(format="null", path="x", sha256="0")
    made = Made(artifact=artifact, steps=("A", "B"), seconds=0.5)
    instance = Instance("i", made, 0.1, 0.2, IoSpec(inputs=(), outputs=()), {"provider_effective": "p"})
    member = Member(case, session, SETTINGS, instance=instance)
    for slot in range(len(member.sizes)):
        member.expect(slot, float(session.latency_ns))
    return member


FIXED: dict[str, Any] = {"kind": "fixed", "batch": [4]}
RANDOM: dict[str, Any] = {"kind": "random-batch", "seed": 3}


def _block(
    latencies: Sequence[int], *, phase: str = "measure", rewarm: int = 0, sizes: Sequence[int] | None = None
) -> Block:
    starts = np.cumsum([0, *latencies[:-1]]).astype(np.int64)
    return Block(
        phase=phase,
        round=0,
        position=0,
        sizes=None if sizes is None else np.array(sizes, np.int32),
        rewarm=rewarm,
        starts=starts,
        ends=starts + np.array(latencies, np.int64),
        counters=dict(COUNTERS),
        changes={},
    )


# --- re-warm ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latency_ms", "n", "rewarm"),
    [
        (0.01, 4000, 5),  # five iterations come before ten milliseconds
        (2.0, 100, 5),
        (2.5, 100, 4),  # the fourth ends with the tenth millisecond
        (3.0, 100, 4),  # the fourth began within them
        (6.0, 20, 2),
        (20.0, 5, 1),  # at least one
        (1000.0, 4, 1),
        (0.01, 7, 4),  # three are kept
        (0.01, 4, 1),
        (1000.0, 3, 0),
        (1000.0, 1, 0),
    ],
)
def test_rewarm_is_ten_milliseconds_or_five_iterations_and_leaves_three(latency_ms: float, n: int, rewarm: int) -> None:
    assert _rewarm(np.arange(n) * round(latency_ms * 1e6) + 12345) == rewarm


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 30_000_000), min_size=1, max_size=20))
def test_rewarm_of_any_block(latencies: list[int]) -> None:
    starts = np.cumsum([0, *latencies[:-1]])
    count = _rewarm(starts)
    assert 0 <= count <= REWARM_MAX
    if len(latencies) > KEEP_MIN:
        assert count >= 1
        assert len(latencies) - count >= KEEP_MIN
        allowed = sum(1 for start in starts.tolist() if start < REWARM_NS)
        assert count == min(allowed, REWARM_MAX, len(latencies) - KEEP_MIN)
    else:
        assert count == 0


# --- blocks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latency_ns", "n"), [(1_000_000, 100), (10_000, MAX_BLOCK), (1, MAX_BLOCK), (5_000_000_000, KEEP_MIN + 1)]
)
def test_a_block_of_one_shape_lasts_a_tenth_of_a_second(latency_ns: int, n: int) -> None:
    member = _member(FIXED)
    member.expect(0, latency_ns)
    block = member.measure(3, 1)
    assert len(block.starts) == n
    assert (block.round, block.position, block.phase, block.sizes) == (3, 1, "measure", None)
    assert block.rewarm >= 1
    assert block.changes["compilations"] == 1


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(1, 4), st.integers(4, 600) | st.just(4000), st.integers(1, 10**9), st.sampled_from(["permuted", "iid"])
)
def test_a_block_of_a_sequence_is_whole_chunks_after_its_rewarm(
    low: int, high: int, latency_ns: int, draw: str
) -> None:
    member = _member(RANDOM | {"range": [low, high], "draw": draw}, high)
    for slot in range(len(member.sizes)):
        member.expect(slot, latency_ns)
    sequence = member.case.sequence
    assert sequence is not None
    following = 0
    for _ in range(3):
        block = member.measure(0, 0)
        assert block.sizes is not None
        assert len(block.sizes) <= MAX_BLOCK
        assert 1 <= block.rewarm <= REWARM_MAX
        counted = block.sizes[block.rewarm :].tolist()
        chunks = len(counted) // sequence.chunk_length
        expected = [size for index in range(chunks) for size in sequence.chunk(following + index)]
        assert chunks >= 1 and counted == expected
        assert member.session.asked["slots"] == [size - low for size in block.sizes.tolist()]  # type: ignore[attr-defined]
        following += chunks
    assert len(member.evidence) == following


def test_slow_sequences_warm_up_for_one_iteration() -> None:
    member = _member(RANDOM)
    for slot in range(4):
        member.expect(slot, 20e6)
    assert member.measure(0, 0).rewarm == 1


# --- what counts ------------------------------------------------------------------------------------------------


def test_only_measured_iterations_after_the_rewarm_count() -> None:
    member = _member(FIXED)
    member.blocks += [
        _block([900], phase="first"),
        _block([800, 700], phase="warmup"),
        _block([500, 10, 20, 30], rewarm=1),
        _block([600, 40, 50, 60], rewarm=1),
    ]
    assert member.samples.tolist() == member.evidence.tolist() == [10, 20, 30, 40, 50, 60]
    assert member.count == 6
    assert len(member.measured) == 2
    assert member.measured_s == pytest.approx(210e-9)
    assert member.throughput == pytest.approx(6 * 4 / 210e-9)


def test_without_blocks_there_is_nothing() -> None:
    member = _member(FIXED)
    assert (member.count, member.measured_s, member.throughput, member.throughput_interval) == (0, 0.0, None, None)
    assert len(member.samples) == 0


def test_throughput_counts_the_samples_of_a_mixture() -> None:
    member = _member(RANDOM)
    member.blocks.append(_block([99, 10, 20, 30, 40], rewarm=1, sizes=[4, 1, 2, 3, 4]))
    assert member.throughput == pytest.approx((1 + 2 + 3 + 4) / 100e-9)
    assert member.evidence.tolist() == [100], "a sequence is judged by the time of its chunks"


def test_the_interval_of_the_throughput_holds_it() -> None:
    member = _member(FIXED)
    random = np.random.default_rng(1)
    member.blocks += [_block(random.integers(900, 1100, 50).tolist()) for _ in range(30)]
    interval = member.throughput_interval
    assert interval is not None and member.throughput is not None
    assert interval[0] < member.throughput < interval[1]
    assert interval[1] / interval[0] < 1.05


def test_the_first_failure_stays() -> None:
    member = _member(FIXED)
    member.fail(OutOfMemory("too large", hint="a smaller batch"))
    member.fail(BuildFailed("later"))
    assert member.failure == Failure(status="OOM", status_reason="too large (a smaller batch)")
    assert not member.alive and not member.ready


# --- rows -------------------------------------------------------------------------------------------------------

COMMON = {"scenario": "s", "model": "net", "model_hash": "0", "threads": 1, "seed": 0, "effort": "quick"}


def _measured() -> Member:
    member = _member(FIXED)
    random = np.random.default_rng(2)
    member.blocks += [_block([5000], phase="first"), _block([3000, 2000], phase="warmup")]
    member.blocks += [_block(random.integers(900, 1100, 100).tolist(), rewarm=5) for _ in range(20)]
    member.stopping.look(member.count, 20, 1.0, lambda: member.evidence)
    return member


def test_the_row_of_a_measured_case(tmp_path: Path) -> None:
    member = _measured()
    row = case_row(member, COMMON, tmp_path)
    samples = np.sort(member.samples)
    assert (row["status"], row["verdict"], row["n"], row["blocks"]) == ("OK", "VALID", 1900, 20)
    assert row["latency_p50_ns"] == samples[949]
    assert row["latency_p50_low_ns"] <= row["latency_p50_ns"] <= row["latency_p50_high_ns"]
    assert row["latency_p99_ns"] == samples[1880]
    assert (row["first_call_ns"], row["artifact_steps"]) == (5000, "A+B")
    assert row["warmup_s"] == pytest.approx(10_000e-9)
    assert row["nivcsw"] == 20
    assert (row["batch"], row["profile"], row["shape"]) == (4, "static", '{"batch": 4}')
    assert to_arrow("cases", [row], "r").num_rows == 1


def test_the_row_of_a_failed_case_has_its_reason_and_no_statistics(tmp_path: Path) -> None:
    member = _measured()
    member.fail(BuildFailed("no kernel"))
    row = case_row(member, COMMON, tmp_path)
    assert (row["status"], row["status_reason"]) == ("BUILD_FAILED", "no kernel")
    assert "latency_p50_ns" not in row and "verdict" not in row


def test_the_row_of_a_planned_case_fits_the_table() -> None:
    row = planned_row(_case(RANDOM), COMMON)
    assert row["batch"] is None and row["sequence_sha256"]
    assert row["shape"] == '{"batch": [1, 4]}'
    assert set(row) <= set(TABLES["cases"].names)


def test_the_worst_output_stands_in_the_row_also_if_it_is_no_number(tmp_path: Path) -> None:
    member = _measured()
    for rel_l2, verdict in ((1e-7, "pass"), (float("nan"), "fail"), (1e-3, "fail")):
        member.accuracy.append(
            {"verdict": verdict, "reference": "r", "rel_l2": rel_l2, "max_abs_err": rel_l2, "cosine": 1 - rel_l2}
        )
    row = case_row(member, COMMON, tmp_path)
    assert row["accuracy"] == "fail"
    assert np.isnan(row["rel_l2"]) and np.isnan(row["max_abs_err"]) and np.isnan(row["cosine"])


def test_every_iteration_is_stored_with_its_phase() -> None:
    member = _measured()
    columns = iteration_columns([member, member])
    assert len(columns["phase"]) == len(columns["start_ns"]) == 2 * (1 + 2 + 2000)
    assert columns["phase"][:3] == ["first", "warmup", "warmup"]
    assert columns["phase"][3:10] == ["rewarm"] * 5 + ["measure"] * 2
    kept = columns["host_latency_ns"][[phase == "measure" for phase in columns["phase"]]]
    assert kept.tolist() == member.samples.tolist() * 2
    assert to_arrow("iterations", columns, "r").num_rows == 4006
    assert iteration_columns([]) == {}


def test_rows_of_blocks() -> None:
    rows = block_rows(_measured())
    assert [row["phase"] for row in rows[:3]] == ["first", "warmup", "measure"]
    assert [row["block"] for row in rows] == list(range(22))
    assert {(row["n"], row["rewarm"]) for row in rows[2:]} == {(100, 5)}
    assert to_arrow("blocks", rows, "r").num_rows == 22


def test_rows_of_shapes_tell_switches_from_repetitions() -> None:
    member = _member(RANDOM | {"draw": "trace", "trace": [1, 1, 2]})
    member.blocks += [
        _block([77], phase="first", sizes=[1]),
        _block([88], phase="first", sizes=[2]),
        _block([500, 10, 11, 20, 12, 13, 21], rewarm=1, sizes=[2, 1, 1, 2, 1, 1, 2]),
        _block([5, 6, 7], phase="steady", rewarm=1, sizes=[2, 2, 2]),
    ]
    one, two = shape_rows(member)
    assert (one["size"], one["n"], one["first_seen_ns"], one["p50_ns"]) == (1, 4, 77, 11)
    assert (one["after_switch_ns"], one["after_same_ns"], one["steady_ns"]) == (10, 11, None)
    assert (two["size"], two["n"], two["first_seen_ns"], two["steady_ns"]) == (2, 2, 88, 6)
    assert two["after_same_ns"] is None
    assert two["p99_ns"] is None
    assert to_arrow("shapes", [one, two], "r").num_rows == 2
    assert shape_rows(_measured()) == []


# --- speed-ups --------------------------------------------------------------------------------------------------


def _row(
    name: str, throughput: float | None, profile: str = "static", status: str = "OK", precision: str = "fp32"
) -> dict[str, Any]:
    return {
        "name": name,
        "precision": precision,
        "profile": profile,
        "status": status,
        "throughput_samples_s": throughput,
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


def test_failed_cases_have_no_speedup() -> None:
    rows = [_row("r", 100.0), _row("a", None, status="CRASH")]
    add_speedup(rows, "r")
    assert "speedup" not in rows[1]


# --- warnings ---------------------------------------------------------------------------------------------------


def _codes(member: Member) -> list[str]:
    add_warnings(member)
    return [warning["code"] for warning in member.warnings]


def test_a_quiet_case_has_no_warnings() -> None:
    assert _codes(_measured()) == []


def test_warnings_follow_from_the_counters() -> None:
    member = _measured()
    member.stopping.converged = False
    member.session.overhead = {"harness_overhead_ns": 500.0}
    for block in member.measured:
        block.counters |= {"nivcsw": 11, "nr_throttled": 2}
    assert _codes(member) == ["W01", "W10", "W10", "W15"]
    _, throttled, switches, overhead = member.warnings
    assert (throttled["value"], throttled["threshold"]) == (40, 0)
    assert (switches["value"], switches["threshold"]) == (11, 10)
    assert overhead["value"] == pytest.approx(500 / member.samples.mean())
    assert all(warning["case_id"] == member.case.case_id for warning in member.warnings)
    assert to_arrow("warnings", member.warnings, "r").num_rows == 4


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
