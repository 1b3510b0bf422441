"""Results written and read back."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import benchfw
from benchfw.errors import ResultError
from benchfw.store.reader import Results, find_runs, read_manifest
from benchfw.store.schema import SCHEMA_VERSION, TABLES
from benchfw.store.writer import RunWriter, to_arrow


def _case(cohort: str, **more: Any) -> dict[str, Any]:
    return {"case_id": f"net/fake/fp32/any/{cohort}", "cohort": cohort, "status": "OK", "batch": 4, **more}


def _iterations(cohort: str, n: int = 5) -> dict[str, Any]:
    return {
        "case_id": [_case(cohort)["case_id"]] * n,
        "block": np.zeros(n, np.int32),
        "phase": ["rewarm"] + ["measure"] * (n - 1),
        "batch": np.full(n, 4, np.int32),
        "start_ns": np.arange(n) * 1000 + 2**60,
        "host_latency_ns": np.arange(n) + 100,
    }


def _write(out: Path, *cohorts: str) -> Path:
    writer = RunWriter(out)
    writer.write_manifest({"state": "running"})
    for cohort in cohorts:
        rows = [_case(cohort, latency_p50_ns=1.5)]
        writer.write_cohort(cohort, {"cases": rows, "iterations": _iterations(cohort), "warnings": []})
    writer.write_manifest({"state": "finished"})
    return writer.folder


# --- tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_column_is_described_and_every_table_begins_with_its_run(name: str) -> None:
    schema = TABLES[name]
    assert schema.names[:2] == ["run_id", "case_id"]
    assert len(set(schema.names)) == len(schema.names)
    assert all(field.metadata[b"description"].decode().endswith((".", "…")) for field in schema)
    assert schema.metadata[b"benchfw_table"] == name.encode()


def test_rows_and_columns_become_the_same_table() -> None:
    rows: list[dict[str, Any]] = [{"case_id": "a", "code": "W01", "value": 1.0}, {"case_id": "b", "message": "x"}]
    columns = {"case_id": ["a", "b"], "code": ["W01", None], "value": [1.0, None], "message": [None, "x"]}
    table = to_arrow("warnings", rows, "r")
    assert table.schema == TABLES["warnings"]
    assert table.to_pylist() == to_arrow("warnings", columns, "r").to_pylist()
    assert table.column("run_id").to_pylist() == ["r", "r"]
    assert table.column("threshold").to_pylist() == [None, None]


@pytest.mark.parametrize("name", sorted(TABLES))
def test_no_rows_are_an_empty_table(name: str) -> None:
    empty: tuple[list[dict[str, Any]], dict[str, Any]] = [], {}
    for nothing in empty:
        table = to_arrow(name, nothing, "r")
        assert (table.num_rows, table.schema) == (0, TABLES[name])


@pytest.mark.parametrize("rows", [[{"case_id": "a", "cod": "x"}], {"case_id": ["a"], "cod": ["x"]}])
def test_unknown_columns_are_refused(rows: Any) -> None:
    with pytest.raises(ResultError, match="cod"):
        to_arrow("warnings", rows, "r")


def test_all_columns_may_be_null() -> None:
    for name in TABLES:
        columns: list[str] = [column for column in TABLES[name].names if column != "run_id"]
        (row,) = to_arrow(name, [dict.fromkeys(columns)], "r").to_pylist()
        assert row == {"run_id": "r"} | dict.fromkeys(columns)


def test_not_a_number_is_null() -> None:
    table = to_arrow("warnings", [{"case_id": "a", "value": float("nan")}], "r")
    assert table.column("value").to_pylist() == [None]


_TEXTS = st.text(max_size=6) | st.none()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"case_id": st.text(min_size=1, max_size=6)},
            optional={"code": _TEXTS, "message": _TEXTS, "value": st.floats(allow_nan=False) | st.none()},
        ),
        min_size=1,
        max_size=5,
    )
)
def test_rows_survive_the_table(rows: list[dict[str, Any]]) -> None:
    back = to_arrow("warnings", rows, "r").to_pylist()
    empty = dict.fromkeys(TABLES["warnings"].names)
    assert back == [empty | {"run_id": "r"} | row for row in rows]


# --- one run ----------------------------------------------------------------------------------------------------


def test_a_run_is_read_back(tmp_path: Path) -> None:
    folder = _write(tmp_path, "batch1", "batch4")
    results = benchfw.load(tmp_path)
    assert results.runs == [folder]
    assert results.cases["cohort"].tolist() == ["batch1", "batch4"]
    assert results.cases["latency_p50_ns"].tolist() == [1.5, 1.5]
    assert set(results.cases["run_id"]) == {folder.name.removeprefix("run=")}
    assert len(results.iterations) == 10
    assert results.iterations["start_ns"].tolist()[:5] == (np.arange(5) * 1000 + 2**60).tolist()
    assert results.iterations["host_latency_ns"].dtype == np.int64
    assert isinstance(results.iterations["case_id"].dtype, pd.CategoricalDtype)
    assert not isinstance(results.cases["case_id"].dtype, pd.CategoricalDtype)


def test_tables_without_rows_have_their_columns(tmp_path: Path) -> None:
    _write(tmp_path, "batch1")
    results = benchfw.load(tmp_path)
    for frame, name in ((results.warnings, "warnings"), (results.shapes, "shapes"), (results.accuracy, "accuracy")):
        assert frame.columns.tolist() == TABLES[name].names
        assert frame.empty
    assert not (results.runs[0] / "warnings").exists()


def test_a_run_before_its_first_cohort_has_no_rows(tmp_path: Path) -> None:
    _write(tmp_path)
    assert benchfw.load(tmp_path).cases.empty
    assert benchfw.load(tmp_path).blocks.empty


def test_the_folder_of_one_run_can_be_loaded(tmp_path: Path) -> None:
    folder = _write(tmp_path, "batch1")
    _write(tmp_path, "batch2")
    assert benchfw.load(str(folder)).cases["cohort"].tolist() == ["batch1"]


def test_runs_are_concatenated_oldest_first(tmp_path: Path) -> None:
    folders = sorted([_write(tmp_path, "batch1"), _write(tmp_path, "batch1", "batch2")])
    (tmp_path / "notes.txt").write_text("not a run")
    results = benchfw.load(tmp_path)
    assert results.runs == folders == find_runs(tmp_path)
    assert len(results.cases) == 3
    assert set(results.cases["run_id"]) == {folder.name.removeprefix("run=") for folder in folders}
    assert len(results.iterations) == 15
    assert len(set(results.iterations["run_id"])) == 2


def test_manifests(tmp_path: Path) -> None:
    folder = _write(tmp_path, "batch1")
    (manifest,) = benchfw.load(tmp_path).manifests
    assert manifest["schema_version"] == SCHEMA_VERSION
    assert manifest["state"] == "finished", "the later one replaces the earlier"
    assert manifest["run_id"] == folder.name.removeprefix("run=")


def test_no_temporary_files_stay(tmp_path: Path) -> None:
    folder = _write(tmp_path, "batch1", "batch2")
    assert not [path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]
    assert len((folder / "journal.jsonl").read_text().splitlines()) == 2


def test_run_ids_differ(tmp_path: Path) -> None:
    assert len({RunWriter(tmp_path).run_id for _ in range(20)}) == 20


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="cannot be made") as caught:
        RunWriter(tmp_path / "file")
    assert caught.value.hint and "--out" in caught.value.hint


def test_the_journal_names_a_cohort_only_once_its_parts_are_there(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    writer.write_manifest({})
    with pytest.raises(ResultError):
        writer.write_cohort("batch1", {"cases": [_case("batch1")], "warnings": [{"nonsense": 1}]})
    writer.write_cohort("batch2", {"cases": [_case("batch2")]})
    assert benchfw.load(tmp_path).cases["cohort"].tolist() == ["batch2"]


# --- damaged runs -----------------------------------------------------------------------------------------------


def test_a_truncated_last_line_of_the_journal_is_ignored(tmp_path: Path) -> None:
    folder = _write(tmp_path, "batch1", "batch2")
    journal = folder / "journal.jsonl"
    journal.write_text(journal.read_text()[:-30])
    assert benchfw.load(tmp_path).cases["cohort"].tolist() == ["batch1"]


def test_a_part_that_the_journal_does_not_name_is_ignored(tmp_path: Path) -> None:
    folder = _write(tmp_path, "batch1")
    stray = to_arrow("cases", [_case("batch9")], "r")
    pq.write_table(stray, folder / "cases" / "part-00001.parquet")
    pq.write_table(stray, folder / "cases" / ".part-00002.parquet.tmp")
    assert benchfw.load(tmp_path).cases["cohort"].tolist() == ["batch1"]


def test_a_part_that_is_missing_or_damaged_is_an_error(tmp_path: Path) -> None:
    folder = _write(tmp_path, "batch1")
    part = folder / "cases" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ResultError, match="cannot be read"):
        _ = benchfw.load(tmp_path).cases
    part.unlink()
    with pytest.raises(ResultError, match="cannot be read"):
        _ = benchfw.load(tmp_path).cases
    assert len(benchfw.load(tmp_path).iterations) == 5, "the other tables can still be read"


@pytest.mark.parametrize(
    "line",
    [
        "5",
        "[]",
        "null",
        '{"rows": 5}',
        '{"rows": {"cases": 1}}',
        '{"rows": {"cases": 1}, "part": ""}',
        '{"rows": {"cases": 1}, "part": ".."}',
    ],
)
def test_a_journal_of_a_stranger_is_an_error_of_ours_or_ignored(line: str, tmp_path: Path) -> None:
    folder = _write(tmp_path, "batch1")
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write(line + "\n")
    with contextlib.suppress(ResultError):
        assert benchfw.load(tmp_path).cases["cohort"].tolist() == ["batch1"]


def test_a_part_outside_of_the_run_is_not_read(tmp_path: Path) -> None:
    folder = _write(tmp_path / "a", "batch1")
    other = _write(tmp_path / "b", "batch9")
    line = {"rows": {"cases": 1}, "part": str(other / "cases" / "part-00000.parquet")}
    (folder / "journal.jsonl").write_text(json.dumps(line) + "\n")
    assert benchfw.load(folder).cases["cohort"].tolist() == ["batch1"], "only the name of a part counts"


def test_a_column_that_a_part_lacks_is_null(tmp_path: Path) -> None:
    folder = _write(tmp_path, "batch1")
    part = folder / "cases" / "part-00000.parquet"
    pq.write_table(pq.read_table(part, partitioning=None).drop_columns(["latency_p50_ns", "status"]), part)
    row = benchfw.load(tmp_path).table("cases").to_pylist()[0]
    assert row["latency_p50_ns"] is None and row["status"] is None
    assert row["cohort"] == "batch1"


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, "1", None])
def test_a_manifest_of_a_newer_schema_is_refused(version: object, tmp_path: Path) -> None:
    folder = _write(tmp_path, "batch1")
    (folder / "manifest.json").write_text(json.dumps({"schema_version": version}))
    with pytest.raises(ResultError, match="schema version"):
        read_manifest(folder)
    with pytest.raises(ResultError, match=f"up to {SCHEMA_VERSION}"):
        _ = benchfw.load(tmp_path).cases


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"5", b"\xff"])
def test_a_damaged_manifest_is_an_error(content: bytes, tmp_path: Path) -> None:
    folder = _write(tmp_path, "batch1")
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ResultError, match=r"manifest\.json"):
        read_manifest(folder)


def test_missing_and_empty_folders_have_a_hint(tmp_path: Path) -> None:
    (tmp_path / "run=x").write_text("a file, not a run")
    for path in (tmp_path / "none", tmp_path, tmp_path / "run=gone", tmp_path / "run=x"):
        with pytest.raises(ResultError) as caught:
            benchfw.load(path)
        assert caught.value.hint and "benchfw run" in caught.value.hint


def test_dictionaries_of_several_parts_are_unified(tmp_path: Path) -> None:
    folder = _write(tmp_path, "batch1", "batch2")
    column = Results([folder]).table("iterations").column("case_id")
    assert pa.types.is_dictionary(column.type)
    assert len({tuple(chunk.dictionary.to_pylist()) for chunk in column.chunks}) == 1
