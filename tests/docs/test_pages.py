"""Every command, scenario and piece of Python in the documentation is run; `table.py` says what is shortened."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import click
import pytest
import tomllib

from benchfw.cli import cli, main

from .pages import PAGES, ROOT, SHELL, Block, blocks, spans
from .table import CODES, COMPILED, FOREIGN, INSTEAD, NOT_RUN, QUICK, SCENARIOS, SHORTER

MEASURED = """
name = "measured"
[model]
ref = "null:model"
[model.inputs.x]
shape = ["batch", 4]
[shapes]
batch = { min = 1, opt = 2, max = 4 }
[[sweep]]
kind = "fixed"
batch = [1]
[[sweep]]
kind = "random-batch"
[measure]
effort = "quick"
budget = "200ms"
samplers = ["host"]
[[backend]]
use = "fake"
name = "torch-eager"
[[backend]]
use = "fake-special"
name = "ort-cpu"
[[backend]]
use = "trt-static"
optional = true
"""
"""What lies in the reader's results: fakes under the names of the backends that the pages speak of."""


@pytest.fixture(scope="module")
def folder(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a reader has: the scenarios, and the results of a run."""
    path = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "scenarios", path / "scenarios")
    (path / "scenarios/measured.toml").write_text(MEASURED, encoding="utf-8")
    for home in (".cache/benchfw/artifacts", ".config/fish/completions"):
        (path / home).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCHFW_PLUGINS", "benchfw.testing.plugin")
        patch.setenv("HOME", str(path))
        patch.delenv("BENCHFW_TELEMETRY")  # there is a page about it
        for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
            patch.delenv(name, raising=False)
        patch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        patch.chdir(path)
        for place in ("baseline/run=main", None):
            code, output = execute("benchfw run scenarios/measured.toml")
            assert code == 0, output
            if place is not None:
                (path / place).parent.mkdir()
                next((path / "results").glob("run=*")).rename(path / place)
        yield path


@pytest.fixture(scope="module")
def done() -> set[str]:
    return set()


pytestmark = pytest.mark.usefixtures("brief")
RUN = [page for page in PAGES if any(blocks(page.read_text(encoding="utf-8"), page.name))]


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_works(
    page: Path, folder: Path, done: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = tmp_path / "reader"
    shutil.copytree(folder, reader)
    monkeypatch.chdir(reader)
    names: dict[str, Any] = {}
    for block in blocks(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT))):
        follow(block, names, done)


@pytest.mark.parametrize(
    "text",
    [
        "    benchfw plan scenarios/res18.toml --swep fixed\n",
        "    benchfw plan scenarios/none.toml\n",
        "<!-- exit: 2 -->\n\n    benchfw plan scenarios/res18.toml\n",
        "```sh\nbenchfv plan\n```\n",
        "```console\n$ benchfw schema | benchfw none\n```\n",
        '```toml\n[[backend]]\nuse = "ort-gpu"\n```\n',
        "```toml\n[model]\nreff = 1\n```\n",
        "```python\nimport benchfw\n\nbenchfw.load('results').case\n```\n",
        "```cobol\n```\n",
        "```yaml\nrun: benchfw gatte latest\n```\n",
    ],
)
def test_what_does_not_work_is_noticed(text: str, folder: Path) -> None:
    with pytest.raises((AssertionError, AttributeError)):  # noqa: PT012
        for block in blocks(text, "page.md"):
            follow(block, {}, set())


def test_every_row_of_the_table_is_needed() -> None:
    typed = [command for page in PAGES for block in blocks(page.read_text("utf-8"), "") for command in block.commands()]
    rows = [pattern for table in (SHORTER, NOT_RUN) for pattern, _ in table]
    assert not [row for row in rows if not any(re.fullmatch(row, command) for command in typed)]
    assert not [row for row, _ in INSTEAD if not any(re.search(row, command) for command in typed)]


@pytest.mark.parametrize("span", ["benchfw rum", "benchfw run --seed 1", "make all", "--no-such-option", "benchfw x y"])
def test_what_does_not_exist_is_noticed(span: str) -> None:
    assert not exists(span)


def test_the_tutorial_of_plugins_is_the_finished_plugin() -> None:
    """Each class, function and value in a block that is a file stands so in that file, but for its docstrings."""
    page = ROOT / "docs/plugins/tutorial.md"
    parts = [block for block in blocks(page.read_text("utf-8"), page.name) if "file" in block.declared]
    assert {block.declared["file"] for block in parts} == {f"benchfw_tract/{name}.py" for name in FILES}
    for block in parts:
        finished = (page.parent / "tract" / block.declared["file"]).read_text("utf-8")
        assert statements(block.text) <= statements(finished), block.place


FILES = ("plugin", "options", "backend")


def statements(source: str) -> set[str]:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:]
    return {ast.dump(node) for node in tree.body}


def follow(block: Block, names: dict[str, Any], done: set[str]) -> None:
    """Do what a reader would do with a block, in the current folder.

    Args:
        block: A block of a page.
        names: What the Python of the page has defined.
        done: Commands that another page has had run and that would do the same here: on shipped scenarios, `doctor`.
    """
    if "file" in block.declared:
        file = Path(block.declared["file"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.text, encoding="utf-8")
    if block.language == "python":
        program = compile(block.text, block.place, "exec")
        if not block.declared.keys() & {"file", "not run"} and not block.place.startswith(COMPILED):
            exec(program, names)
    elif block.language == "toml" and "file" not in block.declared:
        scenario(block)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "yaml" and "not run" not in block.declared:
        typed = re.findall(r"\bbenchfw [^\n|#]*", block.text)
        assert typed, f"{block.place}: no command"
        assert all(map(exists, typed)), f"{block.place}: {typed}"
    commands = block.commands()
    assert commands or block.language not in SHELL, f"{block.place}: no command"
    for place, command in enumerate(commands, start=1):
        spared = command in done or any(re.fullmatch(pattern, command) for pattern, _ in NOT_RUN)
        if "not run" not in block.declared and not spared:
            declared = {int(block.declared.get("exit", 0)) if place == len(commands) else 0}
            wanted = next((codes for pattern, codes in CODES if re.fullmatch(pattern, command)), declared)
            code, output = execute(shortened(command))
            assert code in wanted, f"{block.place}: {command}\nexits with {code}:\n{output}"
            if re.match("benchfw ((run|plan) scenarios/|doctor)", command):
                done.add(command)


def scenario(block: Block) -> None:
    """Run a scenario; plan a piece of one within a small one; parse what belongs into a pyproject.toml."""
    document = tomllib.loads(block.text)
    if {"project", "build-system"} & document.keys() or "not run" in block.declared:
        return
    whole = {"name", "model", "sweep", "backend"} <= document.keys()
    base = block.text if whole else within(document, block.text)
    file = Path("scenarios/of-a-page.toml")
    file.write_text(base, encoding="utf-8")
    code, output = execute(f"benchfw plan {file}")
    if whole and code == 0:
        code, output = execute(f"benchfw run {file} {SCENARIOS.get(document['name'], QUICK)}")
    assert code == 0, f"{block.place}: {output}"


def within(document: dict[str, Any], text: str) -> str:
    """Complete a piece of a scenario with what it lacks."""
    inputs = document.get("model", {}).get("inputs", {}).values()
    axes = {dim for each in inputs for dim in each["shape"] if isinstance(dim, str)} or {"batch"}
    tables = {
        "model": '[model]\nref = "onnx:models/mlp.onnx"',
        "shapes": "[shapes]\n" + "\n".join(f"{axis} = {{ min = 1, opt = 2, max = 4 }}" for axis in sorted(axes)),
        "sweep": '[[sweep]]\nkind = "min-opt-max"',
        "backend": '[[backend]]\nuse = "ort-cpu"',
    }
    name = [] if "name" in document else ['name = "piece"']
    return "\n".join([*name, text, *(table for key, table in tables.items() if key not in document)])


def shortened(command: str) -> str:
    for pattern, text in INSTEAD:
        command = re.sub(pattern, text, command)
    for pattern, text in SHORTER:
        if re.fullmatch(pattern, command):
            return re.sub(pattern, text, command)
    return command


def execute(command: str) -> tuple[int, str]:
    """Run a command and return its exit code and output: benchfw's in this process, others by the shell."""
    if not command.startswith("benchfw ") or re.search(r"[|<>&]", command):
        done = subprocess.run(
            ["bash", "-c", command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120
        )
        return done.returncode, done.stdout
    output = io.StringIO()
    with (
        mock.patch.object(sys, "argv", shlex.split(command)),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
        pytest.raises(SystemExit) as end,
    ):
        main()
    return int(end.value.code or 0), output.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_in_lines_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    inline = [" ".join(span.split()) for span in spans(text)]
    typed = [command for block in blocks(text, page.name) for command in block.commands()]
    wrong = [span for span in [*inline, *typed] if not exists(span)]
    assert not wrong


def exists(command: str) -> bool:
    """Say whether a command, or an option alone, is one; what is neither is fine."""
    words = command.split()
    if words[0] == "make" and len(words) > 1:
        return {word for word in words[1:] if not word.startswith(("CUDA=", "PYTHON="))} <= targets()
    if re.match(r"--[a-z]", command):
        name = re.split(r"[ =]", command)[0]
        return name in FOREIGN or any(name in options for options in all_options().values())
    if "benchfw" not in words[:-1]:
        return True
    words = words[words.index("benchfw") + 1 :]
    known = all_options()
    path = "benchfw"
    while words and f"{path} {words[0]}" in known:
        path += f" {words.pop(0)}"
    if path == "benchfw" and not words[0].startswith(("-", "…")):
        return words[0].isupper()  # a placeholder
    end = next((place for place, word in enumerate(words) if word in ("|", ">", "&&")), len(words))
    return {word.split("=")[0] for word in words[:end] if word.startswith("-")} <= known[path]


def all_options() -> dict[str, set[str]]:
    """Return the options of every command by its path."""

    def walk(context: click.Context) -> Iterator[tuple[str, set[str]]]:
        parameters = context.command.get_params(context)
        yield context.command_path, {option for parameter in parameters for option in parameter.opts}
        if isinstance(context.command, click.Group):
            for name in context.command.list_commands(context):
                if inner := context.command.get_command(context, name):
                    yield from walk(click.Context(inner, context, name))

    return dict(walk(click.Context(cli, info_name="benchfw", **cli.context_settings)))


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
