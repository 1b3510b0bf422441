"""The times of the CPUs, from files that tests write and from this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchfw.measure.host import HostClock, HostTimes, cpu_time_ns, governors, smt_siblings, summed

TICK = 10**9 // os.sysconf("SC_CLK_TCK")
STAT = """\
cpu  999 999 999 999 999 999 999 999 999 999
cpu0 100 10 20 800 5 3 2 7 50 1
cpu1 200 0 0 900 0 0 0 1 0 0
cpu2 400 0 0 700 0 0 0 0 0 0
intr 12345 0 0
cpu9 1 1 1 1 1 1 1 1 1 1
"""


@pytest.fixture
def stat(tmp_path: Path) -> Path:
    path = tmp_path / "stat"
    path.write_text(STAT)
    return path


@pytest.fixture
def clock(stat: Path) -> Iterator[HostClock]:
    clock = HostClock(stat, cpus={0, 2}, siblings={1})
    yield clock
    clock.close()
    clock.close()


def test_only_the_cpus_that_may_be_used_count(clock: HostClock) -> None:
    times = clock.read()
    assert (times.busy_ns, times.steal_ns, times.sibling_ns) == ((135 + 400) * TICK, 7 * TICK, 200 * TICK)


def test_differences(clock: HostClock, stat: Path) -> None:
    before = clock.read()
    stat.write_text(STAT.replace("cpu0 100", "cpu0 103").replace("2 7 50", "2 9 50").replace("cpu1 200", "cpu1 190"))
    passed = clock.read().since(before)
    assert (passed.busy_ns, passed.steal_ns, passed.sibling_ns) == (3 * TICK, 2 * TICK, 0)
    assert 0 < passed.time_ns < 10**10


@pytest.mark.parametrize(
    "text", ["", "intr 1\n", "cpu 1\ncpu0 x\n", "cpu 1\ncpu0 1 2 3\n", "cpu 1\ncpu7 1 1 1 1 1 1 1 1\n"]
)
def test_a_kernel_that_does_not_tell(text: str, clock: HostClock, stat: Path) -> None:
    stat.write_text(text)
    times = clock.read()
    assert (times.busy_ns, times.steal_ns, times.sibling_ns) == (None, None, None)
    assert times.since(HostTimes(0, 1, 1, 1, 0)).busy_ns is None
    assert times.own_ns > 0


def test_without_the_file(tmp_path: Path) -> None:
    clock = HostClock(tmp_path / "nothing")
    assert clock.read().busy_ns is None
    clock.close()


def test_this_machine() -> None:
    clock = HostClock()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        before = clock.read([child.pid])
        alone = clock.read()
        while cpu_time_ns(child.pid) < 100_000_000:
            time.sleep(0.01)
        passed = clock.read([child.pid]).since(before)
        child.kill()
    clock.close()
    assert passed.busy_ns is not None and passed.busy_ns >= 50_000_000
    assert passed.own_ns >= 50_000_000
    assert before.own_ns > 0 and alone.time_ns > before.time_ns
    assert cpu_time_ns(child.pid) == 0, "it has ended"


def test_siblings_and_governors(tmp_path: Path) -> None:
    for cpu, (pair, governor) in enumerate((("0,4", "performance"), ("1,5", "powersave"), ("2-3", ""), ("x", ""))):
        for name, text in (("topology/thread_siblings_list", pair), ("cpufreq/scaling_governor", governor)):
            path = tmp_path / f"cpu{cpu}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
    assert smt_siblings({0, 1, 2, 3}, tmp_path) == {4, 5}
    assert smt_siblings({2, 9}, tmp_path) == {3}
    assert governors({0, 1, 2, 9}, tmp_path) == {"performance", "powersave"}


def test_sums() -> None:
    one = HostTimes(10, 5, 1, None, 3)
    assert summed([one, one, None]) == HostTimes(20, 10, 2, None, 6)
    assert summed([one, one._replace(busy_ns=None)]) == HostTimes(20, None, 2, None, 6)
    assert summed([]) == HostTimes(0, None, None, None, 0)
