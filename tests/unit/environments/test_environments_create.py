"""Making, listing and removing environments, with a stand-in for uv."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchfw.cli.signals import interruptible
from benchfw.environments import managed
from benchfw.environments.create import create
from benchfw.errors import BenchfwError, UsageError
from benchfw.processes import state_of

UV = """\
#!/bin/sh
echo "$*" >> "{log}"
case "$1" in
  --version) echo "uv 0.0.1 (fake)" ;;
  venv) mkdir -p "$4/bin"; printf '#!/bin/sh\\nexec "{python}" "$@"\\n' > "$4/bin/python"; chmod +x "$4/bin/python" ;;
  pip) env >> "{log}"; echo "resolving"; {deed} ;;
esac
"""


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Put a uv on PATH that does `deed` instead of installing; the file that it returns is the log of its calls."""
    monkeypatch.setenv("BENCHFW_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def make(deed: str = "true") -> Path:
        log = tmp_path / "log"
        (tmp_path / "uv").write_text(UV.format(log=log, python=sys.executable, deed=deed))
        (tmp_path / "uv").chmod(0o755)
        return log

    return make


def test_the_life_of_an_environment(uv: Callable[..., Path]) -> None:
    log = uv()
    lines: list[str] = []
    made = create("mine", requirements=["Some.Thing>=1"], notify=lines.append)
    folder = managed.root() / "mine"
    assert log.read_text().splitlines()[:2] == [
        f"venv --python {os.path.abspath(sys.executable)} {folder}",
        f"pip install --python {folder}/bin/python Some.Thing>=1 numpy",
    ]
    assert "resolving" in lines
    assert (made.name, made.requirements, made.tool) == ("mine", ("Some.Thing>=1",), "uv 0.0.1")
    assert made.python == ".".join(map(str, sys.version_info[:3]))
    assert managed.find("mine") == made
    assert managed.names() == ["mine"]
    with pytest.raises(UsageError, match="'mine' exists") as caught:
        create("mine")
    assert caught.value.hint == "benchfw env rm mine"
    managed.remove("mine")
    assert managed.names() == []
    assert managed.find("mine") is None
    with pytest.raises(UsageError, match="there is no environment 'mine'"):
        managed.remove("mine")
    assert create("mine", requirements=["NumPy<3"]).requirements == ("NumPy<3",)
    assert log.read_text().count(" NumPy<3\n") == 1, "numpy is not asked for twice"


def test_what_is_somebody_elses_is_not_passed_on(uv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """`make` exports constraints under which no other version of a framework could be installed."""
    log = uv()
    for name in ("PIP_CONSTRAINT", "UV_CONSTRAINT", "PYTHONPATH", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "here")
    create("mine")
    seen = {line.partition("=")[0] for line in log.read_text().splitlines() if line.endswith("=here")}
    assert seen == {"PIP_INDEX_URL"}


def test_a_failure_says_the_last_lines_and_leaves_nothing(uv: Callable[..., Path]) -> None:
    uv("echo 'no such version' >&2; exit 4")
    with pytest.raises(BenchfwError, match="failed with 4:\nresolving\nno such version") as caught:
        create("mine")
    assert caught.value.exit_code == 3
    assert caught.value.hint
    assert managed.names() == []
    assert not (managed.root() / "mine").exists()


def test_what_was_cut_short_is_unfinished_until_it_is_made_again(uv: Callable[..., Path]) -> None:
    orphan = managed.root() / "orphan"
    uv(f"sleep 300 & echo $! > {orphan}; kill -9 $PPID")
    code = "from benchfw.environments.create import create; create('mine')"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert (managed.root() / "mine/bin/python").exists()
    assert managed.names() == ["mine"]
    assert managed.find("mine") is None
    uv()
    lines: list[str] = []
    made = create("mine", notify=lines.append)
    assert lines[0] == "removing what is left of mine"
    assert managed.find("mine") == made
    assert state_of(int(orphan.read_text())) in ("", "Z"), "nothing may go on writing beside the new one"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_every_tool_and_leaves_nothing(uv: Callable[..., Path], number: signal.Signals) -> None:
    pids = managed.root() / "pids"
    uv(f"sleep 300 & echo $! >> {pids}; setsid sleep 300 & echo $! >> {pids}; echo ready; wait")
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores\n"
        "from benchfw.cli.signals import interruptible\n"
        "from benchfw.environments.create import create\n"
        "with interruptible(): create('mine', notify=lambda line: print(line, flush=True))\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert any(line == "ready\n" for line in process.stdout)
        process.send_signal(number)
        process.wait(timeout=30)
    assert process.returncode == -signal.SIGINT, "KeyboardInterrupt"
    assert [state_of(int(pid)) in ("", "Z") for pid in pids.read_text().split()] == [True, True]
    assert {path.name for path in managed.root().iterdir()} == {".locks", "pids"}


def test_an_ignored_signal_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_one_name_is_made_or_removed_by_one_at_a_time(uv: Callable[..., Path]) -> None:
    uv()
    assert managed.state_of("mine") == "missing"
    create("mine")
    assert managed.state_of("mine") == "ready"
    with managed.changing("mine"):
        (managed.folder_of("mine") / managed.SIDE_CAR).rename(managed.folder_of("mine") / "aside")
        assert managed.state_of("mine") == "being made or removed"
        (managed.folder_of("mine") / "aside").rename(managed.folder_of("mine") / managed.SIDE_CAR)
        with pytest.raises(UsageError, match="is being made or removed"):
            create("mine")
        with pytest.raises(UsageError, match="is being made or removed"):
            managed.remove("mine")
        assert create("other").name == "other"
    assert managed.find("mine") is not None


def test_folders_of_others_are_not_touched(uv: Callable[..., Path], tmp_path: Path) -> None:
    uv()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / managed.SIDE_CAR).write_text("{}")
    managed.root().mkdir()
    (managed.root() / "link").symlink_to(precious)
    (managed.root() / "theirs").mkdir()
    (managed.root() / "theirs/file").touch()
    (managed.root() / "damaged").mkdir()
    (managed.root() / "damaged" / managed.SIDE_CAR).write_text('{"requirements": 1')
    assert managed.names() == ["damaged"]
    assert managed.state_of("damaged") == "damaged"
    for name in ("link", "theirs"):
        with pytest.raises(UsageError, match="there is no environment"):
            managed.remove(name)
        with pytest.raises(UsageError, match="was not made by benchfw"):
            create(name)
    assert (precious / managed.SIDE_CAR).exists() and (managed.root() / "theirs/file").exists()
    managed.remove("damaged")
    assert not (managed.root() / "damaged").exists()


@given(st.text(max_size=90) | st.text("a./\\-_\n ", max_size=4))
@example("..")
@example("a\n")
@example("a" * 81)
@example("default")
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    if managed.is_name(name):
        assert managed.folder_of(name).parent == managed.root()
        assert Path(os.path.normpath(managed.folder_of(name))).parent == managed.root()
        assert name != "default" and not name.startswith(".")
        return
    for call in (create, managed.remove, managed.find):
        with pytest.raises(UsageError):
            call(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"requirements": ["onnxruntime=1"]}, "--with onnxruntime=1: "),
        ({"requirements": ["--index-url=x"]}, "--with --index-url=x: "),
        ({"python": "3.99", "use_uv": False}, "--python 3.99: no such interpreter"),
        ({"python": "no-such-python"}, "--python no-such-python: no such interpreter"),
        ({"python": "true"}, "--python true: no such interpreter"),
        ({"python": "old-python"}, "--python old-python: it is 3.9.18, workers need 3.10 or later"),
    ],
)
def test_what_cannot_be_made_is_refused(
    uv: Callable[..., Path], tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    uv()
    (tmp_path / "old-python").write_text("#!/bin/sh\necho 3.9.18 /old\n")
    (tmp_path / "old-python").chmod(0o755)
    with pytest.raises(UsageError) as caught:
        create("mine", **arguments)  # type: ignore[arg-type]
    assert caught.value.message.startswith(message)
    assert managed.names() == []


def test_a_version_that_is_not_here_is_left_to_uv(uv: Callable[..., Path]) -> None:
    log = uv()
    create("mine", python="3.99")
    assert log.read_text().startswith("venv --python 3.99 ")


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BENCHFW_ENVIRONMENTS", str(tmp_path / "file/environments"))
    with pytest.raises(BenchfwError, match="cannot be written") as caught:
        create("mine")
    assert caught.value.hint == "BENCHFW_ENVIRONMENTS names another folder"
