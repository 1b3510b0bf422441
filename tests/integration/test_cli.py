"""The command line, as a user types it: each command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brief import small

SCENARIO = small(
    "cli",
    """\
[[sweep]]
kind = "random-batch"
[measure]
effort = "quick"
budget = "2s"
[[backend]]
use = "fake"
options = { latency_us = 1000, clock = "virtual" }
[[backend]]
use = "fake-special"
name = "other"
options = { latency_us = 1000, clock = "virtual" }
[[backend]]
use = "not-there"
optional = true
""",
)


def benchfw(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"BENCHFW_PLUGINS": "benchfw.testing.plugin", "COLUMNS": "120"}
    run = subprocess.run(
        [sys.executable, "-c", "from benchfw.cli import main; main()", *arguments],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert run.returncode == code, run.stdout + run.stderr
    assert "Traceback" not in run.stderr, run.stderr
    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "s.toml").write_text(SCENARIO)
    return tmp_path


def test_run_then_show(folder: Path) -> None:
    run = benchfw("run", "s.toml", cwd=folder)
    assert "fixed: artifacts made for one shape" in run.stdout
    assert "random-batch" in run.stdout
    assert run.stdout.count("SKIPPED not-there") == 1  # one line per backend, not per case
    assert "results: results/run=" in run.stdout
    assert "[1/2] batch2: 2 cases to measure" in run.stderr  # plain lines where there is no terminal
    assert "\x1b" not in run.stdout + run.stderr
    shown = benchfw("show", cwd=folder)
    assert shown.stdout == run.stdout
    run_id = run.stdout.split("results/run=")[1].split()[0]
    assert benchfw("show", run_id[:12], cwd=folder).stdout == run.stdout
    listed = benchfw("show", "--list", cwd=folder).stdout
    assert run_id in listed
    assert "finished" in listed
    rows = json.loads(benchfw("show", "--list", "--json", cwd=folder).stdout)
    assert rows[0]["ok"] == 4
    assert rows[0]["cases"] == 6
    # The command that the output proposes works as it stands.
    proposed = run.stdout.split('python -c "')[1].split('"')[0]
    subprocess.run([sys.executable, "-c", proposed], cwd=folder, check=True, capture_output=True)


def test_json_is_the_only_thing_on_stdout(folder: Path) -> None:
    run = benchfw("run", "s.toml", "--json", "--sweep", "fixed", "--out", "elsewhere", cwd=folder)
    data = json.loads(run.stdout)
    assert run.stderr == ""
    assert [case["status"] for case in data["cases"]] == ["OK", "OK", "SKIPPED"]
    assert (folder / data["folder"] / "manifest.json").is_file()
    assert data["folder"].startswith("elsewhere/")


def test_a_verbose_run_shows_the_log_that_it_writes(folder: Path) -> None:
    quick = ("--sweep", "fixed", "--set", "measure.budget=200ms")
    run = benchfw("run", "s.toml", "-q", "-v", *quick, "--set", "backend.other.options.fault=raise", cwd=folder, code=3)
    (path,) = folder.glob("results/run=*/logs/benchfw.log")
    log = path.read_text()
    assert run.stderr == log
    assert "INFO command -c run s.toml -q -v --sweep fixed" in log
    assert f"INFO run {path.parts[-3].removeprefix('run=')} of cli\n" in log
    assert "INFO case model/fake/fp32/any/batch2: OK, " in log
    (failure,) = (line for line in log.splitlines() if " ERROR " in line)
    assert "case model/other/fp32/static/batch2: " in failure and "asked for" in failure
    assert "INFO case model/not-there/fp32/static/batch2: SKIPPED, " in log
    assert "DEBUG round 1, " in log and log.count("DEBUG round ") < 20
    assert log.endswith(" INFO finished, 1 OK, 1 CRASH, 1 SKIPPED\n")


def test_exit_codes(folder: Path) -> None:
    quick = ("--sweep", "fixed", "--set", "measure.budget=1s", "--json")
    benchfw("run", "s.toml", *quick, "--strict", cwd=folder, code=3)
    benchfw("run", "s.toml", *quick, "--set", "backend.other.options.fault=raise", cwd=folder, code=3)
    benchfw("run", "s.toml", *quick, "--set", "backend.other.options.scale=2.0", cwd=folder, code=5)


def test_mistakes_name_the_place_and_the_remedy(folder: Path) -> None:
    (folder / "bad.toml").write_text(SCENARIO.replace('use = "fake"', 'use = "fakee"').replace("budget", "bugdet"))
    error = benchfw("run", "bad.toml", cwd=folder, code=2).stderr
    assert "bad.toml:16: measure.bugdet: unknown key (did you mean 'budget'?)" in error
    assert "bad.toml:18: backend[0].use: no installed plugin provides 'fakee'" in error
    assert "(did you mean 'fake'?)" in error
    missing = benchfw("run", "nowhere.toml", cwd=folder, code=2).stderr
    assert "nowhere.toml: cannot be read: No such file or directory" in missing
    assert "hint:" in missing
    assert "no such backend" in benchfw("run", "s.toml", "--backend", "x", cwd=folder, code=2).stderr
    assert "did you mean" in benchfw("time", "null:m", "--backend", "nul", cwd=folder, code=2).stderr.lower()
    assert "No such command" in benchfw("rum", cwd=folder, code=2).stderr
    assert "hint:" in benchfw("show", cwd=folder, code=2).stderr
    assert "is not KEY=VALUE" in benchfw("plan", "s.toml", "--set", "x", cwd=folder, code=2).stderr


def test_plan_lists_cases_routes_skips_and_time_without_running(folder: Path) -> None:
    text = benchfw("plan", "s.toml", cwd=folder).stdout
    assert "cohort batch2" in text
    assert "model/other/fp32/static/batch2" in text
    assert text.count("SKIPPED not-there-fp32") == 1
    assert "4 cases to measure in 2 cohorts" in text
    assert not (folder / "results").exists()
    data = json.loads(benchfw("plan", "s.toml", "--json", cwd=folder).stdout)
    assert {case["status"] for case in data["cases"]} == {"planned", "SKIPPED"}


def test_time_measures_one_case_without_a_file(folder: Path) -> None:
    run = benchfw(
        "time", "null:m", "--backend", "fake", "--input", "x=batchx3", "--batch", "5", "--json",
        "--set", "measure.budget=1s", cwd=folder,
    )  # fmt: skip
    (case,) = json.loads(run.stdout)["cases"]
    assert (case["status"], case["batch"], case["name"]) == ("OK", 5, "fake")


def test_backends_lists_what_is_there_and_what_is_broken(folder: Path) -> None:
    (folder / "broken_plugin.py").write_text("raise RuntimeError('on purpose')\n")
    environ = {"BENCHFW_PLUGINS": "benchfw.testing.plugin,broken_plugin"}
    run = subprocess.run(
        [sys.executable, "-c", "from benchfw.cli import main; main()", "backends"],
        cwd=folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0
    assert "fake-special" in run.stdout
    assert "broken: broken_plugin" in run.stdout
    assert "RuntimeError: on purpose" in run.stdout


def test_backends_looks_for_modules_that_no_requirement_names(folder: Path) -> None:
    (folder / "registers.py").write_text(
        "from benchfw.spec import BackendInfo\nfrom benchfw.spec.hooks import hookimpl\n\n\n"
        "@hookimpl\ndef benchfw_register_backends():\n"
        "    return [BackendInfo(name=f'with-{module}', summary='', factory='x:Y', accepts=('*',),\n"
        "                        modules={module: (module,)}, install='pip install it')\n"
        "            for module in ('json', 'no_such_module')]\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", "from benchfw.cli import main; main()", "backends", "--json"],
        cwd=folder,
        env=os.environ | {"BENCHFW_PLUGINS": "registers"},
        capture_output=True,
        text=True,
    )
    found = {item["name"]: (item["ready"], item["reason"]) for item in json.loads(run.stdout)["backends"]}
    assert found["with-json"] == (True, "")
    assert found["with-no_such_module"] == (False, "it needs the module 'no_such_module', which is not installed")


HEAVY = (
    "pandas",
    "pyarrow",
    "scipy",
    "numpy",
    "pydantic",
    "rich",
    "torch",
    "onnxruntime",
    "openvino",
    "onnx",
    "matplotlib",
)
FRAMEWORKS = ("torch", "onnxruntime", "openvino", "onnx", "pandas")


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["--help"], HEAVY),
        (["run", "--help"], HEAVY),
        (["env", "create", "--help"], HEAVY),
        (["--version"], HEAVY),
        (["plan", "s.toml"], FRAMEWORKS),
        (["backends"], FRAMEWORKS),
        (["schema"], FRAMEWORKS),
    ],
)
def test_commands_stay_light(folder: Path, arguments: list[str], forbidden: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom benchfw.cli import main\n"
        f"sys.argv = ['benchfw', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('loaded:', sorted(set({forbidden!r}) & set(sys.modules)))"
    )
    environ = os.environ | {"BENCHFW_PLUGINS": "benchfw.testing.plugin"}
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environ, capture_output=True, text=True)
    assert run.stdout.splitlines()[-1] == "loaded: []", run.stdout + run.stderr


def test_schema_accepts_what_is_shipped(folder: Path) -> None:
    schema = json.loads(benchfw("schema", cwd=folder).stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["required"]) == {"name", "model", "sweep", "backend"}
    assert schema["additionalProperties"] is False
