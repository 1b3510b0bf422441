"""`benchfw compare` and `benchfw gate`: what they print and how they exit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import benchfw
from benchfw.cli import comparison, console, verdicts
from tests.unit.analysis.synthetic import MACHINE, Synthetic
from tests.unit.analysis.test_analysis_verdicts import verdicts as one_of_each

Cli = Callable[..., tuple[str, str]]
GOLDEN = Path(__file__).parents[2] / "golden"


def write(seed: int, slower: float = 1.0, *, name: str = "ort-cpu", invocations: int = 5, **manifest: object) -> str:
    made = Synthetic(seed, invocations=invocations)
    for batch in (1, 8):
        made.case("torch-eager", 4.0 * batch, batch=batch)
        made.case(name, 2.0 * batch * slower, batch=batch, profile="static")
    return made.write(Path("results"), **manifest).name.removeprefix("run=")


def test_two_runs(cli: Cli) -> None:
    first, second = write(1), write(2, 1.1)
    out, err = cli("compare", first, second, "--metric", "p50", "--geomean")
    assert err == ""
    assert out.startswith(f"{second} over the baseline {first}; speed-up: above 1 is faster\n\np50\nbatch  backend")
    assert out.count("VALID") == 4
    assert "~" not in out
    assert f"geometric mean, {second}: p50 0.9" in out
    assert " over 4 of 4 cases" in out
    assert "from the medians of 5 invocations (processes)" in out
    rows = json.loads(cli("compare", second, "--baseline", first, "--json")[0])["comparisons"]
    assert {row["baseline_run_id"] for row in rows} == {first}
    assert len(rows) == 12


def test_too_few_invocations_are_told_with_the_remedy(cli: Cli) -> None:
    out, _ = cli("compare", write(1, invocations=1), write(2, invocations=1))
    assert out.count("~0.") + out.count("~1.") == 12
    assert "--set measure.invocations=5" in out
    assert "[95 %]" not in out


def test_cases_of_one_run(cli: Cli) -> None:
    run = write(1)
    out, _ = cli("compare", "latest", "--by", "backend", "--baseline", "torch-eager")
    assert out.startswith(f"{run} by backend, over torch-eager;")
    assert [title in out for title in ("\np50\n", "\np99\n", "\nthroughput\n")] == [True] * 3
    assert "ratios within 125 rounds" in out


def test_unlike_machines(cli: Cli) -> None:
    runs = write(1), write(2, machine=MACHINE | {"cpu": "Another"})
    out, _ = cli("compare", *runs, code=4)
    assert "not compared, p50, p99, throughput of 4 cases" in out
    assert "cpu Made-up CPU → Another" in out
    out, _ = cli("compare", *runs, "--force")
    assert out.count("VALID !") == 12
    assert "! compared because of --force, in spite of cpu Made-up CPU → Another (4 of 4 cases)" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--fail-on", "p50:30%"], 0, "not slower: 4 PASS of 4"),
        (["--fail-on", "p50:3%"], 1, "slower: 2 REGRESSION, 2 PASS of 4"),
        (["--fail-on", "p50:3%", "--min-delta", "5ms"], 0, "not slower: 4 PASS of 4"),
        (["--fail-on", "p50:30%,p99:30%"], 4, "undecided: 8 INCONCLUSIVE of 8"),
        (["--fail-on", "throughput:3%", "--json"], 1, '"exit_code": 1'),
    ],
)
def test_the_gate_exits_with_its_verdict(cli: Cli, arguments: list[str], code: int, said: str) -> None:
    baseline = write(1)
    write(2, 1.2)
    out, err = cli("gate", "--baseline", baseline, *arguments, code=code)
    assert said in out
    assert err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--fail-on", "p50"],
        ["--fail-on", "p50:3%", "--min-delta", "20"],
        [],
        ["--fail-on", "p50:3%", "--baseline", "none"],
    ],
)
def test_the_gate_exits_with_2_where_the_command_is_wrong(cli: Cli, arguments: list[str]) -> None:
    write(1)
    _, err = cli("gate", *arguments, code=2)
    assert "hint: " in err


def test_files_of_the_gate(cli: Cli) -> None:
    baseline = write(1)
    write(2, 1.2)
    run = ["gate", "--baseline", baseline, "--fail-on", "p50:3%"]
    out, _ = cli(*run, "--junit", "gate.xml", "--markdown", "gate.md", code=1)
    assert ET.parse("gate.xml").getroot()[0].get("failures") == "2"
    assert Path("gate.md").read_text(encoding="utf-8").startswith("**benchfw gate: slower: 2 REGRESSION, 2 PASS of 4")
    assert out.startswith("slower: ")
    assert cli(*run, "--markdown", "-", code=1)[0] == Path("gate.md").read_text(encoding="utf-8")
    assert cli(*run, "--junit", "-", code=1)[0] == Path("gate.xml").read_text(encoding="utf-8")
    _, err = cli(*run, "--junit", "none/gate.xml", code=3)
    assert "none/gate.xml cannot be written" in err


def test_damaged_parts_cost_their_rows_and_are_told(cli: Cli) -> None:
    baseline = write(1)
    current = write(2)
    part = next(Path(f"results/run={current}/invocations").iterdir())
    part.write_bytes(b"nothing")
    out, err = cli("compare", baseline, current, "--metric", "p50")
    assert out.count("~") == 5
    assert "1 and 5 invocations" not in out
    assert err.count("warning: ") == 1
    next(Path(f"results/run={current}/cases").iterdir()).unlink()
    out, err = cli("gate", current, "--baseline", baseline, "--fail-on", "p50:3%", code=4)
    assert out.startswith("undecided: 4 NOT_COMPARABLE of 4")
    assert "warning: " in err


def test_strings_of_strangers_do_not_act_on_the_terminal(cli: Cli) -> None:
    runs = write(1, name="\x1b[31m[red]x"), write(2, 1.2, name="\x1b[31m[red]x")
    for arguments in (["compare", *runs], ["gate", runs[1], "--baseline", runs[0], "--fail-on", "p50:3%"]):
        out, _ = cli(*arguments, code=int(arguments[0] == "gate"))
        assert "\x1b" not in out
        assert "\\x1b[31m[red]x" in out


@pytest.mark.parametrize("width", [80, 120])
def test_tables_are_as_they_were(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_WIDTH", width)
    verdicts.report_verdicts(one_of_each(), title="")
    made = Synthetic(1)
    for batch in (1, 8):
        made.case("torch-eager", 4.0 * batch, batch=batch)
        made.case("ort-cpu", 2.0 * batch, batch=batch, profile="static")
        made.case("ort-cpu", 2.2 * batch, batch=batch, profile="dynamic", verdict="NOT_CONVERGED")
    frame = benchfw.compare(made.frames(), by="backend", baseline="torch-eager", metric="p50")
    print()
    comparison.report_comparison(frame, by="backend", geomean=True)
    assert capsys.readouterr().out == (GOLDEN / f"analysis-{width}.txt").read_text(encoding="utf-8")
