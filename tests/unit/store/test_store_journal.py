"""The journal: which cohorts count, continuing a run, one writer at a time, disks that fail."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import benchfw
from benchfw.errors import ResultError
from benchfw.store.journal import Entry, Journal, current, is_being_written, read_journal
from benchfw.store.reader import ResultWarning, intact_cohorts
from benchfw.store.schema import SCHEMA_VERSION
from benchfw.store.writer import RunWriter

if TYPE_CHECKING:
    from tests.unit.store.conftest import Maker

JOURNAL = "journal.jsonl"


def _entry(cohort: str, part: int, state: Any = "finished") -> Entry:
    return Entry(cohort=cohort, part=f"part-{part:05d}.parquet", rows={}, state=state)


def _models(folder: Path) -> list[str | None]:
    models: list[str | None] = benchfw.load(folder).table("cases").column("model").to_pylist()
    return models


# --- lines ------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    entries, problems = read_journal(folder)
    assert not problems
    (entry,) = entries
    assert entry.cohort == "batch1" and entry.state == "finished" and entry.part == "part-00000.parquet"
    assert entry.rows == {"cases": 1, "iterations": 5}
    assert entry.cases == {"net/fake/fp32/any/batch1": {"hash": "0af", "status": "OK"}}
    assert entry.time and entry.time.endswith("+00:00")


def test_lines_of_the_first_benchfw_are_read(tmp_path: Path) -> None:
    line = {"cohort": "a", "part": "part-00000.parquet", "rows": {"cases": 1}, "time": "2025-01-01T00:00:00+00:00"}
    (tmp_path / JOURNAL).write_text(json.dumps(line) + "\n")
    (entry,), problems = read_journal(tmp_path)
    assert (entry.state, entry.cases, problems) == ("finished", {}, [])


def test_the_last_entry_of_a_cohort_counts() -> None:
    entries = [
        _entry("a", 0, "interrupted"),
        _entry("b", 1),
        _entry("a", 2, "interrupted"),
        _entry("c", 3),
        _entry("b", 4, "interrupted"),
        _entry("c", 5),
    ]
    assert [(cohort, entry.part[5:10]) for cohort, entry in current(entries).items()] == [
        ("a", "00002"),
        ("b", "00004"),
        ("c", "00005"),
    ]


GOOD = {"cohort": "a", "part": "part-00009.parquet", "rows": {}}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "5",
        "[]",
        "null",
        "{",
        "\xff",
        "[" * 100_000,
        "9" * 10_000,
        json.dumps(GOOD | {"cohort": None}),
        json.dumps(GOOD | {"state": "done"}),
        json.dumps(GOOD | {"state": [[]]}),
        json.dumps(GOOD | {"part": ""}),
        json.dumps(GOOD | {"part": ".."}),
        json.dumps(GOOD | {"part": "../part-00009.parquet"}),
        json.dumps(GOOD | {"part": "part-9.parquet"}),
        json.dumps(GOOD | {"part": "part-00009.parquet\n"}),
        json.dumps(GOOD | {"part": "part-٠٠٠٠٠.parquet"}),
        json.dumps(GOOD | {"part": "part-00000.parquet"}),  # belongs to another cohort
        json.dumps(GOOD | {"rows": 5}),
        json.dumps(GOOD | {"rows": {"../cases": 1}}),
        json.dumps(GOOD | {"rows": {"cases": -1}}),
        json.dumps(GOOD | {"rows": {"cases": True}}),
        json.dumps(GOOD | {"rows": {"cases": 1.0}}),
        json.dumps(GOOD | {"cases": []}),
        json.dumps(GOOD | {"cases": {"x": 1}}),
        json.dumps(GOOD | {"cases": {"x": {"status": 1}}}),
        json.dumps(GOOD | {"time": 1}),
        json.dumps(GOOD | {"cohort": "x" * (9 << 20)}),
    ],
    ids=lambda line: line[:40],
)
def test_a_line_that_is_no_cohort_is_a_problem_with_its_number(line: str, tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1", "batch2")
    first, second = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    (folder / JOURNAL).write_bytes(first + line.encode("latin1" if line == "\xff" else "utf-8") + b"\n" + second)
    entries, (problem,) = read_journal(folder)
    assert [entry.cohort for entry in entries] == ["batch1", "batch2"]
    assert "line 2" in problem and "--resume" in problem and len(problem) < 2000
    with pytest.warns(ResultWarning, match="line 2"):
        assert len(benchfw.load(folder).cases) == 2


def test_escapes_for_the_terminal_do_not_reach_it(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text(json.dumps(GOOD | {"rows": {"\x1b[2J\ud800\u202e": 1}}) + "\n")
    _, (problem,) = read_journal(tmp_path)
    assert problem.isprintable()


def test_very_many_problems_are_counted(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("{}\n" * 5000)
    _, problems = read_journal(tmp_path)
    assert len(problems) == 21 and "4980 more" in problems[-1]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_KEYS = st.sampled_from(["cohort", "state", "part", "rows", "cases", "time"])
_LINE = _JSON | st.dictionaries(_KEYS, _JSON | st.just("part-00000.parquet"))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(_LINE.map(json.dumps).map(str.encode) | st.binary(max_size=40), max_size=4))
@example([b"\xef\xbb\xbf{}", b"\x00"])
def test_no_journal_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    run = tmp_path_factory.mktemp("run=")
    (run / JOURNAL).write_bytes(b"".join(line + b"\n" for line in lines))
    entries, problems = read_journal(run)
    assert len(entries) + len(problems) == b"\n".join([*lines, b""]).count(b"\n")
    assert all(Entry(**json.loads(entry.line())) == entry for entry in entries)
    assert set(current(entries)) == {entry.cohort for entry in entries}


# --- not a journal ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "outside", "loop", "missing", "huge"])
def test_what_is_no_journal_is_a_problem_and_does_not_block(kind: str, tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path / "results", "batch1")
    path = folder / JOURNAL
    path.rename(tmp_path / "kept")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        path.touch()
        os.truncate(path, 1 << 40)
    elif kind != "missing":
        path.symlink_to({"device": Path("/dev/zero"), "outside": tmp_path / "kept", "loop": path}[kind])
    entries, (problem,) = read_journal(folder)
    assert entries == [] and str(path) in problem
    with pytest.warns(ResultWarning):
        assert benchfw.load(folder).cases.empty
    if kind not in ("missing", "huge"):
        with pytest.raises(ResultError, match="cannot be written"):
            RunWriter.reopen(folder)


# --- continuing -------------------------------------------------------------------------------------------------


def test_a_run_is_continued(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    (folder / "cases" / "part-00007.parquet").write_bytes(b"written, but not in the journal")
    drafts = [folder / ".manifest.json.tmp", folder / "cases" / ".part-00008.parquet.tmp"]
    for draft in drafts:
        draft.write_bytes(b"torn")
    with (folder / JOURNAL).open("ab") as journal:
        journal.write(b'{"cohort": "batch2", "part')
    with RunWriter.reopen(folder) as writer:
        assert writer.folder == folder and folder.name == f"run={writer.run_id}"
        assert writer.write_cohort("batch2", make.tables("batch2"))
    assert not [draft for draft in drafts if draft.exists()]
    entries, problems = read_journal(folder)
    assert [(entry.cohort, entry.part) for entry in entries] == [
        ("batch1", "part-00000.parquet"),
        ("batch2", "part-00008.parquet"),
    ]
    assert not problems
    assert benchfw.load(tmp_path).cases["cohort"].tolist() == ["batch1", "batch2"]


def test_a_cohort_that_is_measured_again_replaces_the_earlier_rows(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1", "batch2")
    with RunWriter.reopen(folder) as writer:
        writer.write_cohort("batch1", make.tables("batch1", model="again"))
    cases = benchfw.load(tmp_path).cases
    assert cases["cohort"].tolist() == ["batch1", "batch2"]
    assert cases["model"].tolist()[0] == "again"
    assert (folder / "cases" / "part-00000.parquet").exists(), "nothing is deleted"


def test_an_interrupted_cohort_never_replaces_a_finished_one(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    with RunWriter.reopen(folder) as writer:
        assert not writer.write_cohort("batch1", make.tables("batch1"), state="interrupted")
        assert writer.write_cohort("batch2", make.tables("batch2", model="half"), state="interrupted")
        assert _models(folder) == [None, "half"]
        assert writer.write_cohort("batch2", make.tables("batch2", model="whole"))
        assert not writer.write_cohort("batch2", make.tables("batch2"), state="interrupted")
    assert _models(folder) == [None, "whole"]


def test_a_finished_cohort_that_is_not_kept_gives_way_to_an_interrupted_one(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "damaged", "intact")
    (folder / "cases" / "part-00000.parquet").unlink()
    with RunWriter.reopen(folder) as writer:
        assert writer.keep == {"damaged", "intact"}
        writer.keep = {"intact"}
        assert writer.write_cohort("damaged", make.tables("damaged", model="half"), state="interrupted")
        assert not writer.write_cohort("intact", make.tables("intact", model="half"), state="interrupted")
    assert _models(folder) == ["half", None]
    assert intact_cohorts(folder)[1] == []
    with RunWriter.reopen(folder) as writer:
        assert writer.keep == {"intact"}, "what was given up stays given up"


def test_logs_that_were_not_copied_are_made_again(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    shutil.rmtree(folder / "logs")
    RunWriter.reopen(folder).close()
    assert (folder / "logs").is_dir()


def test_logs_are_not_written_out_of_the_run(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path / "results", "batch1")
    (folder / "logs").rmdir()
    (folder / "logs").symlink_to(tmp_path)
    with pytest.raises(ResultError, match="leads out"):
        RunWriter.reopen(folder)
    (folder / "logs").unlink()
    RunWriter.reopen(folder).close()


def test_a_glance_at_the_lock_is_not_taken_for_a_writer(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    with (folder / JOURNAL).open() as other:  # as `is_being_written` of another process
        fcntl.flock(other, fcntl.LOCK_SH)
        timer = threading.Timer(0.2, fcntl.flock, (other, fcntl.LOCK_UN))
        timer.start()
        with RunWriter.reopen(folder):
            assert is_being_written(folder)
        timer.join()
    assert not is_being_written(folder)


def test_one_writer_at_a_time(tmp_path: Path, make: Maker) -> None:
    writer = RunWriter(tmp_path)
    writer.write_manifest({})
    with pytest.raises(ResultError, match="another process is writing"):
        RunWriter.reopen(writer.folder)
    assert benchfw.load(tmp_path).cases.empty, "reading is no matter"
    writer.close()
    writer.close()
    with pytest.raises(ResultError, match="is closed"):
        writer.write_cohort("batch1", make.tables("batch1"))
    with RunWriter.reopen(writer.folder):
        pass


def test_file_systems_without_locks_will_do(tmp_path: Path, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    assert len(benchfw.load(make.run(tmp_path, "batch1")).cases) == 1


def test_there_must_be_a_run_of_this_version_to_continue(tmp_path: Path, make: Maker) -> None:
    with pytest.raises(ResultError, match="cannot be read"):
        RunWriter.reopen(tmp_path / "run=gone")
    folder = make.run(tmp_path, "batch1")
    for version in (SCHEMA_VERSION + 1, SCHEMA_VERSION - 1):
        (folder / "manifest.json").write_text(json.dumps({"schema_version": version}))
        with pytest.raises(ResultError, match=f"schema version {version}"):
            RunWriter.reopen(folder)


# --- power loss -------------------------------------------------------------------------------------------------


def test_a_journal_torn_at_any_byte_keeps_its_whole_lines(tmp_path: Path, make: Maker) -> None:
    with RunWriter(tmp_path) as writer:
        writer.write_manifest({})
        for cohort in ("batch1", "batch2", "batch4"):
            writer.write_cohort(cohort, {"warnings": [{"case_id": cohort, "code": "W01"}]})
    path = writer.folder / JOURNAL
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        results = benchfw.load(tmp_path)
        lines = whole[:length].count(b"\n")
        assert results.table("warnings").column("code").to_pylist() == ["W01"] * lines
        assert results.problems == []
        with RunWriter.reopen(writer.folder):
            assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:lines])


def test_zeros_at_the_end_of_a_journal_are_cut_off(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    whole = (folder / JOURNAL).read_bytes()
    (folder / JOURNAL).write_bytes(whole + b"\0" * 200_000)  # what some file systems leave after a power loss
    assert read_journal(folder)[1] == []
    RunWriter.reopen(folder).close()
    assert (folder / JOURNAL).read_bytes() == whole


# --- disks that fail --------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() or not mount:
        pytest.skip("mounting a small disk needs root")
    run = subprocess.run([mount, "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], capture_output=True, text=True)
    if run.returncode:
        pytest.skip(f"a small disk cannot be mounted: {run.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_costs_only_the_cohort_that_did_not_fit(small_disk: Path, make: Maker) -> None:
    with RunWriter(small_disk) as writer:
        writer.write_manifest({})
        fits = []
        with pytest.raises(ResultError, match="No space left on device") as caught:  # noqa: PT012
            for number in range(100):
                writer.write_cohort(f"batch{number}", make.tables(f"batch{number}"))
                fits.append(f"batch{number}")
        assert caught.value.hint and "free space" in caught.value.hint
        assert f"benchfw run --resume {writer.folder}`" in caught.value.hint
        assert len(fits) > 1
        assert benchfw.load(small_disk).cases["cohort"].tolist() == fits
        # every byte of the disk taken: not even the journal's line fits
        with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 512)
        size = 4096 - (writer.folder / JOURNAL).stat().st_size % 4096 + 1
        with pytest.raises(ResultError, match="No space left"):
            writer.write_cohort("x" * size, {})
        assert len(benchfw.load(small_disk).cases) == len(fits)
        with pytest.raises(ResultError, match="No space left"):
            writer.write_manifest({"scenario": "x" * 10_000})
        (small_disk / "filler").unlink()
        shutil.rmtree(writer.folder / "logs")
        last = fits.pop()
        for part in writer.folder.glob(f"*/part-{len(fits):05d}.parquet"):
            part.unlink()
        assert writer.write_cohort(last, make.tables(last)), "the same writer goes on once there is room"
    intact, problems = intact_cohorts(writer.folder)
    assert list(intact) == [*fits, last] and not problems
    assert not list(writer.folder.rglob(".*.tmp"))


def test_a_read_only_disk(small_disk: Path, make: Maker) -> None:
    folder = make.run(small_disk, "batch1")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert len(benchfw.load(small_disk).cases) == 1
    with pytest.raises(ResultError, match="Read-only") as caught:
        RunWriter.reopen(folder)
    assert caught.value.hint and "writable" in caught.value.hint


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.ESTALE, errno.EFBIG, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "replace", "mkdir"])
def test_every_failure_of_the_disk_is_an_error_with_a_remedy(
    code: int, call: str, tmp_path: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunWriter(tmp_path) as writer:
        writer.write_manifest({})
        writer.write_cohort("batch1", {"warnings": [{"case_id": "a"}]})
        whole = (writer.folder / JOURNAL).read_bytes()

        def fail(*_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(os, call, fail)
            with pytest.raises(ResultError, match=os.strerror(code)) as caught:
                writer.write_cohort("batch2", make.tables("batch2"))
        assert str(writer.folder) in caught.value.message
        assert caught.value.hint and f"benchfw run --resume {writer.folder}`" in caught.value.hint
        assert (writer.folder / JOURNAL).read_bytes() == whole
        assert not list(writer.folder.rglob(".*.tmp"))
        assert writer.write_cohort("batch2", make.tables("batch2")), "the next one is written"
    assert list(intact_cohorts(writer.folder)[0]) == ["batch1", "batch2"]


def test_half_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    journal = Journal(tmp_path)
    journal.append(_entry("a", 0))
    left = [10]

    def full(file: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = write(file, data[: left[0]])
        left[0] -= done
        return done

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(ResultError):
            journal.append(_entry("b", 1))
        left[0] = 10
        patch.setattr(os, "ftruncate", broken)
        with pytest.raises(ResultError, match="No space"):
            journal.append(_entry("c", 2))
    assert (tmp_path / JOURNAL).read_bytes().count(b"\n") == 1
    journal.append(_entry("d", 3))
    journal.close()
    entries, problems = read_journal(tmp_path)
    assert [entry.cohort for entry in entries] == ["a", "d"] and not problems


@pytest.mark.parametrize("what", ["folder", "journal"])
def test_a_run_that_vanishes_while_it_is_written(what: str, tmp_path: Path, make: Maker) -> None:
    with RunWriter(tmp_path) as writer:
        writer.write_manifest({})
        if what == "folder":
            shutil.rmtree(writer.folder)
        else:
            (writer.folder / JOURNAL).unlink()
        with pytest.raises(ResultError) as caught:
            writer.write_cohort("batch1", make.tables("batch1"))
        assert caught.value.hint and "vanished" in caught.value.hint


# --- several processes ------------------------------------------------------------------------------------------

WRITER = """
import sys, time
from pathlib import Path
from benchfw.store.writer import RunWriter
writer = RunWriter(Path(sys.argv[1]))
writer.write_manifest({})
print(writer.folder, flush=True)
number = 0
while True:
    rows = [{"case_id": f"c{number}", "code": "W01"}] * (number % 7 + 1)
    writer.write_cohort(f"b{number}", {"warnings": rows, "shapes": [{"case_id": f"c{number}", "size": number}]})
    number += 1
    time.sleep(0.1)
"""

READER = """
import sys
from pathlib import Path
from benchfw.store.reader import Results
last = reads = 0
while reads < 15 or not last:  # a writer may take its time until the first cohort
    reads += 1
    results = Results([Path(sys.argv[1])])
    sizes = results.table("shapes").column("size").to_pylist()
    codes = results.table("warnings").num_rows
    assert sizes == list(range(len(sizes))) and len(sizes) >= last, sizes
    assert codes == sum(number % 7 + 1 for number in sizes), "both tables are of the same cohorts"
    last = len(sizes)
print(last)
"""


def test_two_processes_read_while_a_third_writes_and_is_killed(tmp_path: Path, make: Maker) -> None:
    command = [sys.executable, "-W", "error", "-c"]
    with subprocess.Popen([*command, WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            folder = Path(writer.stdout.readline().strip())
            with ThreadPoolExecutor() as pool:
                reading = [
                    pool.submit(subprocess.check_output, [*command, READER, str(folder)], text=True, timeout=60)
                    for _ in range(2)
                ]
                counts = [int(reader.result()) for reader in reading]
            with pytest.raises(ResultError, match="another process"):
                RunWriter.reopen(folder)
        finally:
            writer.kill()
    assert min(counts) > 0
    with RunWriter.reopen(folder) as again:
        again.write_cohort("last", make.tables("last"))
    intact, problems = intact_cohorts(folder)
    assert len(intact) > max(counts) and not problems
