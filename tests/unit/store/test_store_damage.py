"""Runs with missing, torn and damaged files: what is whole is read, the rest is told."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import benchfw
from benchfw.errors import ResultError
from benchfw.store.journal import read_journal
from benchfw.store.parts import Untrusted, read_part
from benchfw.store.reader import Results, ResultWarning, intact_cohorts, read_manifest
from benchfw.store.schema import SCHEMA_VERSION, TABLES
from benchfw.store.writer import RunWriter, to_arrow

if TYPE_CHECKING:
    from tests.unit.store.conftest import Maker

PART = "part-00000.parquet"


def _rows(results: Results, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = results.table(name).to_pylist()
    return rows


@pytest.mark.parametrize("damage", ["missing", "short", "empty", "text", "folder"])
def test_a_part_that_is_damaged_costs_its_own_rows(damage: str, tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1", "batch2")
    part = folder / "cases" / PART
    content = part.read_bytes()
    part.unlink()
    if damage == "folder":
        part.mkdir()
    elif damage != "missing":
        part.write_bytes({"short": content[:100], "empty": b"", "text": b"x" * 5000}[damage])
    results = benchfw.load(tmp_path)
    assert results.problems == []
    with pytest.warns(ResultWarning, match="batch1") as caught:
        assert results.cases["cohort"].tolist() == ["batch2"]
    (problem,) = results.problems
    assert [str(warning.message) for warning in caught] == [problem]
    assert str(part) in problem and f"benchfw run --resume {folder}`" in problem
    assert len(results.iterations) == 10, "the other tables can still be read"
    _ = results.table("cases")
    assert len(results.problems) == 1, "told once"
    intact, problems = intact_cohorts(folder)
    assert list(intact) == ["batch2"]
    assert problems == [problem]


def test_an_intact_run_has_no_problems(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1", "batch2")
    entries, _ = read_journal(folder)
    assert intact_cohorts(folder) == ({entry.cohort: entry for entry in entries}, [])


def test_a_part_torn_at_any_byte_is_told(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1", "batch2")
    entry = read_journal(folder)[0][0]
    for name in entry.rows:
        part = folder / name / PART
        whole = part.read_bytes()
        for length in range(len(whole) - 1, -1, -1):
            os.truncate(part, length)
            with pytest.raises(Untrusted):
                read_part(folder, name, entry, folder.name[4:])
        for length in (*range(16), *range(17, len(whole), 499), *range(len(whole) - 16, len(whole))):
            part.write_bytes(whole[:length])
            results = benchfw.load(folder)
            with pytest.warns(ResultWarning):
                found = {table: results.table(table).num_rows for table in TABLES}
            assert found == dict.fromkeys(TABLES, 0) | {"cases": 2, "iterations": 10} | {name: entry.rows[name]}
            assert len(results.problems) == 1
        part.write_bytes(whole)
    assert intact_cohorts(folder)[1] == []


def test_no_flipped_bit_changes_a_number(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    entry = read_journal(folder)[0][0]
    part = folder / "iterations" / PART
    whole = part.read_bytes()
    good = _rows(Results([folder]), "iterations")
    told = 0
    for place in range(len(whole)):
        part.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            table = read_part(folder, "iterations", entry, folder.name[4:])
        except Untrusted:
            told += 1
        else:
            assert table.to_pylist() == good, f"byte {place}"
    assert told > len(whole) / 3, "the rest is statistics and descriptions, which are not read"


def test_files_that_vanish_while_they_are_read(tmp_path: Path, make: Maker) -> None:
    first, second = make.run(tmp_path, "batch1"), make.run(tmp_path, "batch2")
    results = benchfw.load(tmp_path)
    assert len(results.cases) == 2
    shutil.rmtree(first)
    with pytest.warns(ResultWarning, match="No such file"):
        assert len(results.iterations) == 5
    with pytest.raises(ResultError, match="No such file"):
        _ = Results([first, second]).cases


def test_a_part_that_the_journal_does_not_name_is_ignored(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    stray = to_arrow("cases", [make.case("batch9")], "r")
    pq.write_table(stray, folder / "cases" / "part-00001.parquet")
    pq.write_table(stray, folder / "cases" / ".part-00002.parquet.tmp")
    assert benchfw.load(tmp_path).cases["cohort"].tolist() == ["batch1"]


def test_a_column_that_a_part_lacks_is_null_and_one_that_is_not_known_is_ignored(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1", "batch2")
    part = folder / "cases" / PART
    table = pq.read_table(part, partitioning=None)
    pq.write_table(table.drop_columns(["latency_p50_ns", "status"]), part)
    later = folder / "cases" / "part-00001.parquet"
    pq.write_table(pq.read_table(later, partitioning=None).append_column("later", pa.array(["x"])), later)
    row, other = _rows(benchfw.load(tmp_path), "cases")
    assert row["latency_p50_ns"] is None and row["status"] is None
    assert row["cohort"] == "batch1"
    assert other["status"] == "OK" and "later" not in other
    pq.write_table(table.rename_columns({"status": "statvs"}), part)
    with pytest.warns(ResultWarning, match="status"):
        assert len(benchfw.load(tmp_path).cases) == 1


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("n", pa.array(["5"])),
        ("n", pa.array([5.0])),
        ("status", pa.array([5])),
        ("status", pa.array([b"OK"])),
        ("status", pa.array([["OK"]])),
        ("status", pa.array([{"a": "OK"}])),
        ("latency_p50_ns", pa.array([True])),
        ("batch", pa.array([2**40])),
        ("status", pa.DictionaryArray.from_arrays([0], pa.array([b"\xff"]).view(pa.string()))),
        ("facts", pa.array([b"\xff\xfe"]).view(pa.string())),
    ],
    ids=str,
)
def test_columns_of_another_type_are_told(column: str, values: pa.Array, tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1", "batch2")
    part = folder / "cases" / PART
    table = pq.read_table(part, partitioning=None)
    pq.write_table(table.set_column(table.column_names.index(column), column, values), part)
    results = benchfw.load(folder)
    with pytest.warns(ResultWarning, match=PART):
        assert results.cases["cohort"].tolist() == ["batch2"]


def test_a_column_of_nulls_may_have_any_type(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    part = folder / "cases" / PART
    table = pq.read_table(part, partitioning=None)
    pq.write_table(table.set_column(table.column_names.index("status"), "status", pa.nulls(1)), part)
    assert benchfw.load(folder).table("cases").column("status").to_pylist() == [None]


# --- manifests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, "1", None, True, [[1]]])
def test_a_manifest_of_a_newer_schema_is_refused(version: object, tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    (folder / "manifest.json").write_text(json.dumps({"schema_version": version}))
    with pytest.raises(ResultError, match="schema version"):
        read_manifest(folder)
    with pytest.raises(ResultError, match=f"up to {SCHEMA_VERSION}"):
        _ = benchfw.load(tmp_path).cases
    with pytest.raises(ResultError, match="schema version"):
        intact_cohorts(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"5", b"\xff", b"[" * 100_000, b"9" * 10_000, b" " * (17 << 20)],
    ids=lambda content: repr(content[:5]),
)
def test_a_damaged_manifest_is_an_error(content: bytes, tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ResultError, match=r"manifest\.json"):
        read_manifest(folder)


def test_missing_and_empty_folders_have_a_hint(tmp_path: Path) -> None:
    (tmp_path / "run=x").write_text("a file, not a run")
    for path in (tmp_path / "none", tmp_path, tmp_path / "run=gone", tmp_path / "run=x"):
        with pytest.raises(ResultError) as caught:
            benchfw.load(path)
        assert caught.value.hint and "benchfw run" in caught.value.hint


def test_a_run_without_a_line_is_empty(tmp_path: Path) -> None:
    with RunWriter(tmp_path) as writer:
        writer.write_manifest({})
    assert intact_cohorts(writer.folder) == ({}, [])
