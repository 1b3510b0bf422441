"""Runs that are interrupted, and runs that are gone on with."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchfw
from benchfw.errors import DeviceBusy, ResultError, UsageError
from benchfw.executors.devices import Devices
from benchfw.executors.resume import Resume
from benchfw.measure import Event
from benchfw.plugins import Registry
from benchfw.spec.events import CohortStarted, RoundDone
from benchfw.spec.stop import Stop
from benchfw.testing.project import Project
from tests.brief import measure_little, small

pytestmark = [pytest.mark.quiet, pytest.mark.usefixtures("brief")]

SCENARIO = small(
    "resume",
    """\
[measure]
effort = "quick"
budget = "300ms"
deadlines = { block = 3.0, load = 10.0, build = 3.0 }
[[backend]]
use = "fake"
name = "good"
options = { latency_us = 5 }
[[backend]]
use = "fake-special"
name = "other"
options = { latency_us = 5 }
""",
    [2, 3, 4],
)


def stop_when(wanted: Callable[[Event], bool]) -> tuple[Stop, Callable[[Event], None]]:
    """Return a wish to stop, and a listener that makes it at an event."""
    stop = Stop()

    def notify(event: Event) -> None:
        if wanted(event):
            stop.reason = "interrupted by a test"

    return stop, notify


@pytest.fixture
def project(project: Project, warm_workers: object) -> Project:
    """The project of all tests, whose workers start sooner; those of the command line are as always."""
    return project


@pytest.fixture(scope="module")
def stopped(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in its second cohort; it stays as it is."""
    second = False

    def wanted(event: Event) -> bool:
        nonlocal second
        second = second or (isinstance(event, CohortStarted) and event.index == 2)
        return second and isinstance(event, RoundDone)

    stop, notify = stop_when(wanted)
    with pytest.MonkeyPatch.context() as patch:
        measure_little(patch.setattr)
        outcome, _ = Project(tmp_path_factory.mktemp("stopped"), registry).run(SCENARIO, notify=notify, stop=stop)
    assert outcome.interrupted == "interrupted by a test"
    return Path(outcome.folder)


@pytest.fixture
def interrupted(project: Any, stopped: Path) -> Path:
    """A copy of it in the project's own folder."""
    return Path(shutil.copytree(stopped, project.results / stopped.name))


def statuses(rows: list[dict[str, Any]]) -> list[str]:
    return [row["status"] for row in rows]


def test_an_interrupted_run_keeps_what_is_there_and_has_a_row_for_every_case(interrupted: Path) -> None:
    results = benchfw.load(interrupted)
    cases = results.cases
    assert cases["status"].tolist() == ["OK", "OK"] + ["INTERRUPTED"] * 4
    open_ = cases[cases["cohort"] == "batch3"]
    assert (open_["status_reason"] == "interrupted by a test").all()
    assert open_["latency_p50_ns"].isna().all()
    assert (open_["blocks"] >= 1).all()
    kept = results.iterations[results.iterations["case_id"].isin(open_["case_id"])]
    assert (kept["phase"] == "measure").any()
    assert set(results.blocks["case_id"]) == set(cases["case_id"][:4])
    assert results.manifests[0]["state"] == "interrupted"


def test_resuming_measures_what_is_left_and_nothing_else(project: Any, interrupted: Path) -> None:
    before = benchfw.load(interrupted).cases
    outcome, results = project.run(SCENARIO, resume=Resume(folder=interrupted))
    assert outcome.folder == interrupted
    assert statuses(outcome.rows) == ["OK"] * 6
    cases = results.cases
    assert cases["case_id"].is_unique
    first = cases["cohort"] == "batch2"
    assert cases[first]["latency_mean_ns"].tolist() == before[first]["latency_mean_ns"].tolist()
    assert not results.blocks.duplicated(["case_id", "block"]).any()
    assert set(results.iterations["case_id"]) == set(cases["case_id"])
    manifest = results.manifests[0]
    assert manifest["state"] == "finished"
    assert [attempt["state"] for attempt in manifest["attempts"]] == ["interrupted", "finished"]


def test_resuming_a_finished_run_measures_nothing(project: Any) -> None:
    outcome, _ = project.run(SCENARIO)
    parts = sorted(path.name for path in outcome.folder.rglob("part-*"))
    events: list[Event] = []
    again, _ = project.run(SCENARIO, resume=Resume(folder=outcome.folder), notify=events.append)
    assert again.rows == outcome.rows
    assert sorted(path.name for path in outcome.folder.rglob("part-*")) == parts
    assert not [event for event in events if isinstance(event, CohortStarted)]


def test_failed_cases_are_repeated_with_their_cohort_if_asked_for(project: Any) -> None:
    marker = project.folder / "repaired"
    faulty = ("backend.other.options.fault=crash", "backend.other.options.at_batch=3")
    text = SCENARIO + f'environment = "flag"\n[environments.flag]\npython = "{sys.executable}"\n'
    outcome, _ = project.run(text, *faulty)
    assert statuses(outcome.rows) == ["OK", "OK", "OK", "CRASH", "OK", "OK"]
    assert not marker.exists()
    resume = Resume(folder=outcome.folder)
    again, _ = project.run(text, *faulty, resume=resume)
    assert again.rows == outcome.rows, "a failure is a result"
    retried, _ = project.run(text, *faulty, resume=Resume(folder=outcome.folder, retry_failed=True))
    assert statuses(retried.rows) == statuses(outcome.rows)
    mean = [row["latency_mean_ns"] for row in outcome.rows], [row["latency_mean_ns"] for row in retried.rows]
    assert [then == now for then, now in zip(*mean, strict=True)] == [True, True, False, True, True, True]


def test_what_was_skipped_is_measured_once_it_is_there(project: Any) -> None:
    """The cohort is measured again as a whole: cases of one cohort are compared with each other."""
    python = project.folder / "python"
    text = SCENARIO + f'environment = "later"\n[environments.later]\npython = "{python}"\n'
    outcome, _ = project.run(text)
    assert statuses(outcome.rows) == ["OK", "SKIPPED"] * 3
    same, _ = project.run(text, resume=Resume(folder=outcome.folder))
    assert same.rows == outcome.rows
    python.symlink_to(sys.executable)
    python.unlink()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    resumed, _ = project.run(text, resume=Resume(folder=outcome.folder))
    assert statuses(resumed.rows) == ["OK"] * 6


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (("measure.effort=standard",), 'scenario.measure.effort: "quick" then, "standard" now'),
        (("backend.other.options.latency_us=6.0",), "scenario.backend[1].options.latency_us: 5 then, 6.0 now"),
        (("threads=1",), "scenario.threads: nothing then, 1 now"),
    ],
)
def test_a_changed_scenario_is_refused(project: Any, interrupted: Path, overrides: tuple[str], field: str) -> None:
    before = (interrupted / "manifest.json").read_bytes()
    with pytest.raises(UsageError) as caught:
        project.run(SCENARIO, *overrides, resume=Resume(folder=interrupted))
    assert field in caught.value.message
    assert caught.value.hint and "--force" in caught.value.hint
    assert json.loads((interrupted / "manifest.json").read_bytes()) == json.loads(before)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("software.packages.numpy", "0.1"),
        ("software.benchfw", "0.0.1"),
        ("machine.cpu", "another CPU"),
        ("machine.kernel", "2.6"),
        ("model_hash", "0" * 64),
        ("workers.good-fp32.numpy", "0.2"),
    ],
)
def test_a_changed_package_device_or_model_is_refused_unless_forced(
    project: Any, interrupted: Path, key: str, value: str
) -> None:
    path = interrupted / "manifest.json"
    manifest = json.loads(path.read_text())
    table = manifest
    *tables, last = key.split(".")
    for name in tables:
        table = table[name]
    assert last in table
    table[last] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=f'{key.replace(".", "[.]")}: "{value}" then'):
        project.run(SCENARIO, resume=Resume(folder=interrupted))
    outcome, _ = project.run(SCENARIO, resume=Resume(folder=interrupted, force=True))
    assert statuses(outcome.rows) == ["OK"] * 6
    forced = [row["forced"] for row in outcome.rows]
    assert forced[:2] == [None, None]
    assert all(key in text for text in forced[2:])


def test_other_samples_are_another_experiment(project: Any) -> None:
    (project.folder / "data").mkdir()
    sample = project.folder / "data/a.npy"
    np.save(sample, np.ones(4, np.float32))
    text = SCENARIO.replace('ref = "null:model"', 'ref = "null:model"\ndata = "data"')
    outcome, _ = project.run(text)
    np.save(sample, np.zeros(4, np.float32))
    with pytest.raises(UsageError, match="samples_sha256"):
        project.run(text, resume=Resume(folder=outcome.folder))


def test_a_package_that_came_later_is_no_change(project: Any, interrupted: Path) -> None:
    path = interrupted / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["plugins"]["backend fake"]
    path.write_text(json.dumps(manifest))
    outcome, _ = project.run(SCENARIO, resume=Resume(folder=interrupted))
    assert statuses(outcome.rows) == ["OK"] * 6


def test_what_ran_out_of_memory_spares_larger_shapes_when_resumed_too(project: Any) -> None:
    stop, notify = stop_when(lambda event: isinstance(event, CohortStarted) and event.index == 3)
    faulty = ("backend.other.options.fault=memory", "backend.other.options.at_batch=3")
    outcome, _ = project.run(SCENARIO, *faulty, stop=stop, notify=notify)
    assert statuses(outcome.rows) == ["OK", "OK", "OK", "OOM", "INTERRUPTED", "INTERRUPTED"]
    resumed, _ = project.run(SCENARIO, *faulty, resume=Resume(folder=outcome.folder))
    assert statuses(resumed.rows) == ["OK", "OK", "OK", "OOM", "OK", "SKIPPED"]
    assert resumed.rows[-1]["status_reason"] == "batch 3 ran out of memory, and this is larger"


def test_a_damaged_part_is_measured_again(project: Any) -> None:
    outcome, _ = project.run(SCENARIO)
    part = sorted((outcome.folder / "blocks").iterdir())[1]
    part.write_bytes(part.read_bytes()[:-40])
    resumed, results = project.run(SCENARIO, resume=Resume(folder=outcome.folder))
    assert results.blocks is not None
    assert results.problems == []
    changed = [a["latency_mean_ns"] != b["latency_mean_ns"] for a, b in zip(outcome.rows, resumed.rows, strict=True)]
    assert changed == [False, False, True, True, False, False]


def test_a_run_that_is_still_being_written_is_not_resumed(project: Any, interrupted: Path) -> None:
    from benchfw.store.writer import RunWriter

    with RunWriter.reopen(interrupted), pytest.raises(ResultError, match="another process is writing"):
        project.run(SCENARIO, resume=Resume(folder=interrupted))


def test_a_later_interruption_does_not_replace_what_was_finished(project: Any) -> None:
    faulty = ("backend.other.options.fault=crash", "backend.other.options.at_batch=3")
    outcome, _ = project.run(SCENARIO, *faulty)
    stop, notify = stop_when(lambda event: isinstance(event, RoundDone))
    resume = Resume(folder=outcome.folder, retry_failed=True)
    again, _ = project.run(SCENARIO, *faulty, resume=resume, stop=stop, notify=notify)
    assert again.interrupted
    assert again.rows == outcome.rows


# --- the command line -------------------------------------------------------------------------------------------


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from benchfw.cli import main; main()", *arguments],
        cwd=folder,
        env=os.environ | {"BENCHFW_PLUGINS": "benchfw.testing.plugin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    )


def heed_signals() -> None:
    """What starts the tests in the background may have signals ignored, and its children inherit that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait_for(process: subprocess.Popen[str], words: str) -> str:
    """Read stderr until a line has these words."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if words in line:
            return seen
    raise AssertionError(seen)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_a_run_in_good_order_and_it_can_be_resumed(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "s.toml").write_text(SCENARIO.replace("300ms", "60s"))
    with start(tmp_path, "run", "s.toml") as process:
        wait_for(process, "other (static): warming up")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"{number.name}: stopping after the current block" in err
    assert "Traceback" not in out + err
    (folder,) = (tmp_path / "results").glob("run=*")
    run_id = folder.name.removeprefix("run=")
    assert f"to go on: benchfw run --resume {run_id}" in err
    assert set(benchfw.load(folder).cases["status"]) == {"INTERRUPTED"}
    with start(tmp_path, "run", "--resume", "latest") as process:
        wait_for(process, "warming up")
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(benchfw.load(folder).cases) == 6


def test_a_second_signal_ends_a_run_at_once_and_leaves_a_readable_folder(tmp_path: Path) -> None:
    text = SCENARIO.replace("latency_us = 5", 'latency_us = 5, fault = "hang", at = "launch"').replace("300ms", "60s")
    (tmp_path / "s.toml").write_text(text.replace("block = 3.0", "block = 100.0"))
    with start(tmp_path, "run", "s.toml") as process:
        wait_for(process, "warming up")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        wait_for(process, "stopping after the current block")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 20  # the deadline of the block is 100 s
    assert "Traceback" not in err
    assert "benchfw run --resume" in err
    results = benchfw.load(tmp_path / "results")
    assert results.cases.empty
    assert results.manifests[0]["state"] == "interrupted"


def test_a_signal_ends_a_long_build_without_waiting_for_it(tmp_path: Path) -> None:
    text = SCENARIO.replace("latency_us = 5", 'latency_us = 5, fault = "hang", at = "prepare"')
    (tmp_path / "s.toml").write_text(text.replace("build = 3.0", "build = 100.0"))
    with start(tmp_path, "run", "s.toml") as process:
        wait_for(process, "loading")
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert set(benchfw.load(tmp_path / "results").cases["status"]) == {"INTERRUPTED"}


def test_a_run_goes_on_when_its_terminal_is_gone(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SCENARIO)
    with start(tmp_path, "run", "s.toml", "--json") as process:
        assert process.stderr is not None
        process.stderr.close()
        assert process.stdout is not None
        out = process.stdout.read()
    assert process.returncode == 0
    assert [case["status"] for case in json.loads(out)["cases"]] == ["OK"] * 6


def test_mistakes_of_resuming_are_told(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SCENARIO)
    for arguments, words in (
        (["run"], "no scenario was given"),
        (["run", "s.toml", "--force"], "go with --resume"),
        (["run", "s.toml", "--resume", "latest"], "--resume takes the scenario"),
        (["run", "--resume", "latest"], "no runs in results"),
    ):
        with start(tmp_path, *arguments) as process:
            _, err = process.communicate()
        assert process.returncode == 2
        assert words in err
        assert "hint:" in err


# --- two runs at once -------------------------------------------------------------------------------------------


def quiet(text: str) -> None:
    """Take a message."""


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "machine"
    monkeypatch.setenv("BENCHFW_LOCKS", str(folder))
    return folder


def test_a_second_run_waits_or_fails(project: Any, busy: Path) -> None:
    from benchfw.executors.devices import cpus

    with Devices(cpus()).taken(wait=False, shared=False, notify=quiet), pytest.raises(DeviceBusy) as caught:
        project.run(SCENARIO, wait=False)
    assert f"(pid {os.getpid()}," in caught.value.message
    assert caught.value.hint and "--allow-shared" in caught.value.hint
    assert not project.results.exists(), "a run that does not begin leaves nothing"
    outcome, _ = project.run(SCENARIO, wait=False)
    assert set(statuses(outcome.rows)) == {"OK"}
    assert "CONTENDED" not in {row["verdict"] for row in outcome.rows}
    assert [path.name for path in busy.iterdir() if path.suffix == ".json"] == []


def test_runs_that_share_are_both_contended(project: Any, busy: Path) -> None:
    """The first one has the lock, the second one shares: both say so."""
    from benchfw.executors.devices import cpus

    with Devices(cpus()).taken(wait=True, shared=False, notify=quiet) as first:
        assert first.others() is None
        outcome, _ = project.run(SCENARIO, shared=True, notify=lambda event: seen.append(first.others()))
    assert {row["verdict"] for row in outcome.rows} == {"CONTENDED"}
    assert all(f"(pid {os.getpid()}," in row["verdict_reason"] for row in outcome.rows)
    assert any(seen)


seen: list[str | None] = []


def test_the_holder_is_contended_by_one_that_comes_later(project: Any, busy: Path) -> None:
    from benchfw.executors.devices import cpus

    with contextlib.ExitStack() as stack:

        def join(event: Event) -> None:
            if isinstance(event, CohortStarted) and event.index == 2:
                stack.enter_context(Devices(cpus()).taken(wait=False, shared=True, notify=quiet))

        outcome, _ = project.run(SCENARIO, notify=join)
    verdicts = [row["verdict"] for row in outcome.rows]
    assert "CONTENDED" not in verdicts[:2]
    assert set(verdicts[2:]) == {"CONTENDED"}


def test_a_run_does_not_begin_beside_one_that_shares(busy: Path) -> None:
    with (
        Devices(["cpu-0"]).taken(wait=False, shared=True, notify=quiet),
        pytest.raises(DeviceBusy),
        Devices(["cpu-0"]).taken(wait=False, shared=False, notify=quiet),
    ):
        raise AssertionError


@pytest.mark.parametrize("text", ["[" * 60_000, '{"devices": [["cpu-0"]]}', '{"devices": 1}', "null", "\x00", ""])
def test_what_strangers_write_beside_the_locks_is_ignored(busy: Path, text: str) -> None:
    busy.mkdir()
    path = busy / "run-x.json"
    path.write_text(text)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with Devices(["cpu-0"]).taken(wait=False, shared=False, notify=quiet) as devices:
            assert devices.others() is None


def test_a_waiting_run_goes_on_when_the_other_ends_and_can_be_stopped(tmp_path: Path, busy: Path) -> None:
    from benchfw.executors.devices import cpus

    (tmp_path / "s.toml").write_text(SCENARIO)
    with Devices(cpus()).taken(wait=False, shared=False, notify=quiet):
        with start(tmp_path, "run", "s.toml") as process:
            assert "waiting: a run of" in wait_for(process, "measures on the same CPUs")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        assert process.returncode == 130
        assert not (tmp_path / "results").exists()
        waiting = start(tmp_path, "run", "s.toml")
        wait_for(waiting, "measures on the same CPUs")
    with waiting:
        waiting.communicate(timeout=60)
    assert waiting.returncode == 0


def test_a_killed_run_leaves_no_lock(tmp_path: Path, busy: Path, project: Any) -> None:
    (tmp_path / "s.toml").write_text(SCENARIO.replace("300ms", "60s"))
    with start(tmp_path, "run", "s.toml") as process:
        wait_for(process, "warming up")
        process.kill()
        process.communicate()
    assert [path.name for path in busy.iterdir() if path.suffix == ".json"], "its message is still there"
    outcome, _ = project.run(SCENARIO, wait=False)
    assert {row["verdict"] for row in outcome.rows} <= {"VALID", "NOT_CONVERGED"}
    assert [path.name for path in busy.iterdir() if path.suffix == ".json"] == []


def test_runs_on_other_cpus_do_not_meet(busy: Path) -> None:
    with (
        Devices(["cpu-0", "cpu-1"]).taken(wait=False, shared=False, notify=quiet) as first,
        Devices(["cpu-2"]).taken(wait=False, shared=False, notify=quiet) as second,
    ):
        assert first.others() is None
        assert second.others() is None
        with pytest.raises(DeviceBusy):
            Devices(["cpu-1", "cpu-2"]).taken(wait=False, shared=False, notify=quiet).__enter__()


def test_a_machine_without_a_place_for_locks_says_so_and_measures(
    project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BENCHFW_LOCKS", str(tmp_path / "file/locks"))
    told: list[str] = []
    outcome, _ = project.run(SCENARIO, notify=lambda event: told.append(str(event)))
    assert set(statuses(outcome.rows)) == {"OK"}
    assert any("two runs at once would not be noticed" in text for text in told)


# --- what killed runs leave -------------------------------------------------------------------------------------


def test_the_next_run_ends_what_the_workers_of_a_killed_one_had_started(project: Any, tmp_path: Path) -> None:
    text = SCENARIO.replace("latency_us = 5", 'latency_us = 5, fault = "fork_session", at = "load"')
    text = text.replace("300ms", "60s")
    (tmp_path / "s.toml").write_text(text)
    with start(tmp_path, "run", "s.toml") as process:
        wait_for(process, "other (static): warming up")
        process.kill()
        process.communicate()
    assert wait_until(lambda: len(marked()) == 2), marked()
    project.run(SCENARIO)
    assert wait_until(lambda: not marked()), marked()


def marked() -> list[int]:
    """Return the processes that this session's workers have started."""
    own = f"BENCHFW_CACHE={os.environ['BENCHFW_CACHE']}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            variables = path.read_bytes().split(b"\0")
            if own in variables and any(item.startswith(b"BENCHFW_WORKER=") for item in variables):
                found.append(int(path.parent.name))
    return found


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


# --- clocks -----------------------------------------------------------------------------------------------------


def test_a_suspended_machine_is_told(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchfw.measure import conductor

    slept = iter(np.arange(0, 100, 2.0))
    monkeypatch.setattr(conductor, "suspended_s", lambda: float(next(slept)))
    _, results = project.run(SCENARIO)
    warnings = results.warnings[results.warnings["code"] == "H01"]
    assert len(warnings) == 6
    assert warnings["value"].tolist() == [2.0] * 6
