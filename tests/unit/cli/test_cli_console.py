"""What the command line prints, and its exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import math
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchfw.analysis.text import number
from benchfw.cli import console, main, report, session
from benchfw.cli.runs import find_run
from benchfw.cli.session import exit_code
from benchfw.errors import ResultError, UsageError
from benchfw.spec.events import RunStarted
from benchfw.spec.executor import Outcome
from benchfw.store.schema import CASES, kind_of
from benchfw.store.writer import RunWriter

ROW: dict[str, Any] = {
    "scenario": "s",
    "model": "net",
    "device": "cpu",
    "threads": 2,
    "effort": "quick",
    "sweep": "fixed+min-opt-max",
    "cohort": "batch4",
    "case_id": "net/fake/fp32/any/batch4",
    "name": "fake",
    "precision": "fp32",
    "profile": "any",
    "batch": 4,
    "shape": '{"batch": 4}',
    "status": "OK",
    "status_reason": None,
    "verdict": "VALID",
    "throughput_samples_s": 1234.56,
    "throughput_low_samples_s": 1200.0,
    "throughput_high_samples_s": 1270.0,
    "latency_p50_ns": 3_240_000.0,
    "latency_p50_low_ns": 3_230_000.0,
    "latency_p50_high_ns": 3_250_000.0,
    "latency_p99_ns": None,
    "speedup": 1.5,
    "rel_l2": 2.5e-7,
    "reference": "other",
}

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (float("inf"), "-"),
        (0.0, "0"),
        (1234.56, "1235"),
        (123.456, "123.5"),
        (1.23456, "1.235"),
        (0.0123456, "0.01235"),
        (-1.23456, "-1.235"),
        (9_876_543.2, "9876543"),
        (1.234e-6, "0.000001"),
    ],
)
def test_numbers_have_four_significant_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def _shown(capsys: pytest.CaptureFixture[str], row: dict[str, Any]) -> str:
    """Return the line of the first table that shows a row, blanks squeezed."""
    report.report([row], "r", Path("folder"), as_json=False)
    title, header, line = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert title.startswith("fixed: ")
    assert "p50" in header
    return " ".join(line.split())


def test_cells_of_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert _shown(capsys, ROW) == "4 fake any 1235 3.240 [3.230, 3.250] - 1.50x 2e-07 VALID"


def test_cells_of_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    row = ROW | {"reference": "fake", "rel_l2": 0.0, "precision": "fp16", "speedup": None, "latency_p50_low_ns": None}
    assert _shown(capsys, row) == "4 fake fp16 any 1235 3.240 - - reference VALID"


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ({"batch": 4}, "4"),
        ({"batch": [1, 8]}, "1-8"),
        ({"words": 9, "batch": 4}, "batch=4 words=9"),
        ({"words": 9, "batch": [1, 8]}, "batch=1-8 words=9"),
        ({"dim2": [16, 32]}, "dim2=16-32"),
        ({}, "-"),
    ],
)
def test_shapes(sizes: dict[str, Any], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _shown(capsys, ROW | {"shape": json.dumps(sizes), "batch": None}).startswith(f"{text} fake ")


def test_json_has_no_values_that_other_readers_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json(
        {
            "nan": float("nan"),
            "inf": -float("inf"),
            "numpy": np.float64("nan"),
            "single": np.float32("inf"),
            "int": np.int64(5),
            "flag": np.bool_(True),
            "list": (1, [float("nan")]),
            "path": Path("a/b"),
            3: "é",
        }
    )

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    out = capsys.readouterr().out
    assert json.loads(out, parse_constant=refuse) == {
        "nan": None,
        "inf": None,
        "numpy": None,
        "single": None,
        "int": 5,
        "flag": True,
        "list": [1, [None]],
        "path": "a/b",
        "3": "é",
    }
    assert "é" in out


def test_a_report_has_a_table_per_sweep_and_says_what_is_next(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rows = [
        ROW,
        ROW | {"sweep": "fixed", "batch": 8, "shape": '{"batch": 8}', "verdict": "NOT_CONVERGED"},
        ROW | {"name": "absent", "status": "SKIPPED", "status_reason": "no plugin"},
        ROW | {"name": "absent", "status": "SKIPPED", "status_reason": "no plugin", "case_id": "net/absent/b"},
        ROW | {"case_id": "net/bad/c", "status": "CRASH", "status_reason": "signal 11", "log": "logs/bad.log"},
    ]
    report.report(rows, "run-id", tmp_path, as_json=False)
    out = capsys.readouterr().out
    assert "s: net on cpu, 2 threads, effort quick" in out
    tables = out.split("fixed: ")[1].split("min-opt-max: ")
    assert len(tables) == 2 and "random-batch" not in out
    assert tables[0].count("fake") == 2 and tables[1].split("SKIPPED")[0].count("fake") == 1
    assert out.count("SKIPPED absent: no plugin") == 1, "a backend is skipped once, not once per case"
    assert f"CRASH net/bad/c: signal 11, see {tmp_path}/logs/bad.log" in out
    assert "NOT_CONVERGED 1 cases" in out
    assert f"benchfw show {tmp_path}" in out
    assert str(tmp_path) in out


def test_markup_in_names_is_shown_as_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hostile = ROW | {"name": "[red]x[/red]", "status_reason": "[bold]", "model": "[/]"}
    report.report([hostile, hostile | {"status": "CRASH"}], "r", tmp_path, as_json=False)
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out and "[/]" in out and "[bold]" in out


def test_a_report_as_json_is_json_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    warning = {"code": "W01", "case_id": "a", "value": 0.5, "threshold": 0.1, "message": "not converged"}
    report.report([ROW], "r", tmp_path, warnings=[warning], as_json=True)
    expected = {"run_id": "r", "folder": str(tmp_path), "cases": [ROW], "warnings": [warning]}
    assert json.loads(capsys.readouterr().out) == expected


def test_a_speed_up_of_unknown_certainty_does_not_look_certain(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    base = ROW | {"name": "other", "speedup": 1.0}
    open_ended = {"throughput_low_samples_s": None, "throughput_high_samples_s": None}
    for rows, marked in (
        ([base, ROW], []),
        ([base, ROW | open_ended], ["~1.50x"]),
        ([base | open_ended, ROW, ROW | {"cohort": "elsewhere", "speedup": 2.0}], ["~1.50x"]),
    ):
        rows = [row | {"sweep": "fixed"} for row in rows]
        report.report(rows, "r", tmp_path, as_json=False)
        out = capsys.readouterr().out
        assert [word for word in out.split() if word.endswith("x") and word.startswith("~")] == marked
        assert ("\n~: this throughput" in out) == bool(marked)
        assert len({line.index("0x ") for line in out.splitlines() if "0x " in line}) == 1  # columns stay columns


def test_warnings_are_told_by_code_with_the_worst_case(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def warning(code: str, case: str, value: float | None, threshold: float | None) -> dict[str, Any]:
        return {"code": code, "case_id": case, "value": value, "threshold": threshold, "message": f"{value}; do it"}

    warnings = [
        warning("W10", "a", 11.0, 10.0),
        warning("W10", "b", 99.0, 10.0),
        warning("W10", "b", NAN, 10.0),
        warning("W10", "c", 2.0, 0.0),
        warning("R02", "a", None, None),
        warning("W15", "b", 0.03, 0.01),
        warning("W15", "a", 0.02, 0.01),
    ]
    report.report([ROW], "r", tmp_path, warnings=warnings, as_json=False)
    out = capsys.readouterr().out
    assert "\n\nW10 3 cases, worst c: 2.0; do it\nR02 a: None; do it\nW15 2 cases, worst b: 0.03; do it\n\n" in out
    report.report([ROW], "r", tmp_path, as_json=False)
    assert "cases, worst" not in capsys.readouterr().out


def test_of_many_warnings_the_first_are_named_and_no_column_is_cut(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    row = ROW | {"name": "torch-compile", "precision": "bf16", "verdict": "NOT_CONVERGED", "latency_p50_ns": 123456.0}
    row |= {
        "io_scope": "pinned",
        "graph": "on",
        "device": "cuda:0",
        "enqueue_p50_ns": 23456.0,
        "shape": '{"batch": 2, "a": 123}',
    }
    row |= {"reference": "torch-eager", "latency_p50_low_ns": 100456.0, "latency_p50_high_ns": 140456.0}
    codes = [f"W{number:02}" for number in range(1, 20)]
    warnings = [{"code": code, "case_id": row["case_id"], "message": "m"} for code in codes if code != "W01"]
    report.report([row], "r", tmp_path, warnings=warnings, as_json=False)
    out = capsys.readouterr().out
    table = out.partition("\n\n")[2].partition("\n\n")[0]
    assert "…" not in table
    assert "p50 µs" in table and "torch-compile bf16" in table
    assert "  W02 W03 W04 W05 W06 +13" in table
    assert len(table.splitlines()) == 3


def test_a_report_without_rows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report.report([], "r", tmp_path, as_json=False)
    assert str(tmp_path) in capsys.readouterr().out


# --- odd rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"latency_p50_ns": None}, "4 fake any 1235 - [3230, 3250] - 1.50x 2e-07 VALID"),
        ({"latency_p50_ns": NAN, "latency_p99_ns": 2.0}, "4 fake any 1235 - [3230, 3250] 0.002000 1.50x 2e-07 VALID"),
        ({"latency_p50_ns": math.inf}, "4 fake any 1235 - [3230, 3250] - 1.50x 2e-07 VALID"),
        ({"latency_p50_ns": -4e6}, "4 fake any 1235 -4000 [3230, 3250] - 1.50x 2e-07 VALID"),
        ({"latency_p50_ns": 1e300}, "4 fake any 1235 1.000e+294 [3, 3] - 1.50x 2e-07 VALID"),
        ({"latency_p50_low_ns": NAN, "speedup": NAN, "rel_l2": NAN}, "4 fake any 1235 3.240 - - - VALID"),
        ({"name": None, "profile": None}, "4 - - 1235 3.240 [3.230, 3.250] - 1.50x 2e-07 VALID"),
        ({"precision": None, "verdict": None}, "4 fake any 1235 3.240 [3.230, 3.250] - 1.50x 2e-07 -"),
    ],
)
def test_what_a_row_does_not_say_is_a_dash(
    changes: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _shown(capsys, ROW | changes) == line


@pytest.mark.parametrize(
    "shape",
    [None, "", "nonsense", '"nonsense"', "5", "[]", "null", '{"a": []}', '{"a": [1]}', '{"a": {}}', "[" * 100_000,
     '{"batch": null}', '{"batch": 1e999}', '{"batch": [1, "x"]}', '{"batch": true}', '{"batch": ' + "9" * 5000 + "}"],
)  # fmt: skip
def test_a_shape_that_is_none_is_a_dash(shape: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    shown = _shown(capsys, ROW | {"shape": shape})
    assert shown.startswith(("- fake ", "a=- fake "))


def _values(column: str) -> st.SearchStrategy[Any]:
    sizes = st.integers() | st.lists(st.integers() | st.none(), max_size=3) | st.none() | st.floats()
    shapes = st.dictionaries(st.sampled_from(["batch", "words"]) | st.text(max_size=3), sizes, max_size=3)
    kind = CASES.field(column).type
    return (
        st.none()
        | {
            "text": st.text(max_size=5)
            | st.sampled_from(["OK", "SKIPPED", "INTERRUPTED", "VALID", "CONTENDED", "NOT_CONVERGED", "fixed", "fp32"])
            | (shapes.map(json.dumps) if column == "shape" else st.nothing()),
            "real": st.floats() | st.sampled_from([0.0, -1.0, 5e-324, 1.7e308]),
            "integer": st.integers(-(2**31), 2**31 - 1),
        }[kind_of(kind)]
    )


_ROWS = st.lists(
    st.tuples(
        st.sampled_from([dict.fromkeys(CASES.names), dict.fromkeys(CASES.names) | ROW]),
        st.lists(
            st.sampled_from([*CASES.names, *ROW, *ROW]).flatmap(lambda name: st.tuples(st.just(name), _values(name))),
            max_size=8,
        ),
    ).map(lambda pair: pair[0] | dict(pair[1])),
    max_size=4,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(_ROWS, st.booleans())
@example([dict.fromkeys(CASES.names)], False)
@example([ROW | {"batch": None}, ROW, ROW | {"shape": None}], False)
@example([{}, {"status": "OK"}, {"status": "OK", "sweep": "fixed"}], False)
def test_no_rows_break_a_report(rows: list[dict[str, Any]], as_json: bool) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        report.report(rows, "r", Path("folder"), as_json=as_json)
    assert "folder" in out.getvalue()


def test_a_run_with_odd_rows_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    odd = [ROW | {"latency_p50_ns": None}, ROW | {"shape": None}, ROW | {"shape": '"nonsense"', "name": None}, {}]
    with RunWriter(tmp_path / "results") as writer:
        writer.write_manifest({"state": "finished"})
        writer.write_cohort("batch4", {"cases": odd})
    monkeypatch.chdir(tmp_path)
    for options in ((), ("--json",), ("--list",)):
        assert _main(monkeypatch, "show", *options) == 0
        assert writer.run_id in capsys.readouterr().out


# --- what to type -----------------------------------------------------------------------------------------------


def test_the_next_command_names_the_run_as_a_shell_takes_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, named in (
        (Path("results/run=a"), "a"),
        (tmp_path / "results/run=a", "a"),
        (Path("run=a"), "run=a"),
        (Path("my runs/run=a"), "'my runs/run=a'"),
    ):
        report.report([], "a", folder, as_json=False)
        out = capsys.readouterr().out
        assert f"benchfw show {named}\n" in out
    code = shlex.split(out.splitlines()[-1])[2]
    assert code == "import benchfw; print(benchfw.load('my runs/run=a').cases)"


def _fail(error: Exception, folder: str) -> None:
    with session._resumable(lambda event: None, once=False) as show:
        show(RunStarted("a", folder, "scenario"))
        raise error


def test_how_to_resume_is_told_for_the_folder_of_the_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, command in (
        ("results/run=a", "a"),
        ("my runs/run=a", "'my runs/run=a'"),
        ("old/run=renamed", "old/run=renamed"),
    ):
        Path(folder).mkdir(parents=True)
        with pytest.raises(ResultError):
            _fail(ResultError("full"), folder)
        assert capsys.readouterr().err == f"what is finished is stored; to go on: benchfw run --resume {command}\n"
        outcome = Outcome(run_id="a", folder=Path(folder), rows=[], interrupted="stopped")
        session.tell_how_to_resume(outcome)
        assert capsys.readouterr().err == f"stopped; to go on: benchfw run --resume {command}\n"
    with pytest.raises(UsageError):
        _fail(UsageError("something else"), "results/run=a")
    assert capsys.readouterr().err == ""


def test_an_id_that_begins_another_one_is_found(tmp_path: Path) -> None:
    for name in ("run=base", "run=base2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").touch()
    assert find_run("base", tmp_path) == tmp_path / "run=base"
    with pytest.raises(UsageError, match="2 runs"):
        find_run("bas", tmp_path)


# --- exit codes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "code", "strict"),
    [
        ([], 0, 0),
        (["OK", "OK"], 0, 0),
        (["OK", "SKIPPED", "UNSUPPORTED"], 0, 3),
        (["OK", "CRASH"], 3, 3),
        (["TIMEOUT", "SKIPPED"], 3, 3),
        (["INTERRUPTED"], 3, 3),
        (["CRASH", "ACCURACY_FAIL", "OK"], 5, 5),
    ],
)
def test_exit_codes_of_a_run(statuses: list[str], code: int, strict: int) -> None:
    outcome = Outcome(run_id="r", folder=Path(), rows=[{"status": status} for status in statuses])
    assert exit_code(outcome, strict=False) == code
    assert exit_code(outcome, strict=True) == strict
    assert exit_code(replace(outcome, interrupted="by a test"), strict=False) == 130


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["benchfw", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code or 0


@pytest.mark.parametrize("arguments", [("nonsense",), ("plan",), ("plan", "--nonsense"), ("plan", "x", "--sweep", "y")])
def test_a_command_line_that_cannot_be_is_2(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert (out, bool(err)) == ("", True)


def test_an_error_of_ours_is_a_message_and_a_hint_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _main(monkeypatch, "plan", str(tmp_path / "none.toml")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ") and "none.toml" in err and "\nhint: " in err
    assert _main(monkeypatch, "show", "--results", str(tmp_path / "none")) == 2
    assert "hint: " in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [(), ("--help",), ("--version",), ("plan", "-h")])
def test_help_needs_no_plugins(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BENCHFW_PLUGINS", "no_such_module")
    code = _main(monkeypatch, *arguments)
    assert code == (0 if arguments else 2)
    assert "benchfw" in "".join(capsys.readouterr())


def test_the_schema_is_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(monkeypatch, "schema") == 0
    schema = json.loads(capsys.readouterr().out)
    assert {"name", "model", "shapes", "sweep", "backend"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


def _scenario(path: Path) -> str:
    path.write_text(
        'name = "s"\n[model]\nref = "null:net"\n[model.inputs.x]\nshape = ["batch"]\n'
        "[shapes]\nbatch = { min = 1, opt = 2, max = 4 }\n"
        '[[sweep]]\nkind = "fixed"\nbatch = [1, 2]\n[[sweep]]\nkind = "min-opt-max"\n'
        '[[backend]]\nuse = "null"\n[[backend]]\nuse = "absent"\noptional = true\n'
    )
    return str(path)


def test_a_plan_is_shown_without_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scenario = _scenario(tmp_path / "s.toml")
    assert _main(monkeypatch, "plan", scenario) == 0
    out = capsys.readouterr().out
    assert "net/null/fp32/any/batch2  fixed+min-opt-max" in out
    assert out.count("SKIPPED absent-fp32: no installed plugin provides 'absent'") == 1
    assert "3 cases to measure in 3 cohorts" in out
    assert _main(monkeypatch, "plan", scenario, "--json", "--sweep", "fixed", "--set", "measure.effort=report") == 0
    plan = json.loads(capsys.readouterr().out)
    assert [(case["case_id"], case["status"]) for case in plan["cases"]] == [
        ("net/null/fp32/any/batch1", "planned"),
        ("net/absent/fp32/static/batch1", "SKIPPED"),
        ("net/null/fp32/any/batch2", "planned"),
        ("net/absent/fp32/static/batch2", "SKIPPED"),
    ]


def test_a_backend_that_the_scenario_lacks_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert _main(monkeypatch, "plan", _scenario(tmp_path / "s.toml"), "--backend", "other") == 2
    assert "hint: it has: null, absent" in capsys.readouterr().err
