"""A whole run with fake backends: rows, statistics, order, accuracy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from benchfw.measure import Event
from benchfw.spec.events import CaseDone, CohortStarted, Notice, RoundDone
from tests.brief import small

pytestmark = [pytest.mark.quiet, pytest.mark.usefixtures("warm_workers")]

SCENARIO = small(
    "fakes",
    """\
[measure]
effort = "quick"
budget = "2s"
[accuracy]
reference = "slow"
[[backend]]
use = "fake"
name = "slow"
options = { clock = "virtual", latency_us = 2000.0 }
[[backend]]
use = "fake-special"
name = "fast"
options = { clock = "virtual", latency_us = 1000.0 }
""",
)

REAL = SCENARIO.replace('clock = "virtual", ', "")
"""The same by the real clock, for what is about budgets and rounds that fill them."""


def row(rows: list[dict[str, Any]], name: str) -> Mapping[str, Any]:
    return next(row for row in rows if row["name"] == name)


def test_a_run_measures_every_backend_side_by_side(project: Any) -> None:
    events: list[Event] = []
    outcome, results = project.run(SCENARIO, notify=events.append)
    slow, fast = row(outcome.rows, "slow"), row(outcome.rows, "fast")
    assert [slow["status"], fast["status"]] == ["OK", "OK"]
    assert 2.0e6 <= slow["latency_p50_ns"] < 2.6e6
    assert 1.0e6 <= fast["latency_p50_ns"] < 1.6e6
    assert slow["latency_p50_low_ns"] <= slow["latency_p50_ns"] <= slow["latency_p50_high_ns"]
    assert 1.5 < fast["speedup"] < 2.2
    assert slow["speedup"] == 1.0
    assert results.telemetry.empty  # nobody asked for it
    assert not (outcome.folder / "logs/samplers.log").exists()
    assert slow["throughput_samples_s"] == pytest.approx(2 / 2e-3, rel=0.25)
    assert fast["accuracy"] == "pass"
    assert fast["rel_l2"] == 0.0
    assert (slow["profile"], fast["profile"]) == ("any", "static")
    assert slow["peak_rss_bytes"] > 1 << 20
    assert 0 < slow["bare_loop_ns"] < 10_000
    assert 0 < slow["harness_overhead_ns"] < 10_000
    assert len(results.cases) == 2
    assert any(isinstance(event, CohortStarted) for event in events)
    assert any(isinstance(event, RoundDone) for event in events)
    assert sum(isinstance(event, CaseDone) for event in events) == 2


def test_statistics_can_be_recomputed_from_the_raw_iterations(project: Any) -> None:
    outcome, results = project.run(SCENARIO)
    iterations = results.iterations
    for case in outcome.rows:
        mine = iterations[(iterations.case_id == case["case_id"]) & (iterations.phase == "measure")]
        latencies = np.sort(mine.host_latency_ns.to_numpy())
        assert len(latencies) == case["n"]
        assert latencies[-(-len(latencies) // 2) - 1] == case["latency_p50_ns"]
        assert latencies.mean() == pytest.approx(case["latency_mean_ns"])
    blocks = results.blocks
    measured = blocks[blocks.phase == "measure"]
    assert (measured["n"] - measured.rewarm >= 3).all()
    assert (measured.rewarm >= 1).all()
    assert set(iterations.phase) >= {"first", "warmup", "rewarm", "measure"}


def test_a_round_is_one_block_of_every_case_in_changing_order(project: Any) -> None:
    _, results = project.run(REAL)
    rounds = results.blocks[results.blocks["round"] >= 0]
    per_round = rounds.groupby("round")
    assert (per_round.size() == 2).all()
    assert (per_round.position.nunique() == 2).all()
    firsts = rounds[rounds.position == 0].case_id
    assert firsts.nunique() == 2  # neither case always goes first
    starts = rounds.sort_values("start_ns")
    assert starts["round"].is_monotonic_increasing


def test_interleaving_can_be_turned_off(project: Any) -> None:
    _, results = project.run(REAL, "measure.interleave=off", "measure.budget=1s")
    measured = results.blocks[results.blocks.phase == "measure"].sort_values("start_ns")
    changes = (measured.case_id != measured.case_id.shift()).sum()
    assert changes == 2  # one case wholly after the other
    assert set(results.cases.interleave) == {"off"}


def test_random_batches_are_whole_permutations_and_the_same_for_all(project: Any) -> None:
    text = SCENARIO.replace('kind = "fixed"\nbatch = [2]', 'kind = "random-batch"\nseed = 7')
    outcome, results = project.run(
        text, "backend.slow.options.latency_us=300.0", "backend.slow.options.per_sample=true", "measure.budget=3s"
    )
    assert [case["status"] for case in outcome.rows] == ["OK", "OK"]
    assert {case["batch"] for case in outcome.rows} == {None}
    assert len({case["sequence_sha256"] for case in outcome.rows}) == 1
    shapes = results.shapes
    for _, sizes in shapes.groupby("case_id"):
        assert sizes["size"].tolist() == [1, 2, 3, 4]
        assert sizes["n"].nunique() == 1  # whole permutations: every size equally often
        assert sizes.first_seen_ns.notna().all()
        assert sizes.steady_ns.notna().all()
    slow = shapes[shapes.case_id.str.contains("/slow/")].set_index("size")
    assert slow.p50_ns[4] / slow.p50_ns[1] == pytest.approx(4, rel=0.2)


def test_measured_random_sequences_are_shared(project: Any) -> None:
    """Every backend sees the same permutations in the same order, whatever its speed."""
    text = SCENARIO.replace('kind = "fixed"\nbatch = [2]', 'kind = "random-batch"\nseed = 7')
    outcome, results = project.run(text, "measure.budget=2s")
    iterations = results.iterations
    orders = []
    for case in outcome.rows:
        mine = iterations[(iterations.case_id == case["case_id"]) & (iterations.phase == "measure")]
        orders.append(mine.batch.tolist())
    length = min(map(len, orders))
    assert orders[0][:length] == orders[1][:length]


def test_sessions_that_memory_cannot_hold_together_are_measured_one_after_the_other(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchfw.measure.exhausted.memory_available", lambda: 1 << 20)
    outcome, results = project.run(REAL, "measure.budget=1s")
    assert [case["status"] for case in outcome.rows] == ["OK", "OK"]
    assert {case["interleave"] for case in outcome.rows} == {"session"}
    measured = results.blocks[results.blocks.phase == "measure"].sort_values("start_ns")
    assert (measured.case_id != measured.case_id.shift()).sum() == 2
    assert row(outcome.rows, "slow")["speedup"] == 1.0


def test_wrong_outputs_are_an_accuracy_failure_without_headline_numbers(project: Any) -> None:
    outcome, results = project.run(SCENARIO, "backend.fast.options.scale=1.01")
    fast, slow = row(outcome.rows, "fast"), row(outcome.rows, "slow")
    assert fast["status"] == "ACCURACY_FAIL"
    assert "relative L2" in fast["status_reason"]
    assert fast["accuracy"] == "fail"
    cases = results.cases.set_index("name")
    for column in ("latency_p50_ns", "throughput_samples_s", "speedup"):
        assert np.isnan(cases.loc["fast", column])
    assert slow["status"] == "OK"
    assert set(results.accuracy.verdict) == {"pass", "fail"}


def test_a_compilation_within_a_measured_block_is_invalid(project: Any) -> None:
    late = "backend.fast.options.compile_at_total=1000"  # after one look of the warm-up, which takes 100 launches
    outcome, _ = project.run(SCENARIO, late, "measure.budget=5s", "measure.settle_time=1ms")
    fast = row(outcome.rows, "fast")
    assert fast["status"] == "INVALID"
    assert "V04" in fast["status_reason"]


def test_results_of_two_runs_load_together(project: Any) -> None:
    import benchfw

    project.run(SCENARIO, "measure.budget=1s")
    project.run(SCENARIO, "measure.budget=1s")
    results = benchfw.load(project.results)
    assert len(results.cases) == 4
    assert results.cases.run_id.nunique() == 2
    assert [manifest["state"] for manifest in results.manifests] == ["finished", "finished"]
    assert results.cases.case_id.nunique() == 2
    manifest = results.manifests[0]
    assert manifest["scenario"]["name"] == "fakes"
    assert json.dumps(manifest["machine"])
    assert manifest["inputs"]


def test_optional_backends_that_nobody_provides_have_rows(project: Any) -> None:
    text = SCENARIO + '[[backend]]\nuse = "not-there"\noptional = true\n'
    outcome, results = project.run(text, "measure.budget=1s")
    skipped = row(outcome.rows, "not-there")
    assert skipped["status"] == "SKIPPED"
    assert "no installed plugin provides" in skipped["status_reason"]
    assert len(results.cases) == 3


def test_unknown_precisions_of_a_backend_are_unsupported(project: Any) -> None:
    outcome, _ = project.run(SCENARIO, 'backend.fast.precision=["bf16"]', "measure.budget=1s")
    assert row(outcome.rows, "fast")["status"] == "UNSUPPORTED"


def test_the_budget_is_kept(project: Any) -> None:
    """Blocks and warm-up stay near the budget although effort `standard` would take minutes."""
    outcome, results = project.run(
        REAL, "measure.budget=3s", "measure.invocations=1", "measure.depths=[1]", effort="standard"
    )
    spent = results.blocks.groupby("case_id").duration_ns.sum().sum() / 1e9
    assert spent < 5
    assert {case["verdict"] for case in outcome.rows} == {"NOT_CONVERGED"}
    assert all("wanted" in case["verdict_reason"] or "too few" in case["verdict_reason"] for case in outcome.rows)


def test_an_unexpected_error_of_the_parent_is_in_the_log_with_its_traceback(project: Any) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, CohortStarted):
            raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError):
        project.run(SCENARIO, notify=fail)
    (log,) = project.results.glob("run=*/logs/benchfw.log")
    lines = log.read_text().splitlines()
    assert "    ZeroDivisionError: on purpose" in lines
    assert lines[-1].endswith(" INFO failed")
    assert any(line.endswith("ERROR on purpose") for line in lines)


def test_a_run_without_a_log_goes_on_and_says_so(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchfw.executors.log.NAME", "nowhere/benchfw.log")
    events: list[Event] = []
    outcome, _ = project.run(SCENARIO, "measure.budget=100ms", notify=events.append)
    assert [row["status"] for row in outcome.rows] == ["OK", "OK"]
    (notice,) = (event for event in events if isinstance(event, Notice))
    assert notice.text.endswith("nowhere/benchfw.log cannot be written (No such file or directory)")


def test_a_machine_that_could_not_be_watched_is_not_called_restless(project: Any) -> None:
    """No warning has a value on the good side of its threshold."""
    _, results = project.run(REAL, "measure.budget=0.2s")
    restless = results.warnings[results.warnings.code == "G2"]
    assert len(restless)
    varied = restless.threshold < 1
    assert (restless.value[varied] > restless.threshold[varied]).all()
    assert (restless.value[~varied] < restless.threshold[~varied]).all()
    assert restless.message[~varied].str.contains("of 5 looks").all()


def test_a_model_without_inputs_has_nothing_to_follow(project: Any) -> None:
    text = SCENARIO.replace('[model.inputs.x]\nshape = ["batch", 4]\n', "")
    text = text.replace("[shapes]\nbatch = { min = 1, opt = 4, max = 8 }\n", "").replace("batch = [2]\n", "")
    outcome, _ = project.run(text, "measure.budget=200ms")
    assert {case["name"]: case["status"] for case in outcome.rows} == {"slow": "OK", "fast": "OK"}


def test_the_null_backend_reads_its_inputs(project: Any) -> None:
    text = SCENARIO[: SCENARIO.index("[accuracy]")] + '[[backend]]\nuse = "null"\n'
    outcome, _ = project.run(text, "measure.budget=200ms")
    assert [case["status"] for case in outcome.rows] == ["OK"], outcome.rows[0]["status_reason"]
