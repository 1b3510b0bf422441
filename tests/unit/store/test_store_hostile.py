"""Results from strangers: they may be wrong, but they do not block, fill the memory, or reach out of their folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import benchfw
from benchfw.errors import ResultError
from benchfw.store.footer import _Decoder
from benchfw.store.reader import ResultWarning, intact_cohorts
from benchfw.store.writer import RunWriter

if TYPE_CHECKING:
    from tests.unit.store.conftest import Maker

PART = "part-00000.parquet"
MIB = 1 << 20


# --- traps ------------------------------------------------------------------------------------------------------


def _constant(value: Any, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([value]))


def _trap(folder: Path, name: str, rows: int, columns: dict[str, Any] | None = None, **options: Any) -> Path:
    """Put a file into a run, and a line into the journal that vouches for it."""
    path = folder / name / PART
    path.parent.mkdir(exist_ok=True)
    if columns is not None:
        ids = {"run_id": _constant(folder.name[4:], rows), "case_id": _constant("c", rows)}
        pq.write_table(pa.table(ids | columns), path, compression="zstd", write_page_checksum=True, **options)
    line = {"cohort": "trap", "part": PART, "rows": {name: rows}}
    (folder / "journal.jsonl").write_text(json.dumps(line) + "\n")
    return path


def _edit_footer(path: Path, edit: Callable[[Any], None]) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    footer = _Decoder(data[-8 - length : -8]).struct()
    edit(footer)
    encoded = _encode(12, footer)
    path.write_bytes(data[: -8 - length] + encoded + len(encoded).to_bytes(4, "little") + b"PAR1")


def _encode(kind: int, value: Any) -> bytes:
    """Thrift's compact protocol, as benchfw.store.footer decodes it."""
    if kind in (4, 5, 6):
        return _varint((value << 1) ^ (value >> 63))
    if kind == 8:
        return _varint(len(value)) + bytes(value)
    if kind in (9, 10):
        inner = {dict: 12, bytes: 8, int: 5}[type(value[0])] if value else 5
        return bytes([0xF0 | inner]) + _varint(len(value)) + b"".join(_encode(inner, item) for item in value)
    fields = [
        bytes([kind]) + _varint(number << 1) + (b"" if kind in (1, 2) else _encode(kind, item))
        for (number, kind), item in value.items()
    ]
    return b"".join(fields) + b"\0"


def _varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])


def _text_many_times(folder: Path) -> None:
    _trap(folder, "warnings", 10_000, {"message": _constant("x" * MIB, 10_000)})


def _text_a_million_times(folder: Path) -> None:
    _trap(folder, "warnings", 1_000_000, {"message": _constant("x" * MIB, 1_000_000)})


def _one_number(folder: Path) -> None:
    """100 million rows in half a megabyte."""
    path = folder / "iterations" / PART
    path.parent.mkdir()
    group = pa.table(
        {"run_id": _constant("r", MIB), "case_id": _constant("c", MIB), "start_ns": np.zeros(MIB, np.int64)}
    )
    with pq.ParquetWriter(path, group.schema, compression="zstd") as writer:
        for _ in range(95):
            writer.write_table(group)
    _trap(folder, "iterations", 95 * MIB)


def _rows_that_are_not_there(folder: Path) -> None:
    path = _trap(folder, "iterations", 5, {"start_ns": np.arange(5)})

    def edit(footer: Any) -> None:
        footer[3, 6] = 1 << 40
        footer[4, 9][0][3, 6] = 1 << 40
        for column in footer[4, 9][0][1, 9]:
            column[3, 12][5, 6] = 1 << 40

    _edit_footer(path, edit)
    _trap(folder, "iterations", 1 << 40)


def _values_that_are_not_there(folder: Path) -> None:
    path = _trap(folder, "iterations", 5, {"start_ns": np.arange(5)})
    _edit_footer(path, lambda footer: footer[4, 9][0][1, 9][2][3, 12].update({(5, 6): 1 << 40}))


def _zeros(folder: Path) -> None:
    """Megabytes of zeros in each row."""
    texts = [f"{number}" + "x" * (8 * MIB) for number in range(24)]
    _trap(folder, "warnings", 24, {"message": texts}, use_dictionary=["run_id"], write_batch_size=1, data_page_size=1)


def _zeros_that_the_footer_denies(folder: Path) -> None:
    _zeros(folder)

    def edit(footer: Any) -> None:
        for column in footer[4, 9][0][1, 9]:
            column[3, 12][6, 6] = 1000
        footer[4, 9][0][2, 6] = 1000

    _edit_footer(folder / "warnings" / PART, edit)


def _columns(folder: Path) -> None:
    _trap(folder, "warnings", 1, {f"c{number}": [1] for number in range(2000)})


def _nested(folder: Path) -> None:
    """A list of a hundred million numbers is one row."""
    values = pa.array(np.zeros(10**7, np.int32))
    _trap(folder, "iterations", 1, {"block": pa.ListArray.from_arrays(pa.array([0, 10**7], pa.int32()), values)})


def _twice(folder: Path) -> None:
    path = _trap(folder, "warnings", 1, {"code": ["a"], "later": ["b"]})
    _edit_footer(path, lambda footer: footer[2, 9][4].update({(4, 8): b"code"}))


def _sparse(folder: Path) -> None:
    path = _trap(folder, "iterations", 5, {"start_ns": np.arange(5)})
    os.truncate(path, 1 << 40)


def _pipe(folder: Path) -> None:
    os.mkfifo(_trap(folder, "warnings", 5))


def _device(folder: Path) -> None:
    _trap(folder, "warnings", 5).symlink_to("/dev/zero")


def _link(folder: Path) -> None:
    outside = folder.parent / "outside.parquet"
    os.replace(_trap(folder, "warnings", 1, {"code": ["secret"]}), outside)
    _trap(folder, "warnings", 1).symlink_to(outside)


def _linked_folder(folder: Path) -> None:
    _trap(folder, "warnings", 1, {"code": ["secret"]})
    outside = folder.parent / "outside"
    (folder / "warnings").rename(outside)
    (folder / "warnings").symlink_to(outside)


def _another_run(folder: Path) -> None:
    _trap(folder, "warnings", 1, {"run_id": ["20200101T000000Z-abcdef"]})


def _half_another_run(folder: Path) -> None:
    _trap(folder, "warnings", 2, {"run_id": [folder.name[4:], None]})


TRAPS = {trap.__name__[1:]: trap for trap in (
    _text_many_times, _text_a_million_times, _one_number, _rows_that_are_not_there, _values_that_are_not_there, _zeros,
    _zeros_that_the_footer_denies, _columns, _nested, _twice, _sparse, _pipe, _device, _link, _linked_folder,
    _another_run, _half_another_run,
)}  # fmt: skip

LOAD = """
import json, re, resource, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from benchfw.store.reader import Results, find_runs
from benchfw.store.schema import TABLES
import pandas
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
def peak():  # ru_maxrss would be that of the parent before exec
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
found = {}
for run in find_runs(Path(sys.argv[1])):
    results = Results([run])
    rows = sum(len(getattr(results, name)) for name in TABLES)
    grown = peak() - before
    found[run.name] = {"rows": rows, "problems": results.problems, "mib": grown // 1024}
print(json.dumps(found))
"""


def test_traps_are_told_and_memory_stays_small(tmp_path: Path) -> None:
    for name, trap in TRAPS.items():
        folder = tmp_path / f"run={name}"
        folder.mkdir()
        (folder / "manifest.json").write_text('{"schema_version": 1}')
        trap(folder)
    command = [sys.executable, "-c", LOAD, str(tmp_path)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    found = json.loads(run.stdout)
    assert set(found) == {f"run={name}" for name in TRAPS}
    for name, result in found.items():
        assert result["rows"] == 0, name
        assert len(result["problems"]) == 1 and "'trap'" in result["problems"][0], (name, result)
        assert result["mib"] < 150, (name, result)


def test_a_damaged_footer_that_ends_pyarrow_is_not_given_to_it(tmp_path: Path, make: Maker) -> None:
    """pyarrow 26 aborts the process on some of these when asked for a column's metadata."""
    folder = tmp_path / "run=x"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"schema_version": 1}')
    path = _trap(folder, "iterations", 5, {"start_ns": np.arange(5), "phase": ["a"] * 5})
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    assert intact_cohorts(folder)[1] == []
    for place in range(footer, len(whole)):
        for bits in (1, 0x80, 0xFF):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
            intact_cohorts(folder)


def test_equal_texts_in_a_dictionary_are_one_category(tmp_path: Path) -> None:
    folder = tmp_path / "run=x"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"schema_version": 1}')
    twice = pa.DictionaryArray.from_arrays([0, 1, 2], ["a", "a", "b"])
    _trap(folder, "iterations", 3, {"phase": twice})
    assert benchfw.load(folder).iterations["phase"].tolist() == ["a", "a", "b"]


def test_links_within_a_run_are_followed(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path / "real", "batch1")
    (folder / "cases").rename(folder / "moved")
    (folder / "cases").symlink_to("moved")
    link = tmp_path / folder.name
    link.symlink_to(folder)
    assert len(benchfw.load(link).cases) == 1


def test_nothing_is_written_out_of_the_run(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path / "results", "batch1")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / ".notes.tmp").touch()
    (folder / "warnings").symlink_to(tmp_path / "outside")
    (folder / ".manifest.json.tmp").symlink_to(tmp_path / "victim")
    with RunWriter.reopen(folder) as writer:
        writer.write_manifest({})
        with pytest.raises(ResultError, match="leads out"):
            writer.write_cohort("batch2", {"warnings": [{"case_id": "a"}]})
    assert [path.name for path in (tmp_path / "outside").iterdir()] == [".notes.tmp"] and not (
        tmp_path / "victim"
    ).exists()


def test_a_name_of_a_stranger_does_not_reach_the_terminal_as_it_is(tmp_path: Path, make: Maker) -> None:
    folder = make.run(tmp_path, "batch1").rename(tmp_path / "run=\x1b[2Jé\udcff")
    assert set(benchfw.load(folder).cases["run_id"]) == {"\x1b[2Jé\\udcff"}
    (folder / "cases" / PART).unlink()
    results = benchfw.load(folder)
    with pytest.warns(ResultWarning):
        assert results.cases.empty
    assert results.problems[0].isprintable() and "é" in results.problems[0]
