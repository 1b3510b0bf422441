"""Results written and read back."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import benchfw
from benchfw.cli.runs import find_run
from benchfw.errors import ResultError
from benchfw.store.files import resume_command, run_argument
from benchfw.store.reader import Results, find_runs, read_cases
from benchfw.store.schema import SCHEMA_VERSION, TABLES
from benchfw.store.writer import RunWriter, row_faults, to_arrow

if TYPE_CHECKING:
    from tests.unit.store.conftest import Maker

# --- tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TABLES))
def test_every_column_is_described_and_every_table_begins_with_its_run(name: str) -> None:
    schema = TABLES[name]
    assert schema.names[:2] == ["run_id", "cohort" if name == "telemetry" else "case_id"]
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


def test_a_run_is_read_back(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1", "batch4")
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


def test_tables_without_rows_have_their_columns(tmp_path: Path, make: Maker) -> None:
    make.run(tmp_path, "batch1")
    results = benchfw.load(tmp_path)
    for frame, name in ((results.warnings, "warnings"), (results.shapes, "shapes"), (results.accuracy, "accuracy")):
        assert frame.columns.tolist() == TABLES[name].names
        assert frame.empty
    assert not (results.runs[0] / "warnings").exists()


def test_a_run_before_its_first_cohort_has_no_rows(tmp_path: Path, make: Maker) -> None:
    make.run(tmp_path)
    assert benchfw.load(tmp_path).cases.empty
    assert benchfw.load(tmp_path).blocks.empty


def test_the_folder_of_one_run_can_be_loaded(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    make.run(tmp_path, "batch2")
    assert benchfw.load(str(folder)).cases["cohort"].tolist() == ["batch1"]


def test_runs_are_concatenated_oldest_first(tmp_path: Path, make: Maker) -> None:
    folders = sorted([make.run(tmp_path, "batch1"), make.run(tmp_path, "batch1", "batch2")])
    (tmp_path / "notes.txt").write_text("not a run")
    results = benchfw.load(tmp_path)
    assert results.runs == folders == find_runs(tmp_path)
    assert len(results.cases) == 3
    assert set(results.cases["run_id"]) == {folder.name.removeprefix("run=") for folder in folders}
    assert len(results.iterations) == 15
    assert len(set(results.iterations["run_id"])) == 2


def test_manifests(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1")
    (manifest,) = benchfw.load(tmp_path).manifests
    assert manifest["schema_version"] == SCHEMA_VERSION
    assert manifest["state"] == "finished", "the later one replaces the earlier"
    assert manifest["run_id"] == folder.name.removeprefix("run=")


def test_no_temporary_files_stay(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1", "batch2")
    assert not [path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]
    assert len((folder / "journal.jsonl").read_text().splitlines()) == 2


def test_run_ids_differ(tmp_path: Path) -> None:
    assert len({RunWriter(tmp_path).run_id for _ in range(20)}) == 20


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="cannot be made") as caught:
        RunWriter(tmp_path / "file")
    assert caught.value.hint and "--results" in caught.value.hint


def test_the_journal_names_a_cohort_only_once_its_parts_are_there(tmp_path: Path, make: Maker) -> None:
    writer = RunWriter(tmp_path)
    writer.write_manifest({})
    with pytest.raises(ResultError):
        writer.write_cohort("batch1", {"cases": [make.case("batch1")], "warnings": [{"nonsense": 1}]})
    writer.write_cohort("batch2", {"cases": [make.case("batch2")]})
    assert benchfw.load(tmp_path).cases["cohort"].tolist() == ["batch2"]


def test_dictionaries_of_several_parts_are_unified(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1", "batch2")
    column = Results([folder]).table("iterations").column("case_id")
    assert pa.types.is_dictionary(column.type)
    assert len({tuple(chunk.dictionary.to_pylist()) for chunk in column.chunks}) == 1


# --- what a worker may say ----------------------------------------------------------------------------------------


def test_text_that_is_not_unicode_is_escaped(tmp_path: Path, make: Maker) -> None:
    with RunWriter(tmp_path) as writer:
        writer.write_manifest({"scenario_file": "/tmp/\udc80.toml", "\ud800": "é"})
        writer.write_cohort("b\udcff", make.tables("b\udcff", status_reason="bad \udc80 byte"))
    results = benchfw.load(tmp_path)
    assert results.manifests[0]["scenario_file"] == "/tmp/\udc80.toml", "JSON keeps it"
    assert results.cases["status_reason"].tolist() == ["bad \\udc80 byte"]
    assert results.cases["cohort"].tolist() == ["b\\udcff"]
    assert len(results.iterations) == 5 and not results.problems


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("n", 2**63),
        ("n", 2**200),
        ("n", "many"),
        ("n", 1.5),
        ("batch", 2**31),
        ("latency_p50_ns", "fast"),
        ("latency_p50_ns", [1.0]),
        ("model", object()),
        ("model", {"a": 1}),
        ("model", b"\xff"),
    ],
)
def test_a_value_that_does_not_fit_names_its_column(column: str, value: object, make: Maker) -> None:
    with pytest.raises(ResultError, match=rf"'{column}'.*'cases'"):
        to_arrow("cases", [make.case("batch1") | {column: value}], "r")


def test_rows_that_do_not_fit_are_told_apart(make: Maker) -> None:
    good = make.case("batch1", n=np.int64(5), threads=4.0, measured_s=1, rel_l2=np.float32("nan"), model="\udc80")
    bad = {
        "threads": True,
        "n": np.bool_(True),
        "batch": 2**31,
        "blocks": 1.5,
        "seed": float("inf"),
        "latency_p50_ns": "fast",
        "speedup": 10**400,
        "status": 5,
        "facts": {"a": 1},
        "model": b"x",
        "nonsense": None,
    }
    rows = [good, *(good | {column: value} for column, value in bad.items()), good]
    faults = row_faults("cases", rows)
    assert list(faults) == list(range(1, len(bad) + 1))
    for reason, (column, value) in zip(faults.values(), bad.items()):
        assert f"'{column}'" in reason and (column == "nonsense" or type(value).__name__ in reason)
    assert faults[1] == "column 'threads' of table 'cases' holds integer of 32 bits, not this bool"
    for place, row in enumerate(rows):
        if place in faults:
            with pytest.raises(ResultError):
                to_arrow("cases", [good, row], "r")
    table = to_arrow("cases", [good, good], "r")
    assert table.column("threads").to_pylist() == [4, 4] and table.column("model").to_pylist() == ["\\udc80"] * 2


_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**64), 2**64),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=2),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(
        [np.int8(1), np.uint64(2**64 - 1), np.float32("nan"), np.float16(2), np.bool_(False), np.str_("a")]
    ),
    st.builds(object),
)
_COLUMNS = st.sampled_from(["case_id", "facts", "status", "n", "threads", "latency_p50_ns"])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.dictionaries(_COLUMNS, _ODD, max_size=3), min_size=1, max_size=5))
def test_rows_without_faults_can_be_written_together(rows: list[dict[str, Any]]) -> None:
    faults = row_faults("cases", rows)
    fit = [row for place, row in enumerate(rows) if place not in faults]
    assert to_arrow("cases", fit, "r").num_rows == len(fit)
    for place in faults:
        with pytest.raises(ResultError):
            to_arrow("cases", [rows[place]], "r")


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ResultError, match="'code'"):
        to_arrow("warnings", {"case_id": ["a", "b"], "code": ["W01"]}, "r")


def test_rows_of_cases_come_with_the_problems(tmp_path: Path, make: Maker, recwarn: pytest.WarningsRecorder) -> None:
    folder = make.run(tmp_path, "batch1", "batch2")
    rows, problems = read_cases(folder)
    assert [row["cohort"] for row in rows] == ["batch1", "batch2"] and not problems
    (folder / "cases" / "part-00000.parquet").unlink()
    rows, (problem,) = read_cases(folder)
    assert [row["cohort"] for row in rows] == ["batch2"] and "batch1" in problem
    assert not recwarn.list


# --- what to type -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out", ["results", "other", "-o", 'it\'s $HOME "`x`"', "\n\x1b\\é\udcff'", "ABSOLUTE"])
@pytest.mark.parametrize("name", ["", "baseline", "latest", "-v", "two words", "\x1b[2Jé\udcff", "run=x", "a*"])
def test_commands_for_a_run_work_when_they_are_pasted(
    out: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "results" if out == "ABSOLUTE" else Path(out)
    for other in ("run=baseline2", "run=zzz"):
        (place / other).mkdir(parents=True)
        (place / other / "manifest.json").touch()
    with RunWriter(place) as writer:
        writer.write_manifest({})
    folder = writer.folder.rename(place / f"run={name}") if name else writer.folder
    command = resume_command(folder)
    assert command.isprintable()
    shown = subprocess.run(
        ["bash", "-c", f"benchfw() {{ printf '%s\\0' \"$@\"; }}; {command}"], capture_output=True, check=True
    )
    program, option, argument = shown.stdout.decode(errors="surrogateescape").rstrip("\0").split("\0")
    assert (program, option) == ("run", "--resume")
    assert find_run(argument, Path("results")).samefile(folder)
    assert not run_argument(folder).startswith("-")
    if out in ("results", "ABSOLUTE") and name in ("", "baseline"):
        assert argument == folder.name.removeprefix("run=")


def test_a_command_can_be_told_where_the_working_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert resume_command(Path("results/run=x")) == "benchfw run --resume results/run=x"


# --- ids of runs --------------------------------------------------------------------------------------------------


def test_runs_sort_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    made = [RunWriter(tmp_path).folder.name for _ in range(5)]
    assert made == sorted(made)


def test_a_clock_that_was_set_back_does_not_hide_the_newest_run(tmp_path: Path, make: Maker) -> None:
    (tmp_path / "run=20991231T235959Z-ffffff").mkdir()
    assert RunWriter(tmp_path).run_id.startswith("21000101T000000Z-")


@pytest.mark.parametrize("name", ["run=99991231T235959Z-ffffff", "run=20269999T000000Z-a", "run=x", "run=٢٠٢٦"])
def test_stamps_of_strangers_do_no_harm(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert RunWriter(tmp_path).run_id.startswith("20")


def test_a_run_that_was_renamed_can_be_read_and_continued(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1").rename(tmp_path / "run=baseline")
    with RunWriter.reopen(folder) as writer:
        writer.write_cohort("batch2", make.tables("batch2"))
        writer.write_manifest({})
    results = benchfw.load(tmp_path)
    assert results.cases["cohort"].tolist() == ["batch1", "batch2"]
    assert set(results.cases["run_id"]) == {"baseline"}, "runs that were copied stay apart"
