"""Backends that are not what they seem, and the gate that each of them fails; and distributions that are hard to time.

All on the virtual clock: what a case should be is known exactly, and seconds of it take none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import benchfw
from benchfw.measure import warmup
from benchfw.plugins import Registry
from benchfw.stats import across_invocations
from benchfw.testing.project import Project, virtual_backend
from tests.brief import small

pytestmark = pytest.mark.quiet

TRUE_NS = 1e6
SCENARIO = small(
    "liars",
    """\
[measure]
effort = "quick"
settle_time = "1h"
deadlines = { block = 2.0 }
""",
)


@dataclass(frozen=True)
class Seen:
    """What came of the cases, by the names of their backends."""

    results: benchfw.Results
    rows: Mapping[str, Mapping[str, Any]]

    def warnings(self, name: str) -> list[str]:
        warnings = self.results.warnings
        return list(warnings[warnings.case_id == self.rows[name]["case_id"]].code)

    def of(self, table: str, name: str) -> Any:
        rows = getattr(self.results, table)
        return rows[rows.case_id == self.rows[name]["case_id"]]


def seen(project: Project, backends: Mapping[str, Mapping[str, Any]], *overrides: str) -> Seen:
    text = SCENARIO + "".join(virtual_backend(name, **options) for name, options in backends.items())
    outcome, results = project.run(text, *overrides)
    return Seen(results, {row["name"]: row for row in outcome.rows})


@pytest.fixture(scope="module", autouse=True)
def canary_is_quiet() -> Iterator[None]:
    """Every warm-up has as many looks as must agree, whatever else this machine does.

    The canary is the one thing here that takes real time: where it varied, a warm-up would go on, and what backends do
    after so many calls or seconds would fall into it, or not.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warmup, "SPREAD", math.inf)
        yield


def _project(factory: pytest.TempPathFactory, registry: Registry) -> Project:
    return Project(factory.mktemp("liars"), registry)


# --- liars ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Liar:
    """A backend that does something wrong, and what its row says then.

    Attributes:
        name: Of the backend. Those before `honest` are asked for the reference outputs, in this order.
        options: Of `fake`.
        status: Of the row.
        words: Part of the row's reason.
        warning: Code of the only warning that the row has, if any.
    """

    name: str
    options: Mapping[str, Any]
    status: str
    words: str = ""
    warning: str | None = None


def _outputs(fault: str) -> dict[str, Any]:
    return {"fault": fault, "at": "outputs"}


LIARS = [
    Liar("zeros-first", _outputs("zeros"), "INVALID", "V01: output 'output': all 24 elements are zero", "V01"),
    Liar("constant-first", _outputs("constant"), "INVALID", "V01: output 'output': all 24 elements are the", "V01"),
    Liar("nan-first", _outputs("nan"), "INVALID", "V01: output 'output': 24 of 24 elements are NaN", "V01"),
    Liar("stale-first", _outputs("stale"), "INVALID", "V01: 4 different sets of inputs gave the same", "V01"),
    Liar("unfollowing-first", _outputs("unfollowing"), "INVALID", "V01: 4 different sets of inputs gave", "V01"),
    Liar("honest", {}, "OK", "", "R01"),
    Liar("zeros", _outputs("zeros"), "ACCURACY_FAIL", "before the timing, output: all elements are zero"),
    Liar("stale", _outputs("stale"), "INVALID", "V01: 4 different sets of inputs gave the same", "V01"),
    Liar("unfollowing", _outputs("unfollowing"), "INVALID", "V01: 4 different sets of inputs gave the same", "V01"),
    Liar("drifting", _outputs("drifting"), "ACCURACY_FAIL", "after the timing, output: relative L2"),
    Liar("early", {"fault": "early"}, "INVALID", "V02: launch returned before its outputs were complete", "V02"),
    Liar("recompiles", {"compile_at_total": 1200}, "INVALID", "V04: within a measured block: 1 compilations", "V04"),
    Liar("hoards", {"fault": "hoard"}, "INVALID", "V04: every launch left", "V04"),
    Liar("leaks", {"fault": "leak_native"}, "INVALID", "V04: the worker's memory grew by 16", "V04"),
    Liar(
        "fallback", {"fault": "fallback", "at": "facts"}, "FALLBACK", "V05: no node runs on fake, but 3 on CPU", "V05"
    ),
    Liar("partly", {"fault": "fallback_partly", "at": "facts"}, "OK", "", "V05"),
    Liar("crashes", {"fault": "crash"}, "CRASH", "SIGSEGV"),
    Liar("hangs", {"fault": "hang"}, "TIMEOUT", "within 2 s"),
    Liar("chats", {"fault": "chatter"}, "OK"),
]
MACHINE = ("W09", "W10", "W11", "W15", "W21", "H02")
"""What is said of the machine that the test runs on."""

FIRST = tuple(liar.name for liar in LIARS[: [liar.name for liar in LIARS].index("honest")])


@pytest.fixture(scope="module")
def liars(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Seen:
    project = _project(tmp_path_factory, registry)
    return seen(project, {liar.name: liar.options for liar in LIARS}, "measure.max_time=3s")


@pytest.mark.parametrize("liar", LIARS, ids=lambda liar: liar.name)
def test_a_liar_is_caught_by_the_gate_meant_for_it(liars: Seen, liar: Liar) -> None:
    row = liars.rows[liar.name]
    assert (row["status"], liar.words in (row["status_reason"] or "")) == (liar.status, True), row["status_reason"]
    codes = [code for code in liars.warnings(liar.name) if code not in MACHINE]
    wanted = {liar.warning} - {None} | ({"R01"} if liar.name not in (*FIRST, "honest") else set())
    assert set(codes) - wanted <= {"R01"}, codes
    assert liar.warning is None or liar.warning in codes
    if liar.status == "OK":
        assert row["latency_p50_ns"] == pytest.approx(TRUE_NS, rel=1e-3)
        assert row["verdict"] == "VALID"
    else:
        assert not any(row.get(name) for name in ("latency_p50_ns", "throughput_samples_s", "speedup", "verdict"))


def test_outputs_that_failed_are_no_reference(liars: Seen) -> None:
    honest = liars.rows["honest"]
    assert (honest["accuracy"], honest["reference"], honest["rel_l2"]) == ("pass", "honest", 0.0)
    assert {liars.rows[name]["reference"] for name in ("partly", "chats", "drifting")} == {"honest"}


def test_what_was_measured_of_a_liar_is_kept(liars: Seen) -> None:
    assert (liars.of("blocks", "leaks").phase == "measure").sum() >= 20
    assert len(liars.of("iterations", "recompiles")) > 1000
    assert set(liars.of("accuracy", "drifting").verdict) == {"pass", "fail"}


# --- distributions ----------------------------------------------------------------------------------------------

DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "flat": {"distribution": "lognormal"},
    "correlated": {"distribution": "ar1", "rho": 0.9},
    "two-state": {"distribution": "two-state", "dwell": 10.0, "level": 1.05},
    "drift": {"distribution": "lognormal", "drift": 0.1},
    "late": {"distribution": "lognormal", "step": 0.2, "step_at": 5.0, "step_unit": "seconds"},
    "faster": {"distribution": "lognormal", "step": -0.2, "step_at": 1600},
    "slower": {"distribution": "lognormal", "step": 0.2, "step_at": 1600},
    "warm-up": {"distribution": "lognormal", "warmup": 0.5, "warmup_fold": 400},
}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Seen:
    return seen(_project(tmp_path_factory, registry), DISTRIBUTIONS, "measure.max_time=6s")


@pytest.mark.parametrize(
    ("name", "kind", "level"),
    [
        ("flat", "flat", 1.0),
        ("correlated", "flat", 1.0),
        ("two-state", "flat", 1.025),
        ("faster", "warmup", 0.8),
        ("slower", "slowdown", 1.2),
        ("warm-up", "warmup", 1.0),
    ],
)
def test_statistics_are_those_of_the_last_level(distributions: Seen, name: str, kind: str, level: float) -> None:
    row = distributions.rows[name]
    assert (row["status"], row["verdict"], row["steady_state"]) == ("OK", "VALID", kind), row["verdict_reason"]
    assert row["latency_p50_ns"] == pytest.approx(level * TRUE_NS, rel=0.01)
    assert row["throughput_samples_s"] == pytest.approx(2e9 / (level * TRUE_NS), rel=0.01)
    blocks = distributions.of("blocks", name)
    assert blocks.canary_ns.notna().sum() == warmup.LOOKS
    measured = blocks[blocks.phase == "measure"]
    assert (measured.steady == 0).any() == (kind != "flat")
    assert row["n"] == (measured["n"] - measured.rewarm)[measured.steady == 1].sum()
    assert ("G3" in distributions.warnings(name)) == (kind != "flat")


@pytest.mark.parametrize("name", ["drift", "late"])
def test_without_a_steady_state_there_is_no_number(distributions: Seen, name: str) -> None:
    row = distributions.rows[name]
    assert (row["status"], row["verdict"], row["steady_state"]) == ("OK", "NO_STEADY_STATE", "no_steady")
    assert row["verdict_reason"].startswith("V07: ")
    assert not any(row.get(column) for column in ("latency_p50_ns", "latency_mean_ns", "throughput_samples_s", "n"))
    assert row["blocks"] >= 40, "it was measured until its time was up"
    assert "V07" in distributions.warnings(name)
    assert len(distributions.of("iterations", name)) > 4000


def test_correlation_widens_the_interval(distributions: Seen) -> None:
    flat, correlated = distributions.rows["flat"], distributions.rows["correlated"]
    assert flat["autocorrelation_time"] < 1.5
    assert 8 < correlated["autocorrelation_time"] < 30
    widths = [row["latency_p50_high_ns"] - row["latency_p50_low_ns"] for row in (flat, correlated)]
    assert widths[1] > 2 * widths[0]
    assert correlated["effective_n"] < flat["effective_n"] / 5


# --- depths and invocations -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Seen:
    """Backends that gain from more inferences outstanding, in three processes each."""
    fake = registry.backends["fake"]
    shared = replace(fake, name="fake-threads", capabilities=replace(fake.capabilities, releases_gil=True))
    registry = replace(registry, backends={**registry.backends, shared.name: shared})
    backends = {
        "threads": {"use": "fake-threads", "releases_gil": True, "distribution": "lognormal", "seed": -1},
        "processes": {"releases_gil": False, "distribution": "lognormal", "seed": -1},
    }
    limits = ("measure.invocations=3", "measure.depths=[1,3]", "measure.max_time=15s", "measure.min_time=1s")
    return seen(_project(tmp_path_factory, registry), backends, *limits)


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_the_best_depth_gives_the_throughput(deep: Seen, name: str) -> None:
    row = deep.rows[name]
    assert (row["status"], row["verdict"]) == ("OK", "VALID"), row["verdict_reason"]
    assert (row["throughput_depth"], row["throughput_lanes"], row["depth"]) == (3, name, 1)
    assert row["throughput_samples_s"] == pytest.approx(3 * 2e9 / TRUE_NS, rel=0.02)
    assert row["latency_p50_ns"] == pytest.approx(TRUE_NS, rel=0.01), "latencies are taken one at a time"
    blocks = deep.of("blocks", name)
    windows = blocks[blocks.phase == "window"]
    assert set(windows.depth) == {3} and windows.median_ns.isna().all()
    assert set(windows.invocation) == {0, 1, 2}
    before = blocks[blocks.phase.isin(["warmup", "pilot"]) & (blocks.depth == 3)]
    assert set(zip(before.invocation, before.phase)) == {(0, "pilot"), (1, "warmup"), (2, "warmup")}, (
        "the first process tries the depth, the lanes of the others are warmed up"
    )
    iterations = deep.of("iterations", name)
    assert not set(iterations.block) & set(windows.block)
    assert set(iterations[iterations.phase == "measure"].block) == set(blocks[blocks.phase == "measure"].block)


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_invocations_are_processes_and_the_interval_is_over_them(deep: Seen, name: str) -> None:
    row, invocations = deep.rows[name], deep.of("invocations", name)
    assert row["invocations"] == 3
    assert invocations.invocation.tolist() == [0, 1, 2]
    assert invocations.worker.nunique() == 3
    assert invocations.padding_bytes.nunique() > 1
    assert (invocations.latency_p50_low_ns <= invocations.latency_p50_ns).all()
    for column, unit in (("latency_p50", "ns"), ("throughput", "samples_s")):
        expected = across_invocations(np.array(invocations[f"{column}_{unit}"]))
        found = [row[f"{column}_{unit}"], row[f"{column}_low_{unit}"], row[f"{column}_high_{unit}"]]
        assert found == pytest.approx([expected.value, expected.low, expected.high])
    assert row["n"] == invocations.n.sum()
    assert row["variation_within"] > 0
    assert row["variation_between"] is not None


def test_blocks_of_all_invocations_have_numbers_of_their_own(deep: Seen) -> None:
    for name in deep.rows:
        blocks, iterations = deep.of("blocks", name), deep.of("iterations", name)
        assert blocks.block.tolist() == list(range(len(blocks)))
        joined = iterations.groupby("block").start_ns.first()
        starts = blocks.set_index("block").start_ns
        assert (starts.loc[joined.index] == joined).all()
        first = blocks[blocks.phase == "first"]
        assert first.invocation.tolist() == [0, 1, 2], "every process has a first call"
