"""The fake backend does what its options say, wrong things included."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchfw.spec.backend import Context
from benchfw.testing.fakes import EARLY_SHARE, FakeBackend
from benchfw.testing.faults import CHATTER_CALLS, LEAK_BYTES
from benchfw.testing.options import FakeOptions
from benchfw.worker import clocks

LATENCY_NS = 200_000


@pytest.fixture(autouse=True)
def _own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("now", "sleep", "wait_until", "window"):
        monkeypatch.setattr(clocks, name, getattr(clocks, name))  # put back what a virtual clock replaces


def fake(**options: Any) -> FakeBackend:
    context = Context(device="cpu", threads=1, precision="fp32", cache_dir=Path(), root=Path(), inputs=())
    return FakeBackend(FakeOptions.model_validate({"clock": "virtual", **options}).model_dump(), context)


def batch(size: int = 2, seed: int = 0) -> dict[str, NDArray[Any]]:
    return {"x": np.random.default_rng(seed).standard_normal((size, 4))}


def timed(launch: Any, n: int = 1) -> int:
    begin = clocks.now()
    for _ in range(n):
        launch()
    return clocks.now() - begin - 25


def output(bound: Any) -> NDArray[Any]:
    return np.array(bound.outputs()["output"])


@pytest.mark.parametrize("more", [{}, {"fault": "hoard"}, {"releases_gil": True}])
def test_a_launch_takes_its_latency(more: dict[str, Any]) -> None:
    assert timed(fake(**more).bind(0, batch()).launch, 10) == 10 * LATENCY_NS
    assert timed(fake(per_sample=True, **more).bind(0, batch(3)).launch) == 3 * LATENCY_NS


def test_drawn_and_bent_services_reach_the_launch() -> None:
    launch = fake(distribution="lognormal", spread=0.1, step=1.0, step_at=500).bind(0, batch()).launch
    times = np.array([timed(launch) for _ in range(1000)])
    assert times[:500].std() == pytest.approx(0.1 * LATENCY_NS, rel=0.2)
    assert np.median(times[500:]) / np.median(times[:500]) == pytest.approx(2, rel=0.05)


def test_drift_follows_the_clock_of_the_backend() -> None:
    launch = fake(drift=0.1).bind(0, batch()).launch
    launch()
    clocks.sleep(10)
    assert timed(launch) == pytest.approx(2 * LATENCY_NS, rel=1e-3)


def window(backend: FakeBackend, depth: int, n: int) -> int:
    """Return the ns of a window of `depth` threads, each with its slot."""
    launches = [backend.bind(slot, batch(seed=slot)).launch for slot in range(depth)]
    counter, together = itertools.count(), clocks.window(depth)

    def client(thread: int) -> None:
        with together:
            while next(counter) < n:
                launches[thread]()

    begin = clocks.now()
    threads = [threading.Thread(target=client, args=(thread,)) for thread in range(depth)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return clocks.now() - begin


def test_throughput_rises_with_depth_only_where_the_gil_is_released() -> None:
    assert window(fake(), 4, 400) == pytest.approx(400 * LATENCY_NS, rel=1e-3)
    assert window(fake(releases_gil=True), 4, 400) == pytest.approx(100 * LATENCY_NS, rel=1e-3)
    noisy = fake(releases_gil=True, distribution="ar1", rho=0.5, spread=0.1)
    assert window(noisy, 4, 4000) == pytest.approx(1000 * LATENCY_NS, rel=0.03)


def test_who_returns_early_makes_the_outputs_wait() -> None:
    bound = fake(fault="early").bind(0, batch())
    assert timed(bound.launch, 10) == 10 * EARLY_SHARE * LATENCY_NS
    assert timed(bound.outputs) == pytest.approx((1 - EARLY_SHARE) * LATENCY_NS, rel=1e-3)
    assert timed(bound.outputs) == 0
    bound.launch()
    clocks.sleep(1)  # the work is done meanwhile
    assert timed(bound.outputs) == 0


def test_who_returns_early_by_the_real_clock_makes_the_outputs_wait() -> None:
    bound = fake(fault="early", clock="real", latency_us=20_000.0).bind(0, batch())
    begin = time.perf_counter()
    bound.launch()
    launched = time.perf_counter()
    bound.outputs()
    done = time.perf_counter()
    assert launched - begin < done - launched
    assert done - begin >= 0.02


def test_stale_outputs_are_those_of_the_first_launch_of_slot_0() -> None:
    honest, stale = fake(), fake(fault="stale", at="outputs")
    first = [backend.bind(0, batch(seed=1)) for backend in (honest, stale)]
    other = [backend.bind(1, batch(seed=2)) for backend in (honest, stale)]
    for bound in (*other, *first):
        bound.launch()
    assert np.array_equal(output(first[0]), output(first[1]))
    assert np.array_equal(output(first[0]), output(other[1]))
    assert not np.array_equal(output(other[0]), output(other[1]))
    again = stale.bind(0, batch(seed=3))
    again.launch()
    assert np.array_equal(output(again), output(first[0]))


def test_outputs_that_do_not_follow_are_no_function_of_the_inputs() -> None:
    backend = fake(fault="unfollowing", at="outputs")
    one, other = (output(backend.bind(slot, batch(seed=slot))) for slot in range(2))
    assert np.array_equal(one, other)
    assert len(np.unique(one)) > 1 and one.all()  # neither zero nor constant


def test_a_lie_spares_other_batches() -> None:
    backend = fake(fault="unfollowing", at="outputs", at_batch=2)
    assert np.array_equal(output(backend.bind(0, batch(3))), output(fake().bind(0, batch(3))))
    early = fake(fault="early", at_batch=2)
    assert timed(early.bind(0, batch(3)).launch) == LATENCY_NS


def test_compilations_are_counted_by_slot_or_in_all() -> None:
    for options, wanted in (({"compile_at": 500}, [0, 0, 1, 2]), ({"compile_at_total": 500}, [0, 1, 1, 1])):
        backend = fake(**options)
        slots = [backend.bind(slot, batch()) for slot in range(2)]
        seen = []
        for slot, launches in ((0, 499), (1, 1), (0, 1), (1, 499)):
            for _ in range(launches):
                slots[slot].launch()
            seen.append(backend.counters()["compilations"])
        assert seen == wanted


def test_who_hoards_keeps_an_object_per_launch() -> None:
    launch = fake(fault="hoard").bind(0, batch()).launch
    launch()
    before = sys.getallocatedblocks()
    for _ in range(10_000):
        launch()
    assert sys.getallocatedblocks() - before == pytest.approx(10_000, rel=0.1)


_LEAK = """
from benchfw.testing import faults
from benchfw.worker import counters
before = counters.rss_bytes("VmRSS")
leak = faults.HABITS["leak_native"]()
for _ in range(1000):
    leak()
print(counters.rss_bytes("VmRSS") - before)
"""


def test_who_leaks_natively_grows_without_python_knowing() -> None:
    """In a process of its own: here, memory that other tests have given back would be taken first."""
    done = subprocess.run([sys.executable, "-c", _LEAK], capture_output=True, text=True, check=True)
    assert int(done.stdout) == pytest.approx(1000 * LEAK_BYTES, rel=0.3)


def test_chatter_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    launch = fake(fault="chatter").bind(0, batch()).launch
    for _ in range(3):
        launch()
    assert capsys.readouterr().out.splitlines() == [f"inference {number} done" for number in (1, 2, 3)]
    launch = fake(fault="chatter_at_times").bind(0, batch()).launch
    for _ in range(2 * CHATTER_CALLS + 1):
        launch()
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_facts_lie() -> None:
    facts = fake(fault="fallback", at="facts").facts()
    assert facts["provider_effective"] == "fake" and facts["nodes"] == {"CPUExecutionProvider": 3}
    facts = fake(fault="fallback_partly", at="facts").facts()
    assert facts["nodes"] == {"fake": 2, "CPUExecutionProvider": 1}
    assert fake(fault="more_threads", at="facts").facts()["threads_effective"] > (os.cpu_count() or 1)
