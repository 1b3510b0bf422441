"""`benchfw results`: listing, removing and exporting runs, also those of strangers."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pyarrow.parquet as pq
import pytest

from benchfw.cli import cli as program
from benchfw.errors import ResultError
from benchfw.store import removal
from benchfw.store.schema import TABLES
from benchfw.store.writer import RunWriter

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Cli

EVIL = '=HYPERLINK("x")|\x1b[31m\nred'


@pytest.fixture
def runs(cli: Cli, tmp_path: Path) -> list[Path]:
    """Three runs in `results`, oldest first."""
    return [make_run(tmp_path / "results", number) for number in range(3)]


def make_run(out: Path, number: int, **more: Any) -> Path:
    case: dict[str, Any] = {"case_id": f"net/fake/{number}", "cohort": "c", "status": "OK", "status_reason": EVIL}
    case |= {"latency_p50_ns": 0.1 + number, "speedup": float("nan"), "artifact_s": float("inf")} | more
    iterations = {"case_id": [case["case_id"]] * 2, "start_ns": [2**60 + 1, 2**60 + 3], "host_latency_ns": [7, 9]}
    with RunWriter(out) as writer:
        writer.write_manifest({"state": "running"})
        writer.write_cohort("c", {"cases": [case], "iterations": iterations})
        writer.write_manifest({"state": "finished", "attempts": [{"started": f"2025-01-0{number + 1}T00:00:00+00:00"}]})
    return writer.folder


def ids(runs: list[Path]) -> list[str]:
    return [run.name.removeprefix("run=") for run in runs]


# --- ls -------------------------------------------------------------------------------------------------------------


def test_ls_lists_what_show_lists(cli: Cli, runs: list[Path]) -> None:
    out, _ = cli("results", "ls")
    assert out == cli("show", "--list")[0]
    head, *lines = out.splitlines()
    assert head.split() == ["run", "scenario", "state", "cases", "OK", "started", "size"]
    assert [line.split()[0] for line in lines] == ids(runs)[::-1]
    assert "2025-01-03T00:00:00Z" in lines[0] and lines[0].endswith("KiB")
    rows = json.loads(cli("results", "ls", "--json")[0])
    assert rows[0]["started"] == "2025-01-03T00:00:00+00:00"
    assert rows[0]["bytes"] == sum(path.stat().st_size for path in runs[-1].rglob("*") if path.is_file())


def test_ls_lists_damaged_runs_too(cli: Cli, runs: list[Path]) -> None:
    (runs[0] / "manifest.json").write_text("{")
    (runs[1] / "manifest.json").write_text('{"schema_version": 1, "attempts": [7], "scenario": []}')
    rows = json.loads(cli("results", "ls", "--json")[0])
    assert [row["started"] for row in rows] == ["2025-01-03T00:00:00+00:00", None, None]


# --- rm -------------------------------------------------------------------------------------------------------------


def test_rm_removes_what_it_is_told_to_and_says_so(cli: Cli, runs: list[Path], tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (runs[0] / "cases/link").symlink_to(outside)
    out, _ = cli("results", "rm", ids(runs)[0], f"results/{runs[1].name}", "--dry-run")
    assert out == "".join(f"would remove results/{run.name}\n" for run in runs[:2])
    assert all(run.is_dir() for run in runs)
    out, _ = cli("results", "rm", ids(runs)[0], f"results/{runs[1].name}")
    assert out == "".join(f"removed results/{run.name}\n" for run in runs[:2])
    assert os.listdir("results") == [runs[2].name]
    assert (outside / "kept").exists()


@pytest.mark.parametrize(("keep", "left"), [(0, 0), (1, 1), (3, 3), (9, 3)])
def test_rm_keeps_the_newest(cli: Cli, runs: list[Path], keep: int, left: int) -> None:
    out, _ = cli("results", "rm", "--keep", str(keep), "--json")
    assert json.loads(out) == {"removed": [f"results/{run.name}" for run in runs[: 3 - left]], "dry_run": False}
    assert sorted(os.listdir("results")) == [run.name for run in runs[3 - left :]]


def test_a_run_that_is_being_written_stays(cli: Cli, runs: list[Path]) -> None:
    with RunWriter.reopen(runs[0]):
        _, err = cli("results", "rm", ids(runs)[1], ids(runs)[0], code=3)
        assert f"error: results/{runs[0].name} is being written by another process\nhint: wait" in err
        assert runs[1].is_dir()  # of several nothing is removed if one cannot be
        out, err = cli("results", "rm", "--keep", "1")
        assert "is being written by another process; it stays" in err
        assert out == f"removed results/{runs[1].name}\n"
    assert sorted(os.listdir("results")) == [runs[0].name, runs[2].name]
    cli("results", "rm", "--keep", "1")
    assert os.listdir("results") == [runs[2].name]


def test_what_is_no_run_stays(cli: Cli, runs: list[Path], tmp_path: Path) -> None:
    Path("mine").mkdir()
    Path("run=mine").mkdir()
    Path("run=link").symlink_to(runs[0])
    Path("run=tricky").mkdir()
    Path("run=tricky/manifest.json").symlink_to(runs[0] / "manifest.json")
    for name in ("run=mine", "run=link", "run=tricky"):
        _, err = cli("results", "rm", name, code=3)
        assert "hint:" in err
    for name in ("", " ", "run=", "2", ids(runs)[0][:7], "mine", "../results", "20991231"):
        _, err = cli("results", "rm", name, code=2)
        assert "hint:" in err
    assert all(path.exists() for path in (*runs, Path("mine"), Path("run=mine"), Path("run=link"), Path("run=tricky")))
    assert "error: give runs, or --keep N" in cli("results", "rm", code=2)[1]
    assert "error: give runs, or --keep N" in cli("results", "rm", "latest", "--keep", "1", code=2)[1]


def test_a_run_that_is_named_twice_is_one_run(cli: Cli, runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to("results")
    first, name = ids(runs)[0], runs[0].name
    names = (first, name, f"results/{name}", str(runs[0]), f"linked/{name}")
    out, _ = cli("results", "export", *names, "all", "--table", "cases", "--columns", "run_id")
    assert out.splitlines()[1:] == [f'"{run_id}"' for run_id in ids(runs)]
    (tmp_path / f"results/.removed-{name}-dead").mkdir()
    out, _ = cli("results", "rm", *names[2:], *names[:2], "--results", "linked")
    assert out == f"removed results/{name}\n"
    assert sorted(os.listdir("results")) == [run.name for run in runs[1:]]


def test_what_was_broken_off_is_swept_where_runs_are_named_by_path(cli: Cli, runs: list[Path]) -> None:
    Path(f"results/.removed-{runs[0].name}-dead").mkdir()
    cli("results", "rm", f"results/{runs[0].name}", "--results", "elsewhere")
    assert sorted(os.listdir("results")) == [run.name for run in runs[1:]]


def test_removals_at_once_do_not_fail_each_other(cli: Cli, runs: list[Path], tmp_path: Path) -> None:
    """Each removes all runs that there are when it begins, and sweeps what the others have begun."""

    def remove(results: Path) -> int:
        removed = sum(removal.remove_run(run) for run in many)
        removal.sweep(results)
        return removed

    many = [make_run(tmp_path / "results", 0) for _ in range(10)]
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(remove, [tmp_path / "results"] * 4)) == len(many)
    assert sorted(os.listdir("results")) == [run.name for run in runs]


def test_a_removal_that_was_broken_off_leaves_no_half_a_run(
    cli: Cli, runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        (Path(path) / "journal.jsonl").unlink()
        raise OSError(5, "broken", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", fail)
        with pytest.raises(ResultError, match="cannot be removed: broken"):
            removal.remove_run(runs[0])
    assert [row["run_id"] for row in json.loads(cli("results", "ls", "--json")[0])] == ids(runs)[:0:-1]
    assert len(os.listdir("results")) == 3
    cli("results", "rm", ids(runs)[1])
    assert os.listdir("results") == [runs[2].name]


# --- export ---------------------------------------------------------------------------------------------------------


def test_csv_has_every_digit_and_no_formulas(cli: Cli, runs: list[Path]) -> None:
    out, _ = cli("results", "export", "all", "--table", "iterations")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == TABLES["iterations"].names
    assert [int(row["start_ns"]) for row in rows] == [2**60 + 1, 2**60 + 3] * 3
    wanted = "run_id,latency_p50_ns,speedup,artifact_s,status_reason"
    cli("results", "export", *ids(runs)[:2], "--table", "cases", "--columns", wanted, "-o", "out.csv")
    with open("out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run_id"] for row in rows] == ids(runs)[:2]
    assert [float(row["latency_p50_ns"]) for row in rows] == [0.1, 1.1]
    assert (rows[0]["speedup"], rows[0]["artifact_s"]) == ("", "")
    assert rows[0]["status_reason"] == f"'{EVIL}'"[:-1]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_every_beginning_of_a_formula_gets_an_apostrophe(cli: Cli, tmp_path: Path, text: str) -> None:
    make_run(tmp_path / "results", 0, status_reason=text)
    cli("results", "export", "latest", "--table", "cases", "--columns", "status_reason", "-o", "out.csv")
    assert Path("out.csv").read_bytes().decode() == f'"status_reason"\n"\'{text}"\n'


def test_json_is_a_list_of_rows(cli: Cli, runs: list[Path]) -> None:
    (row,) = json.loads(cli("results", "export", "latest", "--table", "cases", "--format", "json")[0])
    assert set(row) == set(TABLES["cases"].names)
    assert (row["latency_p50_ns"], row["speedup"], row["artifact_s"], row["status_reason"]) == (2.1, None, None, EVIL)
    assert json.loads(cli("results", "export", "latest", "--table", "shapes", "--format", "json")[0]) == []
    cli("results", "export", "all", "--table", "iterations", "--format", "json", "-o", "out.json")
    assert [row["start_ns"] for row in json.loads(Path("out.json").read_bytes())] == [2**60 + 1, 2**60 + 3] * 3


def test_markdown_is_a_table_whatever_the_cells_hold(cli: Cli, runs: list[Path]) -> None:
    columns = "case_id,latency_p50_ns,status_reason"
    out, _ = cli("results", "export", "latest", "--table", "cases", "--format", "md", "--columns", columns)
    assert out.splitlines() == [
        "| case_id    | latency_p50_ns | status_reason                  |",
        "| ---------- | -------------: | ------------------------------ |",
        '| net/fake/2 |            2.1 | =HYPERLINK("x")\\|\\x1b[31m\\nred |',
    ]


def test_parquet_reads_back(cli: Cli, runs: list[Path]) -> None:
    cli("results", "export", "all", "--table", "iterations", "--format", "parquet", "-o", "out.parquet")
    table = pq.read_table("out.parquet")
    assert table.schema.names == TABLES["iterations"].names
    assert table["start_ns"].to_pylist() == [2**60 + 1, 2**60 + 3] * 3


@pytest.mark.parametrize("kind", ["csv", "md", "json"])
def test_a_terminal_gets_nothing_to_act_on(
    cli: Cli, runs: list[Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out, _ = cli("results", "export", "latest", "--table", "cases", "--format", kind)
    assert "[31m" in out and "\x1b" not in out


def test_what_of_a_table_is_damaged_is_told(cli: Cli, runs: list[Path]) -> None:
    (part,) = (runs[0] / "cases").iterdir()
    part.write_bytes(b"PAR1")
    out, err = cli("results", "export", "all", "--table", "cases", "--columns", "case_id")
    assert out == '"case_id"\n"net/fake/1"\n"net/fake/2"\n'
    assert err.startswith("warning: ") and str(runs[0].name) in err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("latest", "--table", "casse"), 2, "there is no table 'casse'"),
        (("latest", "--table", "cases", "--columns", "case_id,nme"), 2, "no column 'nme'"),
        (("latest", "--table", "iteration"), 2, "there is no table 'iteration' (did you mean 'iterations'?)"),
        (("latest",), 2, "no table was given"),
        (("latest", "--table", "cases", "--columns", "latency_p5_ns"), 2, "no column 'latency_p5_ns' (did you mean"),
        (("20991231", "--table", "cases"), 2, "no run in results begins with '20991231'"),
        (("", "--table", "cases"), 2, "the name of a run is empty"),
        (("latest", "--table", "cases", "-o", "no/where.csv"), 3, "no/where.csv cannot be written"),
    ],
)
def test_mistakes(cli: Cli, runs: list[Path], arguments: tuple[str, ...], code: int, words: str) -> None:
    _, err = cli("results", "export", *arguments, code=code)
    assert err.startswith(f"error: {words}") and "\nhint: " in err


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(
    cli: Cli, runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out.csv").write_text("before")
    before = set(os.listdir())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cli("results", "export", "latest", "--table", "cases", "-o", "out.csv", code=3)
    assert Path("out.csv").read_text() == "before"
    assert set(os.listdir()) == before


# --- all commands ---------------------------------------------------------------------------------------------------

NO_LISTING = {"init", "new-plugin", "schema", "completion", "results export", "env create", "env rm", "cache rm"}
"""They print a path, JSON as it is, a script, what `--format` asks for, or what they did."""

ELSEWHERE = {
    *("doctor", "env check", "compare", "gate", "ab", "profile", "check"),
    *("export", "simplify", "quantize", "inspect", "build"),
    *("cache ls", "cache explain", "cache verify"),
}
"""Their JSON is read by tests of their own."""


def commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, context, name)
        if isinstance(command, click.Group):
            yield from commands(command, inner)
        else:
            yield inner.command_path.removeprefix("benchfw "), command


def has_json(command: click.Command) -> bool:
    return any("--json" in parameter.opts for parameter in command.params)


def test_whatever_lists_something_does_so_as_json(cli: Cli, runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        'name = "s"\nmodel.ref = "null:m"\nmodel.inputs.x.shape = [2]\nsweep = [{ kind = "fixed" }]\n'
        'backend = [{ use = "absent", optional = true }]\n'
    )
    quick = ("--input", "x=2", "--set", "measure.budget=100ms", "--out", "timed")
    arguments: dict[str, tuple[str, ...]] = {
        "run": ("s.toml", "--out", "ran"),
        "plan": ("s.toml",),
        "time": ("null:m", "--backend", "null", *quick),
        "show": (),
        "backends": (),
        "env ls": (),
        "results ls": (),
        "results rm": ("latest", "--dry-run"),
    }
    found = dict(commands(program, click.Context(program, info_name="benchfw", **program.context_settings)))
    assert set(found) == set(arguments) | NO_LISTING | ELSEWHERE
    assert all(has_json(found[path]) for path in ELSEWHERE)
    for path, more in arguments.items():
        assert has_json(found[path]), path
        out, err = cli(*path.split(), *more, "--json")
        assert json.loads(out) or path == "env ls"
        assert err == ""


@pytest.mark.parametrize("made", [False, True])
def test_a_project_without_runs(cli: Cli, made: bool) -> None:
    if made:
        Path("results").mkdir()
    for arguments in (("ls",), ("rm", "--keep", "1")):
        assert cli("results", *arguments) == ("no runs in results\n", "")
    assert json.loads(cli("results", "ls", "--json")[0]) == []
    assert json.loads(cli("results", "rm", "--keep", "1", "--json")[0])["removed"] == []
    for words in ("rm latest", "export all --table cases", "export x --table cases"):
        assert cli("results", *words.split(), code=2)[1].startswith("error: no runs in results\nhint: `benchfw run` ")


@pytest.mark.parametrize("option", ["--results", "--out"])
def test_the_folder_of_results_has_two_names(cli: Cli, runs: list[Path], option: str) -> None:
    os.rename("results", "mine")
    assert ids(runs)[0] in cli("results", "ls", option, "mine")[0]
    assert json.loads(cli("show", option, "mine", "--json")[0])["run_id"] == ids(runs)[2]
    Path("file").touch()
    assert "error: file is not a folder\nhint: " in cli("results", "ls", option, "file", code=2)[1]


def test_columns_may_stand_apart_and_a_dash_is_stdout(cli: Cli, runs: list[Path]) -> None:
    out, _ = cli("results", "export", "latest", "--table", "cases", "--columns", "case_id, status", "-o", "-")
    assert out == '"case_id","status"\n"net/fake/2","OK"\n'
    assert not Path("-").exists()


def test_ls_reads_the_parts_of_no_run_whose_journal_has_the_statuses(cli: Cli, runs: list[Path]) -> None:
    for run in runs:
        shutil.rmtree(run / "cases")
    lines = [json.loads(line) for line in (runs[0] / "journal.jsonl").read_text().splitlines()]
    before = "".join(json.dumps({**line, "cases": {}}) + "\n" for line in lines)  # as it was before `--resume`
    (runs[0] / "journal.jsonl").write_text(before)
    out, err = cli("results", "ls", "--json")
    assert [(row["cases"], row["ok"]) for row in json.loads(out)] == [(1, 1), (1, 1), (0, 0)]
    assert err.startswith("warning: ") and runs[0].name in err
