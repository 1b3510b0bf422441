"""Runs on a device that is none, in virtual time: what its clock says is known exactly, and no GPU is needed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import benchfw
from benchfw.measure import warmup
from benchfw.plugins import Registry
from benchfw.testing.device import KERNELS, RECORD_NS, REPLAY_NS
from benchfw.testing.project import Project
from tests.brief import small

pytestmark = pytest.mark.quiet

SCENARIO = small(
    "device",
    """\
[measure]
effort = "quick"
settle_time = "1h"
""",
)
LATENCY_NS, ENQUEUE_NS, COPY_NS = 200_000, 20_000, 5_000


@pytest.fixture(scope="module", autouse=True)
def canary_is_quiet() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warmup, "SPREAD", math.inf)
        yield


def backend(name: str, *lines: str, use: str = "fake-device", **options: Any) -> str:
    given = {"latency_us": LATENCY_NS / 1e3, "enqueue_us": ENQUEUE_NS / 1e3, "copy_us": COPY_NS / 1e3, **options}
    values = ", ".join(f"{key} = {json.dumps(value)}" for key, value in given.items())
    return "\n".join(["[[backend]]", f'use = "{use}"', f'name = "{name}"', *lines, f"options = {{ {values} }}", ""])


ALL = backend("all", 'io_scope = ["device", "pinned"]', 'graph = ["off", "on"]')
COLD_NS = 50_000
CACHES = backend("caches", 'cache = ["rotate", "warm", "flush"]', cold_us=COLD_NS / 1e3) + backend(
    "graphs", 'io_scope = ["pinned"]', 'graph = ["on"]', 'cache = ["flush"]', cold_us=COLD_NS / 1e3
)
LIARS = {
    "honest": backend("honest"),
    "other-stream": backend("other-stream", lie="other-stream"),
    "lazy": backend("lazy", lie="lazy"),
    "uncapturable": backend("uncapturable", 'graph = ["on"]', lie="uncapturable"),
    "captures-nothing": backend("captures-nothing", 'graph = ["on"]', lie="captures-nothing"),
    "no-copies": backend("no-copies", 'io_scope = ["pinned"]', copy_us=0),
    "launch-bound": backend("launch-bound", enqueue_us=190),
    "transfer-bound": backend("transfer-bound", 'io_scope = ["pinned"]', copy_us=100),
    "dies": backend("dies", 'graph = ["off", "on"]', lie="dies"),
    "short": backend("short", latency_us=8, enqueue_us=1),
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> benchfw.Results:
    project = Project(tmp_path_factory.mktemp("device"), registry)
    return project.run(SCENARIO + ALL)[1]


@pytest.fixture(scope="module")
def rows(measured: benchfw.Results) -> Mapping[str, Any]:
    """Rows by what comes before the cohort in their id: `fake-device-graph`."""
    return {str(row["case_id"]).split("/")[-2]: row for _, row in measured.cases.iterrows()}


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> benchfw.Results:
    """Of a set of inputs that is 3/16 of the cache of the fake device."""
    text = SCENARIO.replace('["batch", 4]', '["batch", 1536]')
    return Project(tmp_path_factory.mktemp("caches"), registry).run(text + CACHES)[1]


LEAKED = 80 << 20
LEAKY: dict[str, Any] = {"library_bytes": 2 * LEAKED, "weights_bytes": 2 * LEAKED, "leaked_bytes": LEAKED}
LEAKS = (
    backend("tidy", 'graph = ["off", "on"]', library_bytes=2 * LEAKED)
    + backend("leaks", 'graph = ["off", "on"]', **LEAKY)
    + backend("anew", 'graph = ["off", "on"]', use="fake-device-special", **LEAKY)
)


@pytest.fixture(scope="module")
def leaks(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> benchfw.Results:
    project = Project(tmp_path_factory.mktemp("leaks"), registry)
    return project.run(SCENARIO.replace("batch = [2]", "batch = [2, 4]") + LEAKS)[1]


@pytest.fixture(scope="module")
def liars(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> benchfw.Results:
    project = Project(tmp_path_factory.mktemp("liars"), registry)
    return project.run(SCENARIO + "".join(LIARS.values()))[1]


def test_each_label_makes_a_case(rows: Mapping[str, Any]) -> None:
    assert {row["status"] for row in rows.values()} == {"OK"}, [row["status_reason"] for row in rows.values()]
    assert {key: (row["io_scope"], row["graph"], row["sync"], row["device"]) for key, row in rows.items()} == {
        "fake-device": ("device", "off", "spin", "fake:0"),
        "fake-device-graph": ("device", "on", "spin", "fake:0"),
        "fake-pinned": ("pinned", "off", "spin", "fake:0"),
        "fake-pinned-graph": ("pinned", "on", "spin", "fake:0"),
    }
    assert {(row["device_name"], row["device_uuid"]) for row in rows.values()} == {
        ("Fake device", "GPU-00000000-0000-0000-0000-000000000000")
    }


def test_times_of_the_device(rows: Mapping[str, Any]) -> None:
    """The device begins with what is enqueued first: before that it waits, which is part of the span."""
    for key, row in rows.items():
        enqueue_ns, first_ns = (REPLAY_NS, REPLAY_NS) if "graph" in key else (ENQUEUE_NS, ENQUEUE_NS / KERNELS)
        assert row["enqueue_p50_ns"] == pytest.approx(enqueue_ns, abs=200), key
        if row["io_scope"] == "pinned":  # the launch is enqueued while inputs are copied
            assert row["latency_p50_ns"] == pytest.approx(LATENCY_NS + 2 * COPY_NS, abs=300), key
            assert row["h2d_p50_ns"] == row["d2h_p50_ns"] == COPY_NS
            assert row["compute_p50_ns"] == pytest.approx(LATENCY_NS, abs=1), key
        else:
            assert row["latency_p50_ns"] == pytest.approx(LATENCY_NS + first_ns, abs=300), key
            assert math.isnan(row["h2d_p50_ns"])
            assert math.isnan(row["d2h_p50_ns"])
            assert row["compute_p50_ns"] == pytest.approx(LATENCY_NS + first_ns, abs=1), key
        copies_ns = 2 * COPY_NS if row["io_scope"] == "pinned" else 0
        assert row["device_p50_ns"] == pytest.approx(row["compute_p50_ns"] + copies_ns, abs=1), key


def test_what_a_launch_finds_in_the_cache(caches: benchfw.Results) -> None:
    """Only what follows a flush is slow, and of the flush itself nothing is in any time: it takes 32 µs."""
    rows = {str(row["case_id"]).split("/")[-2]: row for _, row in caches.cases.iterrows()}
    assert {(row["status"], row["verdict"]) for row in rows.values()} == {("OK", "VALID")}
    assert {key: (row["cache"], row["input_sets"]) for key, row in rows.items()} == {
        "fake-device": ("rotate", 11),  # the least that exceeds it twice
        "fake-device-warm": ("warm", 1),
        "fake-device-flush": ("flush", 4),
        "fake-pinned-graph-flush": ("flush", 4),
    }
    first_ns = ENQUEUE_NS / KERNELS
    for key, cold_ns in (("fake-device", 0), ("fake-device-warm", 0), ("fake-device-flush", COLD_NS)):
        assert rows[key]["latency_p50_ns"] == pytest.approx(LATENCY_NS + first_ns + cold_ns, abs=300), key
        assert rows[key]["compute_p50_ns"] == pytest.approx(LATENCY_NS + first_ns + cold_ns, abs=1), key
        assert rows[key]["enqueue_p50_ns"] == pytest.approx(ENQUEUE_NS, abs=200), key
    graph = rows["fake-pinned-graph-flush"]
    assert graph["latency_p50_ns"] == pytest.approx(LATENCY_NS + 2 * COPY_NS + COLD_NS, abs=300)
    assert graph["h2d_p50_ns"] == COPY_NS + COLD_NS, "what comes first pays"


def test_a_flushed_case_has_no_throughput(caches: benchfw.Results) -> None:
    cases = caches.cases.set_index(caches.cases.case_id.str.split("/").str[-2])
    columns = ["throughput_samples_s", "throughput_low_samples_s", "throughput_depth", "speedup"]
    assert cases.loc["fake-device-flush", columns].isna().all()
    assert cases.loc[["fake-device", "fake-device-warm"], columns].notna().all(axis=None)
    blocks = caches.blocks
    flushed = blocks[blocks.case_id == cases.case_id["fake-device-flush"]]
    assert not {"window", "pilot", "energy"} & set(flushed.phase)
    measured = flushed[(flushed.phase == "measure")]
    assert measured.duration_ns.median() == pytest.approx(100e6, rel=0.1), "with the flushes, as long as any block"


def test_the_memory_that_is_flushed_is_no_case_s(caches: benchfw.Results) -> None:
    """Of each case are its weights and inputs, and those of the cases of its worker before it."""
    rows = caches.cases.set_index(caches.cases.case_id.str.split("/").str[-2])
    assert rows.device_used_bytes["fake-pinned-graph-flush"] == rows.device_memory_bytes["fake-pinned-graph-flush"]
    taken = (1 << 20) + rows.input_bytes["fake-pinned-graph-flush"]
    assert rows.device_memory_bytes["fake-pinned-graph-flush"] == taken


def test_memory_of_the_device(rows: Mapping[str, Any]) -> None:
    """All cases share a worker, which keeps what the earlier ones have loaded: each has its own weights."""
    taken = [rows[key]["device_memory_bytes"] for key in rows]
    assert taken == sorted(taken)
    assert min(taken) > 1 << 20 < max(taken)
    assert {row["device_used_bytes"] - row["device_memory_bytes"] for row in rows.values()} == {0}


def test_what_is_not_given_back_is_known_once_all_is_closed(leaks: benchfw.Results) -> None:
    """The instances serve both batches, so that the rows of the first one were written before they were closed."""
    cases = leaks.cases[leaks.cases.name != "anew"].set_index(["name", "graph", "batch"]).sort_index()
    assert cases.device_leak_bytes.xs(2, level="batch").isna().all()
    assert cases.device_leak_bytes.xs(4, level="batch").to_dict() == {
        ("tidy", "off"): 2 * LEAKED,  # libraries
        ("tidy", "on"): 0,
        ("leaks", "off"): 3 * LEAKED,
        ("leaks", "on"): LEAKED,
    }
    assert cases.device_load_bytes.xs(4, level="batch").to_dict() == {
        ("tidy", "off"): (1 << 20) + 2 * LEAKED,
        ("tidy", "on"): 1 << 20,
        ("leaks", "off"): 4 * LEAKED,
        ("leaks", "on"): 2 * LEAKED,
    }


def test_a_leak_is_told_where_a_library_would_have_used_what_it_kept(leaks: benchfw.Results) -> None:
    """That is of what was loaded after something was closed: cases of one time each take what a library keeps then."""
    cases = leaks.cases[leaks.cases.name == "anew"].set_index(["graph", "batch"])
    assert cases.device_leak_bytes.to_dict() == {
        ("off", 2): 3 * LEAKED,
        ("on", 2): LEAKED,
        ("off", 4): LEAKED,
        ("on", 4): LEAKED,
    }
    found = leaks.warnings[leaks.warnings.code == "W23"]
    assert set(found.case_id) == {case_id for case_id in cases.case_id if case_id.endswith("/batch4")}
    assert {*found.value} == {LEAKED} and {*found.threshold} == {64 << 20}
    assert "left 80 MiB of device memory taken" in found.message.iloc[0]


def test_outstanding_launches_hide_the_enqueueing(liars: benchfw.Results) -> None:
    row = liars.cases.set_index("name").loc["launch-bound"]
    assert (row["throughput_depth"], row["throughput_lanes"]) == (2, "stream")
    assert row["throughput_samples_s"] == pytest.approx(2 * 1e9 / LATENCY_NS, rel=0.01)


def test_iterations_hold_the_times_of_instrumented_blocks(measured: benchfw.Results) -> None:
    table = measured.iterations
    events = table[table.phase == "events"]
    plain = table[table.phase == "measure"]
    assert events.compute_ns.notna().all()
    assert plain.compute_ns.isna().all()
    assert plain.enqueue_ns.notna().all()
    blocks = measured.blocks
    counts = (
        blocks[blocks.phase.isin(["measure", "events"])].groupby(["case_id", "phase"], observed=True).size().unstack()
    )
    assert (counts["events"] * 2 < counts["measure"]).all(), "one instrumented block to three plain ones"
    assert (counts["events"] * 4 > counts["measure"]).all()


def test_events_are_known_to_cost(rows: Mapping[str, Any], measured: benchfw.Results) -> None:
    cost = rows["fake-device-graph"]["instrumentation_cost"]
    assert cost == pytest.approx(RECORD_NS / (LATENCY_NS + 2_000), rel=0.2), "the event before it delays the launch"
    assert "W14" not in set(measured.warnings.code)


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("honest", "OK", "nan"),
        ("other-stream", "INVALID", "V02: the device went on for 182 µs after the backend's stream was done"),
        ("lazy", "INVALID", "V03: events on the backend's stream span 21 µs, and the host waited 200 µs"),
        ("uncapturable", "UNSUPPORTED", "operation not permitted when stream is capturing"),
        ("captures-nothing", "UNSUPPORTED", "enqueues nothing on the backend's stream"),
        ("no-copies", "UNSUPPORTED", "does not copy from and to page-locked memory"),
        ("launch-bound", "OK", "nan"),
        ("dies", "CRASH", "the fake device has failed"),
    ],
)
def test_liars(liars: benchfw.Results, name: str, status: str, words: str) -> None:
    row = liars.cases[liars.cases.name == name].iloc[-1]
    assert row["status"] == status, row["status_reason"]
    assert words in str(row["status_reason"])


@pytest.mark.parametrize(
    ("name", "code"), [("honest", None), ("launch-bound", "W02"), ("transfer-bound", "W03"), ("short", "W16")]
)
def test_warnings(liars: benchfw.Results, name: str, code: str | None) -> None:
    case_id = liars.cases.set_index("name").loc[name]["case_id"]
    codes = set(liars.warnings[liars.warnings.case_id == case_id].code) & {"W02", "W03", "W16"}
    assert codes == ({code} if code else set())
