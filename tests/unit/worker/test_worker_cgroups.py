"""Control groups, as files of a made-up machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchfw import environments
from benchfw.worker import cgroups, counters

V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
V1_MOUNTS = (
    "31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def machine(root: Path, membership: str, mounts: str, files: dict[str, str]) -> Path:
    """Make the files of a machine; `files` start at /sys/fs/cgroup."""
    for name, text in {"proc/self/cgroup": membership, "proc/self/mountinfo": mounts}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"a/b/cpu.max": "max 100000\n"}, None),
        ({"a/b/cpu.max": "150000 100000\n"}, 1.5),
        ({"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "50000 100000\n", "cpu.max": "max 100000\n"}, 0.5),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        ({"a/b/c/cpu.max": "1000 100000\n", "other/cpu.max": "1000 100000\n"}, None),  # not ours
        ({"a/cpu.max": "300000 100000\n"}, 3.0),  # the own group is not to be seen, one above is
        ({"a/b/cpu.max": ""}, None),
        ({"a/b/cpu.max": "five\n"}, None),
        ({"a/b/cpu.max": "100000\n"}, None),
        ({"a/b/cpu.max": "100000 0\n"}, None),
        ({"a/b/cpu.max": "-5 100000\n"}, None),
        ({"a/b/cpu.max": "9" * 400 + " 1\n"}, None),
    ],
)
def test_quotas_of_v2(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/a/b\n", V2_MOUNT, {"cgroup.procs": "", **files})
    assert cgroups.cpu_quota(root) == quota


@pytest.mark.parametrize(
    ("own", "above", "quota"),
    [("-1", "-1", None), ("150000", "-1", 1.5), ("-1", "50000", 0.5), ("300000", "200000", 2.0), ("x", "", None)],
)
def test_quotas_of_v1(own: str, above: str, quota: float | None, tmp_path: Path) -> None:
    files = {
        "cpu,cpuacct/a/b/cpu.cfs_quota_us": own,
        "cpu,cpuacct/a/b/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/a/cpu.cfs_quota_us": above,
        "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
    }
    membership = "5:memory:/m\n4:cpu,cpuacct:/a/b\n1:name=systemd:/s\n0::/s\n"
    root = machine(tmp_path, membership, V1_MOUNTS, files)
    assert cgroups.cpu_quota(root) == quota


def test_a_container_sees_its_own_part(tmp_path: Path) -> None:
    """The mount begins at the container's group, whose path is told as the host has it."""
    mount = "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"
    files = {"cpu.max": "200000 100000\n", "inner/cpu.max": "100000 100000\n", "docker/abc/cpu.max": "1 100000\n"}
    assert cgroups.cpu_quota(machine(tmp_path / "1", "0::/docker/abc\n", mount, files)) == 2.0
    assert cgroups.cpu_quota(machine(tmp_path / "2", "0::/docker/abc/inner\n", mount, files)) == 1.0
    assert cgroups.cpu_quota(machine(tmp_path / "3", "0::/elsewhere\n", mount, files)) == 2.0
    assert cgroups.cpu_quota(machine(tmp_path / "4", "0::/../../up\n", V2_MOUNT, files)) == 2.0


def test_a_blank_in_a_path(tmp_path: Path) -> None:
    mount = r"30 23 0:26 / /sys/fs/cgroup/my\040groups rw - cgroup2 cgroup2 rw" + "\n"
    root = machine(tmp_path, "0::/a b:c\n", mount, {"my groups/a b:c/cpu.max": "100000 100000"})
    assert cgroups.cpu_quota(root) == 1.0


@pytest.mark.parametrize(
    "membership", ["", "\n", "0\n", "0:\n", "0::\n", "0::a\n", "x:y:z:/\n", "\0::/\0\n", ":::::\n"]
)
@pytest.mark.parametrize(
    "mounts", ["", " - \n", "a b c - d\n", V2_MOUNT, V1_MOUNTS + "30 23 0:26 / /\\000x rw - cgroup2 a b\n"]
)
def test_odd_content_is_no_limit(membership: str, mounts: str, tmp_path: Path) -> None:
    root = machine(tmp_path, membership, mounts, {"memory/memory.oom_control": "", "cgroup.procs": ""})
    assert (cgroups.cpu_quota(root), cgroups.nr_throttled(root), cgroups.oom_kills(root)) == (None, 0, 0)


def test_throttling_of_groups_above_counts_too(tmp_path: Path) -> None:
    files = {
        "a/b/cpu.stat": "usage_usec 9\nnr_throttled 2\n",
        "a/cpu.stat": "nr_throttled 40\n",
        "cpu.stat": "nr_x 1\n",
    }
    root = machine(tmp_path, "0::/a/b\n", V2_MOUNT, files)
    assert cgroups.nr_throttled(root) == 42
    (root / "sys/fs/cgroup/a/b/cpu.stat").write_text("nr_throttled 3\n")
    assert cgroups.nr_throttled(root) == 43


def test_oom_kills_of_the_own_group_else_of_the_machine(tmp_path: Path) -> None:
    events = {"a/b/memory.events": "oom 9\noom_kill 3\noom_group_kill 0\n", "a/memory.events": "oom_kill 70\n"}
    assert cgroups.oom_kills(machine(tmp_path / "1", "0::/a/b\n", V2_MOUNT, events)) == 3
    assert cgroups.oom_kills(machine(tmp_path / "2", "0::/a/c\n", V2_MOUNT, events)) == 70  # the nearest that is seen
    control = {"memory/m/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"}
    root = machine(tmp_path / "3", "3:memory:/m\n0::/\n", V1_MOUNTS, control)
    (root / "proc/vmstat").write_text("pgfault 5\noom_kill 99\n")
    assert cgroups.oom_kills(root) == 5
    old = {"memory/m/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"}  # Linux before 4.13
    root = machine(tmp_path / "4", "3:memory:/m\n", V1_MOUNTS, old)
    assert cgroups.oom_kills(root) == 0
    (root / "proc/vmstat").write_text("pgfault 5\noom_kill 99\n")
    assert cgroups.oom_kills(root) == 99


def test_this_machine_can_be_read() -> None:
    assert (cgroups.cpu_quota() or 1) > 0
    assert cgroups.oom_kills() >= 0
    assert counters.read()["nr_throttled"] >= 0


@pytest.mark.parametrize(("quota", "cpus"), [(None, 4), (0.2, 1), (1.0, 1), (2.9, 2), (64.0, 4)])
def test_usable_cpus_are_whole_and_at_least_one(
    quota: float | None, cpus: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(cgroups, "cpu_quota", lambda: quota)
    assert environments.usable_cpus() == cpus
