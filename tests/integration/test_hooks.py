"""Plugins through the public surface: what each hook does to a run and to the command line; what works without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchfw.plugins import OWN, discover
from benchfw.spec.events import CaseDone, CohortStarted, Event, RunFinished, RunStarted, Stage
from benchfw.spec.hooks import hookimpl
from benchfw.spec.plan import PlanEdit
from benchfw.store.reader import read_manifest
from benchfw.testing.project import FAKES, Project, virtual_backend
from tests.brief import small

pytestmark = pytest.mark.usefixtures("warm_workers")

SCENARIO = small(
    "plugins",
    f"""\
[measure]
effort = "quick"
budget = "200ms"
{virtual_backend()}""",
    [2, 3],
)

EDITS = """
from benchfw.spec.hooks import hookimpl
from benchfw.spec.plan import PlanEdit

@hookimpl
def benchfw_edit_plan(scenario, cases):
    print("a plugin that talks")
    return EDIT

@hookimpl
def benchfw_register_commands():
    return []
"""

ELSEWHERE = """
import dataclasses, json, pathlib, shutil, subprocess, sys
from benchfw.spec.executor import Executor, ExecutorInfo, Job, Outcome
from benchfw.spec.events import Stage
from benchfw.spec.hooks import hookimpl

CODE = '''
import json, sys
import benchfw
from benchfw.spec.executor import Job
outcome = benchfw.run_job(Job.from_json(sys.stdin.read()))
print(json.dumps({"run_id": outcome.run_id, "folder": str(outcome.folder), "rows": outcome.rows}, default=str))
'''

class Elsewhere(Executor):
    def run(self, job, *, stop, notify):
        notify(Stage("carrying it elsewhere"))
        there = pathlib.Path(job.root) / "there"
        there.mkdir()
        sent = dataclasses.replace(job, out="results")
        command = [sys.executable, "-c", CODE]
        done = subprocess.run(command, cwd=there, input=sent.to_json(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        folder = pathlib.Path(job.out) / pathlib.Path(answer["folder"]).name
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(there / answer["folder"], folder)
        return Outcome(run_id=answer["run_id"], folder=folder, rows=answer["rows"])

class Lazy(Executor):
    def run(self, job, *, stop, notify):
        return None

@hookimpl
def benchfw_register_executors():
    return [
        ExecutorInfo(name=name, factory=f"elsewhere:{kind}")
        for name, kind in (("elsewhere", "Elsewhere"), ("lazy", "Lazy"), ("none", "Stage"), ("lost", "Lost"))
    ]
"""

COMMANDS = """
from benchfw.spec.command import CommandInfo
from benchfw.spec.hooks import hookimpl

@hookimpl
def benchfw_register_commands():
    return [
        CommandInfo(name="hello", summary="Greet.", factory="hello:command"),
        CommandInfo(name="wrong", summary="No command.", factory="hello:text"),
        CommandInfo(name="raises", summary="Cannot be imported.", factory="raises:command"),
        CommandInfo(name="exits", summary="Cannot be imported either.", factory="exits:command"),
    ]
"""

HELLO = """
import click
from benchfw.errors import UsageError

text = "no command"

@click.command()
@click.argument("name")
def command(name):
    "Greet NAME."
    if name == "nobody":
        raise UsageError("there is nobody", hint="name somebody")
    click.echo(f"hello {name}")
    return 4
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that writes modules where `benchfw` finds them."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    (tmp_path / "s.toml").write_text(SCENARIO)

    def modules(**texts: str) -> None:
        for name, text in texts.items():
            (tmp_path / f"{name}.py").write_text(text)

    return modules


def _cli(project: Project, plugins: str, *arguments: str, code: int = 0, blocked: str = "") -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCHFW_PLUGINS", plugins)
        run = project.cli(*arguments, env={"BENCHFW_BLOCK_PLUGINS": blocked})
    assert run.returncode == code, run.stdout + run.stderr
    assert "Traceback" not in run.stderr, run.stderr
    return run


# --- during a run ---------------------------------------------------------------------------------------------------


def test_what_plugins_do_to_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Event] = []
    tried: list[Event] = []

    def edit(scenario: Any, cases: Any) -> PlanEdit:
        scenario["name"] = "changed"  # a copy: nobody else sees it
        (skipped,) = (case for case in cases if case.sizes["batch"] == 2 and case.name == "other")
        return PlanEdit(skip={skipped.case_id: "it is Monday"}, first=("batch3",))

    def listen(event: Event) -> None:
        if isinstance(event, CaseDone):
            event.row["status"] = "CHANGED"  # type: ignore[index]
        heard.append(event)

    def fail(event: Event) -> None:
        tried.append(event)
        sys.exit("no network")

    def fail_at_metadata() -> Any:
        raise ValueError("no network")

    hooks: dict[str, dict[str, Any]] = {
        "plugin_a": {"edit_plan": edit, "on_event": listen, "add_metadata": lambda scenario, root: {"root": str(root)}},
        "plugin_b": {"on_event": fail, "add_metadata": fail_at_metadata},
        "plugin_c": {"add_metadata": lambda: {"set": {1}}},
        "plugin_d": {"add_metadata": lambda: {"loss": float("nan")}, "edit_plan": lambda: None},
        "plugin_e": {"add_metadata": lambda: 5},
    }
    for name, functions in hooks.items():
        module = ModuleType(name)
        for hook, function in functions.items():
            setattr(module, f"benchfw_{hook}", hookimpl(function))
        monkeypatch.setitem(sys.modules, name, module)
    project, told = Project(tmp_path, discover([FAKES, *hooks])), list[Event]()
    outcome, results = project.run(SCENARIO + virtual_backend("other"), notify=told.append)

    status = {(row["name"], row["batch"]): (row["status"], row["status_reason"]) for row in outcome.rows}
    assert [key for key, (state, _) in status.items() if state == "OK"] == [
        ("virtual", 3),
        ("other", 3),
        ("virtual", 2),
    ]
    assert status["other", 2] == (
        "SKIPPED",
        "the plugin plugin_a left it out: it is Monday (BENCHFW_BLOCK_PLUGINS=plugin_a)",
    )
    assert len(results.cases) == 4

    manifest = read_manifest(outcome.folder)
    added = manifest["metadata"]
    assert manifest["scenario"]["name"] == "plugins"
    assert added["plugin_a"] == {"root": str(tmp_path)}
    assert added["plugin_b"] == {"error": "ValueError: no network"}
    for name, word in (("plugin_c", "set"), ("plugin_d", "Out of range float"), ("plugin_e", "int")):
        assert list(added[name]) == ["error"]
        assert word in added[name]["error"]

    assert isinstance(heard[0], RunStarted | Stage)
    start = next(event for event in heard if isinstance(event, RunStarted))
    assert (start.run_id, start.folder, start.scenario) == (outcome.run_id, str(outcome.folder), "plugins")
    assert [event.cohort_id for event in heard if isinstance(event, CohortStarted)] == ["batch3", "batch2"]
    assert sum(isinstance(event, CaseDone) for event in heard) == 4
    end = heard[-1]
    assert isinstance(end, RunFinished)
    assert (end.state, end.statuses) == ("finished", {"OK": 3, "SKIPPED": 1})
    assert len(tried) == 1
    warnings = [event.text for event in told if isinstance(event, Stage) and "plugin_b" in event.text]
    assert warnings == [
        "warning: the plugin plugin_b raised in benchfw_on_event and is told nothing more: SystemExit: no network"
    ]
    assert f"WARNING {warnings[0]}\n" in (outcome.folder / "logs" / "benchfw.log").read_text()


def test_options_that_cannot_be_imported_cost_those_who_name_them(project: Project, write: Any) -> None:
    names = "name='bad', factory='bad_options:Class', options='bad_options:Model', accepts=('*',)"
    write(
        bad=f"""
from benchfw.spec import BackendInfo
from benchfw.spec.hooks import hookimpl

@hookimpl
def benchfw_register_backends():
    return [BackendInfo({names})]
""",
        bad_options="raise SystemExit(0)",
    )
    _cli(project, f"{FAKES},bad", "plan", "s.toml")
    error = "error: options 'bad_options:Model' of 'bad' cannot be imported: SystemExit: 0\n"
    for arguments in (["plan", "s.toml", "--set", "backend.0.use=bad"], ["backends", "bad"]):
        assert _cli(project, f"{FAKES},bad", *arguments, code=2).stderr == error


def test_plan_shows_what_plugins_change_and_refuses_what_makes_no_sense(project: Project, write: Any) -> None:
    case = "model/virtual/fp32/any/batch2"
    write(
        edits=EDITS.replace("EDIT", f"PlanEdit(skip={{{case!r}: 'it is Monday'}}, first=('batch3',))"),
        unknown=EDITS.replace("EDIT", "PlanEdit(skip={'batch3': 'a cohort is no case'})"),
        number=EDITS.replace("EDIT", "5"),
        listed=EDITS.replace("EDIT", "PlanEdit(skip=['model'])"),
    )
    done = _cli(project, "edits", "plan", "s.toml", "--json")
    cases = json.loads(done.stdout)["cases"]
    assert "a plugin that talks" in done.stderr
    assert [(row["cohort"], row["status"]) for row in cases] == [("batch3", "planned"), ("batch2", "SKIPPED")]
    assert cases[1]["reason"] == "the plugin edits left it out: it is Monday"
    assert cases[1]["remedy"] == "BENCHFW_BLOCK_PLUGINS=edits"
    for plugin, words in (
        ("unknown", "the plugin unknown skips the case 'batch3', which is not in the plan"),
        ("number", "the plugin number returned int from benchfw_edit_plan, not PlanEdit"),
        ("listed", "the plugin listed raised in benchfw_edit_plan: TypeError: PlanEdit.skip is a mapping"),
    ):
        assert words in _cli(project, plugin, "plan", "s.toml", code=2).stderr


# --- executors and commands -----------------------------------------------------------------------------------------


def test_an_executor_carries_a_run_elsewhere_and_back(project: Project, write: Any) -> None:
    write(elsewhere=ELSEWHERE)
    done = _cli(project, "elsewhere", "run", "s.toml", "--executor", "elsewhere", "--sweep", "fixed")
    assert "carrying it elsewhere" in done.stderr
    (folder,) = (project.folder / "results").glob("run=*")
    manifest = read_manifest(folder)
    assert (manifest["state"], manifest["request"]["sweeps"]) == ("finished", ["fixed"])
    assert not list((project.folder / "there" / "results").glob("run=*"))
    assert _cli(project, "", "show").stdout == done.stdout
    for name, words in (
        ("elsewere", "error: no plugin provides the executor 'elsewere'\nhint: did you mean 'elsewhere'?"),
        ("none", "the executor 'none' is <class 'benchfw.spec.events.Stage'>, not a class derived from Executor"),
        ("lazy", "the executor 'lazy' returned NoneType, not an Outcome"),
        ("lost", "'lost' cannot be imported: AttributeError: "),
    ):
        assert words in _cli(project, "elsewhere", "run", "s.toml", "--executor", name, code=2).stderr


def test_commands_of_plugins(project: Project, write: Any) -> None:
    write(commands=COMMANDS, hello=HELLO, raises="1 / 0", exits="import sys\nsys.exit(0)")
    assert "hello" in _cli(project, "commands", "--help").stdout
    assert _cli(project, "commands", "hello", "you", code=4).stdout == "hello you\n"
    assert "Greet NAME." in _cli(project, "commands", "hello", "--help").stdout
    assert "error: there is nobody\nhint: name somebody" in _cli(project, "commands", "hello", "nobody", code=2).stderr
    for name, words in (
        ("wrong", "the command 'wrong' is str, not a click command"),
        ("raises", "'raises' cannot be imported: ZeroDivisionError"),
        ("exits", "'exits' cannot be imported: SystemExit: 0"),
    ):
        assert words in _cli(project, "commands", name, code=2).stderr


# --- what does not work, and what is kept away ----------------------------------------------------------------------


def test_backends_lists_broken_and_blocked_plugins(project: Project, write: Any) -> None:
    talks = "print('on stdout')\nfrom benchfw.testing.plugin import *\n"
    slow = "import time\nstart = time.process_time()\nwhile time.process_time() < start + 0.1: pass\n"
    slow += "from benchfw.spec.hooks import hookimpl\n@hookimpl\ndef benchfw_add_metadata(): pass\n"
    write(exits="import sys\nsys.exit(3)", raises="1 / 0", slow=slow, talks=f"print('on stdout')\n{slow}", away=talks)
    names = "exits,raises,slow,talks,away"
    done = _cli(project, names, "--trace-plugins", "backends", "--json", blocked="away,benchfw_onnxruntime")
    listing = json.loads(done.stdout)
    assert listing["broken"] == [
        {"name": "exits (exits)", "reason": "SystemExit: 3"},
        {"name": "raises (raises)", "reason": "ZeroDivisionError: division by zero"},
    ]
    assert listing["blocked"] == ["onnxruntime", "away"]
    took = {plugin["name"]: plugin["ms"] for plugin in listing["plugins"]}
    assert took["slow"] >= 100
    assert "fake" in {backend["name"] for backend in listing["backends"]}
    assert done.stderr.count("on stdout") == 1
    for line in (
        "plugins: exits (exits): broken, SystemExit: 3",
        "plugins: away (away): blocked",
        "plugins: local (benchfw): 1 executor, ",
        "plugins: slow (slow): no registrations, ",
    ):
        assert line in done.stderr
    text = _cli(project, names, "backends", blocked="away,nobody").stdout
    assert "broken: exits (exits): SystemExit: 3" in text
    assert "blocked: away (BENCHFW_BLOCK_PLUGINS)" in text
    assert "blocks nothing: nobody (BENCHFW_BLOCK_PLUGINS)" in text
    for arguments in (
        ["plan", "s.toml", "--set", "backend.0.use=opencv"],
        ["time", "null:model", "--backend", "opencv"],
        ["backends", "opencv"],
    ):
        missed = _cli(project, names, *arguments, blocked="away", code=2).stderr
        assert "broken: exits (exits): SystemExit: 3\n" in missed, arguments
        assert "blocked: away (BENCHFW_BLOCK_PLUGINS)\n" in missed, arguments
    plan = _cli(project, "", "--trace-plugins", "plan", "s.toml").stderr
    assert "plugins: builtin: benchfw_edit_plan" not in plan, "a plugin that has no such hook is not asked"


SOURCE = """
from benchfw.spec import ModelSourceInfo
from benchfw.spec.hooks import hookimpl

@hookimpl
def benchfw_register_model_sources():
    return [ModelSourceInfo(scheme="mine", format="null", factory="benchfw.builtin.null:NullSource")]
"""


@pytest.mark.parametrize("name", [*OWN, "torch", "onnxruntime", "openvino"])
def test_without_any_one_plugin_the_others_work(project: Project, write: Any, name: str) -> None:
    """The shipped plugins use the same road and nothing else."""
    everything, left = discover([]), discover([FAKES], blocked=[name])
    (gone,) = (plugin.keys for plugin in everything.plugins if plugin.name == name)
    assert gone, "it provides something"
    assert (left.blocked, left.broken) == ([name], [])
    assert gone.isdisjoint(left.owners)
    assert set(everything.owners) - gone <= set(left.owners)
    write(source=SOURCE)
    (project.folder / "s.toml").write_text(SCENARIO.replace("null:", "mine:").replace("[2, 3]", "[2]"))
    if name == "commands":
        assert "[OPTIONS] COMMAND [ARGS]..." in _cli(project, "source", "--help", blocked=name).stdout
        assert "No such command 'run'" in _cli(project, "source", "run", "s.toml", blocked=name, code=2).stderr
        outcome, _ = Project(project.folder, left).run(SCENARIO)
        assert {row["status"] for row in outcome.rows} == {"OK"}
        return
    listing = json.loads(_cli(project, "source", "backends", "--json", blocked=name).stdout)
    assert (listing["blocked"], listing["broken"]) == ([name], [])
    if name == "local":
        error = _cli(project, "source", "run", "s.toml", blocked=name, code=2).stderr
        assert "error: no plugin provides the executor 'local'\nhint: there are: none" in error
    else:
        run = _cli(project, "source", "run", "s.toml", "--json", blocked=name)
        assert [row["status"] for row in json.loads(run.stdout)["cases"]] == ["OK"]


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["backends", "--json"]])
def test_commands_import_nothing_heavy(project: Project, arguments: list[str]) -> None:
    heavy = {"numpy", "pandas", "pyarrow", "scipy", "pydantic", "onnx", "torch", "onnxruntime", "openvino"}
    if "--help" in arguments:
        heavy.add("rich")
    code = (
        "import sys; from benchfw.cli import main; sys.argv[0] = 'benchfw'\n"
        "try: main()\n"
        "finally: print('modules:', *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    loaded = set(run.stderr.rpartition("modules:")[2].split())
    assert "click" in loaded
    assert not heavy & loaded
