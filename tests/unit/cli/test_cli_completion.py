"""Completion in shells, through click's own classes and, where it is installed, in bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import ShellComplete

from benchfw.cli import cli as program

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Cli

BASH = shutil.which("bash")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHFW_PLUGINS", "benchfw.testing.plugin")
    for name in ("a.toml", "sub/b.toml", "sub/c.onnx", "sub/two words.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('[[backend]]\nuse = "ort-cpu"\n[[backend]]\nuse = "ort-cpu"\nname = "mine"\n')
    for name in ("20250101T000000Z-aaaaaa", "20250102T000000Z-bbbbbb", "bad\nname"):
        (tmp_path / f"results/run={name}").mkdir(parents=True)
        (tmp_path / f"results/run={name}/manifest.json").touch()
    (tmp_path / "results/run=20250103T000000Z-begun").mkdir()
    (tmp_path / "results/run=20250104T000000Z-link").symlink_to("run=20250101T000000Z-aaaaaa")
    (tmp_path / "envs/old").mkdir(parents=True)
    (tmp_path / "envs/old/benchfw-environment.json").touch()
    monkeypatch.setenv("BENCHFW_ENVIRONMENTS", str(tmp_path / "envs"))
    (tmp_path / "cache/artifacts/OnnxFromTorch-batch8-ab").mkdir(parents=True)
    (tmp_path / "cache/artifacts/.OnnxFromTorch-batch8-cd").mkdir()
    monkeypatch.setenv("BENCHFW_CACHE", str(tmp_path / "cache"))
    return tmp_path


def proposals(*words: str) -> list[str]:
    """Return what is proposed for the last word."""
    complete = ShellComplete(program, {}, "benchfw", "_BENCHFW_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


RUNS = ["20250102T000000Z-bbbbbb", "20250101T000000Z-aaaaaa"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("re",), ["results"]),
        (("results", ""), ["export", "ls", "rm"]),
        (("run", "--sweep", "f"), ["fixed"]),
        (("run", ""), ["a.toml", "sub/b.toml"]),
        (("plan", "su"), ["sub/b.toml"]),
        (("run", "a.toml", "--backend", ""), ["ort-cpu", "mine"]),
        (("run", "absent.toml", "--backend", ""), []),
        (
            ("time", "net.onnx", "--backend", "fake"),
            ["fake", "fake-cuda", "fake-device", "fake-device-special", "fake-special"],
        ),
        (("show", ""), ["latest", *RUNS]),
        (("show", "--results", "nowhere", ""), []),
        (("run", "--resume", "20250102"), RUNS[:1]),
        (("results", "rm", RUNS[0], ""), RUNS),
        (("results", "export", "--table", "it"), ["iterations"]),
        (("results", "export", "--table", "shapes", "--columns", "s"), ["size", "steady_ns"]),
        (("results", "export", "--columns", "size,steady_n"), ["size,steady_ns"]),
        (("backends", "fake"), ["fake", "fake-cuda", "fake-device", "fake-device-special", "fake-special"]),
        (("run", "--executor", "lo"), ["local"]),
        (("env", "check", ""), ["default", "old"]),
        (("cache", "rm", "Onnx"), ["OnnxFromTorch-batch8-ab"]),
        (("cache", "explain", "S"), []),
        (("env", "rm", ""), ["old"]),
        (("completion", "z"), ["zsh"]),
    ],
)
def test_values_are_proposed(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: list[str]
) -> None:
    found = proposals(*words)
    assert sorted(found) == sorted(expected)
    if words[0] in ("show", "results"):
        assert found == expected  # newest first
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", [("run", "x"), ("time", ""), ("init", "")])
def test_elsewhere_the_shell_proposes_files(folder: Path, words: tuple[str, ...]) -> None:
    complete = ShellComplete(program, {}, "benchfw", "_BENCHFW_COMPLETE")
    assert [item.type for item in complete.get_completions(list(words[:-1]), words[-1])] == ["file"]


def test_proposing_backends_imports_no_framework(folder: Path) -> None:
    code = (
        "import sys; from click.shell_completion import ShellComplete as S; from benchfw.cli import cli\n"
        "found = S(cli, {}, 'benchfw', '_').get_completions(['time', 'x', '--backend'], '')\n"
        "heavy = {'torch', 'onnxruntime', 'openvino', 'onnx', 'pandas', 'pyarrow', 'scipy', 'rich'}\n"
        "print(len(found) > 2, sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True []\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_benchfw(shell: str, cli: Cli) -> None:
    out, _ = cli("completion", shell)
    assert f"_BENCHFW_COMPLETE={shell}_complete" in out


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_bash_completes(folder: Path) -> None:
    """Load the script as ~/.bashrc would, and ask for what Tab would show."""
    (folder / "bin").mkdir()
    wrapper = folder / "bin/benchfw"
    wrapper.write_text(f"#!{sys.executable}\nfrom benchfw.cli import main\nmain()\n")
    wrapper.chmod(0o755)
    script = """
eval "$(benchfw completion bash)"
COMP_WORDS=(benchfw run a.toml --backend m) COMP_CWORD=4
_benchfw_completion benchfw; echo "$? ${COMPREPLY[*]}"
COMPREPLY=() COMP_WORDS=(benchfw show 2025) COMP_CWORD=2
_benchfw_completion benchfw; echo "$? ${COMPREPLY[*]}"
_BENCHFW_COMPLETE=bash_complete COMP_WORDS="benchfw sc" COMP_CWORD=1 benchfw; echo $?
"""
    run = subprocess.run(
        [str(BASH), "--norc", "-c", script],
        env=os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert (run.stdout, run.stderr) == (f"0 mine\n0 {' '.join(RUNS)}\nplain,schema\n0\n", "")
