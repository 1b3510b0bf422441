"""Who keeps whom off what: runs on CPUs, on GPUs, and on both."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchfw.errors import DeviceBusy
from benchfw.executors.devices import ANY_GPU, Devices

CPUS = ("cpu-0", "cpu-1")
CPU_RUN: tuple[Sequence[str], Sequence[str]] = (CPUS, ())
FIRST, SECOND, UNKNOWN = (([name], (*CPUS, ANY_GPU)) for name in ("GPU-1", "GPU-2", ANY_GPU))
BOTH = ([*CPUS, "GPU-1"], [ANY_GPU])
RUNS = {"cpu": CPU_RUN, "first": FIRST, "second": SECOND, "unknown": UNKNOWN, "both": BOTH}
TOGETHER = {("first", "second"), ("second", "first")}


def taken(run: Any, folder: Path, **more: Any) -> contextlib.AbstractContextManager[Devices]:
    arguments = {"wait": False, "shared": False, "notify": lambda text: None, **more}
    return Devices(*run, folder=folder).taken(**arguments)


@pytest.mark.parametrize(("one", "other"), list(itertools.product(RUNS, repeat=2)))
def test_only_runs_on_different_gpus_measure_at_once(tmp_path: Path, one: str, other: str) -> None:
    with taken(RUNS[one], tmp_path) as first:
        if (one, other) in TOGETHER:
            with taken(RUNS[other], tmp_path) as second:
                assert (first.others(), second.others()) == (None, None)
        else:
            with pytest.raises(DeviceBusy), taken(RUNS[other], tmp_path):
                raise AssertionError
        assert Devices(*RUNS[other], folder=tmp_path).others() is None or (one, other) not in TOGETHER
    with taken(RUNS[other], tmp_path) as after:
        assert after.others() is None


@pytest.mark.parametrize(("one", "other"), list(itertools.product(RUNS, repeat=2)))
def test_runs_that_share_see_each_other_where_they_would_be_kept_apart(tmp_path: Path, one: str, other: str) -> None:
    with taken(RUNS[one], tmp_path) as first, taken(RUNS[other], tmp_path, shared=True) as second:
        met = (one, other) not in TOGETHER
        assert (first.others() is not None, second.others() is not None) == (met, met)


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (CPU_RUN, CPU_RUN, "measures on the same CPUs"),
        (CPU_RUN, FIRST, "measures on the same CPUs"),
        (FIRST, CPU_RUN, "measures on the same CPUs"),
        (FIRST, FIRST, "measures on the same GPU, GPU-1"),
        (BOTH, BOTH, "measures on the same CPUs and the same GPU, GPU-1"),
        (UNKNOWN, FIRST, "measures on a GPU that may be the same"),
    ],
)
def test_the_message_says_who_and_where(tmp_path: Path, one: Any, other: Any, words: str) -> None:
    with taken(one, tmp_path) as first:
        first.name("20261121T000000Z-abcdef")
        with pytest.raises(DeviceBusy) as caught, taken(other, tmp_path):
            raise AssertionError
    assert caught.value.message.endswith(words)
    assert ", run 20261121T000000Z-abcdef, since " in caught.value.message
    hint = str(caught.value.hint)
    assert hint.startswith("wait for it") and hint.endswith("or --allow-shared (rows say CONTENDED)")
    assert ("take another GPU" in hint) == ("GPU" in words)
    assert ("take other CPUs" in hint) == ("CPUs" in words)


def test_a_lock_without_a_name_is_told_by_its_file(tmp_path: Path) -> None:
    """A run that has just begun, or whose disk was full, has its lock and has not said who it is."""
    with (tmp_path / "GPU-1.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DeviceBusy) as caught, taken(FIRST, tmp_path):
            raise AssertionError
    assert str(tmp_path / "GPU-1.lock") in caught.value.message and "`lslocks`" in caught.value.message
    assert caught.value.message.endswith("measures on the same GPU, GPU-1")


@pytest.mark.parametrize(
    "said",
    [
        {"lock": "\x1b]0;owned\x07\x1b[2J"},
        {"pid": 1, "user": "\x1b[2J", "host": "a\nb", "run": "\x07", "since": "\x9b2J"},
        {"pid": "\x1b[2J"},
        {},
    ],
    ids=["a lock", "all of it", "a pid", "nothing"],
)
def test_what_others_write_of_themselves_is_made_printable(tmp_path: Path, said: dict[str, Any]) -> None:
    """Anybody may write into the folder of the locks, and it comes to a terminal."""
    with (tmp_path / "run-1-a.json").open("w") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        json.dump({**said, "devices": ["GPU-1"], "beside": []}, theirs)
        theirs.flush()
        others = Devices(*FIRST, folder=tmp_path).others()
        with pytest.raises(DeviceBusy) as caught, taken(FIRST, tmp_path):
            raise AssertionError
    assert others is not None and others.isprintable() and others.startswith("a run of ")
    assert caught.value.message == f"{others} measures on the same GPU, GPU-1"


def test_one_that_waits_goes_on_when_the_gpu_is_free(tmp_path: Path) -> None:
    told: list[str] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(taken(FIRST, tmp_path))

        def notify(text: str) -> None:
            told.append(text)
            stack.close()

        with taken(FIRST, tmp_path, wait=True, notify=notify) as devices:
            assert devices.others() is None
    (text,) = told
    who, ends, remedies = text.split("; ")
    assert who.startswith("waiting: a run of ") and who.endswith("measures on the same GPU, GPU-1")
    assert f"(pid {os.getpid()}, since " in who and ends == "Ctrl-C ends this one"
    assert "take another GPU" in remedies and "--allow-shared" in remedies


def test_a_run_that_is_named_anew_leaves_one_message(tmp_path: Path) -> None:
    with taken(FIRST, tmp_path) as devices:
        devices.name("a")
        assert len(list(tmp_path.glob("run-*.json"))) == 1
    assert not list(tmp_path.glob("run-*.json"))


def test_everybody_can_lock_what_one_has_made(tmp_path: Path) -> None:
    with taken(FIRST, tmp_path):
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("*.lock")}
    assert modes == {0o666}
