"""Makes environments: with uv where it is found, else with venv and pip."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from benchfw.environments import managed
from benchfw.environments.interpreters import OLDEST, VERSION, as_numbers, find_python, probe, pythons
from benchfw.environments.managed import Managed
from benchfw.errors import BenchfwError, UsageError
from benchfw.processes import MARK, kill_marked

_LAST_LINES = 15
_NOT_PASSED_ON = frozenset(
    {
        # Constraints are somebody's for another environment: `make` exports those of benchfw's repository, under which
        # no other version of a framework could be installed. What is said of indices and certificates does hold here.
        *("PIP_CONSTRAINT", "UV_CONSTRAINT", "UV_OVERRIDE"),
        # These would install somewhere else, or let one interpreter see the packages of another.
        *("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"),
    }
)
_VERSION = "import numpy, platform; print(platform.python_version())"

Notify = Callable[[str], None]


def create(
    name: str,
    *,
    python: str | None = None,
    requirements: Sequence[str] = (),
    use_uv: bool = True,
    notify: Notify = lambda line: None,
) -> Managed:
    """Make an environment and install numpy and what is asked for.

    Args:
        name: What scenarios will call it.
        python: A `major.minor` version, a path, or a name on PATH; default: this interpreter.
        requirements: PEP 508 requirements.
        use_uv: Use uv where it is found.
        notify: Told what the tools print, line by line.

    Raises:
        UsageError: It exists, is being made, or cannot be called so; no such interpreter, or a malformed requirement.
        BenchfwError: The tools failed; nothing is left of it, nor when this is interrupted.
    """
    folder = managed.folder_of(name)
    packages = _with_numpy(requirements)
    uv = shutil.which("uv") if use_uv else None
    interpreter = _interpreter(python, uv)
    with managed.changing(name):
        if managed.find(name) is not None:
            raise UsageError(f"the environment {name!r} exists", hint=f"benchfw env rm {name}")
        if folder.exists():
            notify(f"removing what is left of {name}")
            managed.remove_tree(name)
        try:
            made = Managed(
                name=name,
                tool=_install(name, interpreter, packages, uv, notify),
                python=_ask([str(managed.python_of(name)), "-c", _VERSION]),
                requirements=tuple(requirements),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            made.write()
        except BaseException:
            kill_marked(str(folder))  # what has left the group of its tool, or was just being started
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return made


def _install(name: str, interpreter: str, packages: Sequence[str], uv: str | None, notify: Notify) -> str:
    """Make the virtual environment, install packages into it, and return what did so."""
    folder, inside = str(managed.folder_of(name)), str(managed.python_of(name))
    if uv:
        _run([uv, "venv", "--python", interpreter, folder], folder, notify)
        _run([uv, "pip", "install", "--python", inside, *packages], folder, notify)
        return _ask([uv, "--version"], words=2)
    _run([interpreter, "-m", "venv", folder], folder, notify)
    _run([inside, "-m", "pip", "install", "--disable-pip-version-check", *packages], folder, notify)
    return _ask([inside, "-m", "pip", "--version"], words=2)


def _with_numpy(requirements: Sequence[str]) -> list[str]:
    """Return requirements, with numpy among them.

    Raises:
        UsageError: One is malformed.
    """
    names = set()
    for text in requirements:
        try:
            names.add(canonicalize_name(Requirement(text).name))
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"--with {text}: {reason}", hint="as in --with numpy==2.1.0") from None
    return [*requirements, *(["numpy"] if "numpy" not in names else [])]


def _interpreter(python: str | None, uv: str | None) -> str:
    """Return the interpreter to make an environment of; for uv also a version, which it may download.

    Raises:
        UsageError: It is not to be found, or too old.
    """
    path: str | None = sys.executable
    if python is not None and VERSION.fullmatch(python):
        path = find_python(python)
        if path is None and uv and as_numbers(python) >= OLDEST:
            return python
    elif python is not None:
        path = shutil.which(os.path.expanduser(python))
    found = probe(path) if path else None
    if path is None or found is None:
        have = ", ".join(f"{item.version} ({item.path})" for item in pythons())
        raise UsageError(f"--python {python}: no such interpreter", hint=f"there are {have}" if have else None)
    if as_numbers(found[0]) < OLDEST:
        raise UsageError(f"--python {python}: it is {found[0]}, workers need {'.'.join(map(str, OLDEST))} or later")
    return os.path.abspath(path)


def _run(command: list[str], mark: str, notify: Notify) -> None:
    """Run a tool and pass on what it prints while it prints it. None of its processes outlives an interruption.

    It gets a process group of its own, so that Ctrl-C in a terminal reaches us alone, and a mark by which whoever
    changes this environment next finds it if we are killed.

    Raises:
        BenchfwError: It failed; the message has its last lines.
    """
    notify(f"$ {shlex.join(command)}")
    last: deque[str] = deque(maxlen=_LAST_LINES)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**_surroundings(), MARK: mark},
        text=True,
        errors="replace",
        process_group=0,
    )
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line.rstrip())
                notify(last[-1])
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        words = "\n".join([f"{shlex.join(command)} failed with {process.returncode}:", *last])
        raise BenchfwError(words, hint="does this version exist for this Python, and is a package index reached?")


def _ask(command: list[str], *, words: int = 1) -> str:
    """Return the first words that a command prints.

    Raises:
        BenchfwError: It failed.
    """
    answer = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env=_surroundings()
    )
    if answer.returncode:
        raise BenchfwError("\n".join([f"{shlex.join(command)} failed:", *answer.stderr.splitlines()[-_LAST_LINES:]]))
    return " ".join(answer.stdout.split()[:words])


def _surroundings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
