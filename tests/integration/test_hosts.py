"""Odd hosts: locales, closed outputs, users without a home, one core, paths with blanks and letters of all kinds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brief import small

SCENARIO = small(
    "hosts",
    """\
[measure]
effort = "quick"
budget = "200ms"
[[backend]]
use = "fake"
options = { latency_us = 1000, clock = "virtual" }
""",
)
MAIN = (sys.executable, "-c", "from benchfw.cli import main; main()")
PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
ODD = "mein Ordner ü 模型"
PIPE_CLOSED = 141
UNPRIVILEGED = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
# Interpreters of root may lie where nobody else can look: reading is allowed, writing is not.
UNPRIVILEGED += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def start(
    *arguments: str,
    cwd: Path,
    env: dict[str, str | None] | None = None,
    prefix: tuple[str, ...] = (),
    **options: object,
) -> subprocess.CompletedProcess[str]:
    """Run benchfw; variables that are None are unset."""
    environ = os.environ | {"BENCHFW_PLUGINS": "benchfw.testing.plugin", **(env or {})}
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    run = subprocess.run(
        [*prefix, *MAIN, *arguments],
        cwd=cwd,
        env={name: value for name, value in environ.items() if value is not None},
        timeout=100,
        **settings,  # type: ignore[call-overload]
    )
    texts = [(text or b"").decode("utf-8", "backslashreplace") for text in (run.stdout, run.stderr)]
    assert "Traceback" not in texts[1] and "Exception ignored" not in texts[1], texts[1]
    return subprocess.CompletedProcess(run.args, run.returncode, *texts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "s.toml").write_text(SCENARIO)
    return tmp_path


# --- locales and outputs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run whose scenario has letters beyond ASCII."""
    folder = tmp_path_factory.mktemp("done")
    (folder / "s.toml").write_text(SCENARIO.replace("null:model", "null:模型 ü"), encoding="utf-8")
    (folder / "bad.toml").write_text(SCENARIO.replace("null:model", "模型 ü"), encoding="utf-8")
    run = start("run", "s.toml", cwd=folder, env=dict(PLAIN_C))
    assert run.returncode == 0, run.stderr
    return folder


COMMANDS = (
    ("--help",),
    ("run", "--help"),
    ("plan", "s.toml"),
    ("plan", "s.toml", "--json"),
    ("show",),
    ("show", "--json"),
    ("results", "ls"),
    ("results", "export", "latest", "--table", "cases", "--format", "json"),
    ("backends",),
    ("schema",),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_locale_without_letters(command: tuple[str, ...], done: Path) -> None:
    run = start(*command, cwd=done, env=dict(PLAIN_C))
    assert run.returncode == 0, run.stderr
    if "--help" not in command:
        assert run.stdout.isascii()
    if "--json" in command:
        assert json.loads(run.stdout) == json.loads(start(*command, cwd=done, env={"PYTHONUTF8": "1"}).stdout)


def test_mistakes_in_a_locale_without_letters(done: Path) -> None:
    run = start("plan", "bad.toml", cwd=done, env=dict(PLAIN_C))
    assert run.returncode == 2
    assert "\\u6a21\\u578b" in run.stderr


@pytest.mark.parametrize("command", [("--help",), ("show",), ("show", "--json"), ("schema",)], ids=" ".join)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_reader_that_stops(command: tuple[str, ...], locale: str, done: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    env: dict[str, str | None] = {**PLAIN_C, "LC_ALL": locale}
    try:
        run = start(*command, cwd=done, env=env, stdout=write)
    finally:
        os.close(write)
    assert (run.returncode, run.stderr) == (PIPE_CLOSED, "")


EXPORT = ("results", "export", "latest", "--table", "cases")


@pytest.mark.parametrize("command", [("--help",), ("show",), ("schema",), EXPORT], ids=" ".join)
def test_an_output_without_space(command: tuple[str, ...], done: Path) -> None:
    with open("/dev/full", "w") as full:
        run = start(*command, cwd=done, stdout=full)
        assert (run.returncode, run.stderr) == (3, "error: [Errno 28] No space left on device\n")
        assert start(*command, cwd=done, stderr=full).returncode == 0
    closed = subprocess.run(["sh", "-c", '"$@" >&- 2>&-', "sh", *MAIN, *command], cwd=done)
    assert closed.returncode == 0


def test_progress_that_nobody_reads_ends_no_run(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        run = start("run", "s.toml", cwd=folder, stderr=write)
    finally:
        os.close(write)
    assert run.returncode == 0
    assert "results: " in run.stdout


# --- users ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv of util-linux")
@pytest.mark.parametrize("home", [None, "/nonexistent", "/root"])
def test_a_user_who_cannot_write_at_home(
    home: str | None, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    temporary = tmp_path_factory.mktemp("temporary")
    for path in (folder, temporary):
        path.chmod(0o777)
    env = {"HOME": home, "BENCHFW_CACHE": None, "XDG_CACHE_HOME": None, "TMPDIR": str(temporary)}
    run = start("run", "s.toml", cwd=folder, env=env, prefix=tuple(UNPRIVILEGED))
    assert run.returncode == 0, run.stderr
    assert {path.name for path in folder.iterdir()} == {"s.toml", "results"}
    assert not [path for path in temporary.iterdir() if "cache" in path.name], "the temporary cache is removed"
    assert not Path("/nonexistent").exists()


# --- cores and paths --------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset of util-linux")
def test_one_core(folder: Path) -> None:
    core = str(min(os.sched_getaffinity(0)))
    run = start("run", "s.toml", "--json", cwd=folder, prefix=("taskset", "-c", core))
    assert run.returncode == 0, run.stderr
    (case,) = json.loads(run.stdout)["cases"]
    assert (case["status"], case["threads"]) == ("OK", 1)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    folder = tmp_path / ODD
    folder.mkdir()
    (folder / f"{ODD}.toml").write_text(SCENARIO)
    return folder


def test_paths_with_blanks_and_other_letters(odd: Path) -> None:
    env: dict[str, str | None] = {"BENCHFW_CACHE": str(odd / "Cache 模"), "PYTHONUTF8": "1"}
    run = start("run", f"{ODD}.toml", "--out", "Ergebnisse ü", cwd=odd, env=env)
    assert run.returncode == 0, run.stderr
    assert "results: Ergebnisse ü/run=" in run.stdout
    assert start("show", "--results", "Ergebnisse ü", cwd=odd, env=env).stdout == run.stdout


def test_such_paths_in_a_locale_without_letters(odd: Path) -> None:
    plan = start("plan", f"{ODD}.toml", cwd=odd, env=dict(PLAIN_C))
    assert "1 case to measure" in plan.stdout, plan.stderr
    run = start("run", f"{ODD}.toml", "--out", "Ergebnisse ü", cwd=odd, env=dict(PLAIN_C))
    assert run.returncode == 0, run.stderr
    shown = start("show", "--results", "Ergebnisse ü", cwd=odd, env=dict(PLAIN_C))
    assert shown.returncode == 0, shown.stderr
