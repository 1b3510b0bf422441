"""Environments that benchfw has made itself: a folder each, with a side-car that is written last.

The scripts of a virtual environment hold its path, so it cannot be made elsewhere and renamed. While one is made or
removed there is a mark beside its folder; if it stays, that was cut short: nobody uses the folder, and the next
`create` of that name begins again. A folder with neither is not ours, and is not touched. Locks lie in a folder of
their own and stay there: one that is removed while somebody waits for it no longer keeps anybody out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import platformdirs
from filelock import FileLock, Timeout

from benchfw.errors import BenchfwError, UsageError
from benchfw.processes import kill_marked
from benchfw.spec.info import MAX_NAME, NAME_PATTERN

DEFAULT = "default"
"""Name of benchfw's own interpreter."""

SIDE_CAR = "benchfw-environment.json"

State = Literal["missing", "ready", "being made or removed", "unfinished", "damaged"]
"""`damaged`: it was finished, but its side-car cannot be read."""

_PATIENCE_S = 0.3
"""Whoever only looks whether a lock is held has it for a moment."""


@dataclass(frozen=True, kw_only=True)
class Managed:
    """An environment as its side-car describes it.

    Attributes:
        name: What scenarios call it.
        python: Version of its interpreter.
        requirements: What was asked for; numpy comes of itself.
        tool: What made it, with its version: `uv 0.13.8`.
        created: When, in UTC.
    """

    name: str
    python: str
    requirements: tuple[str, ...]
    tool: str
    created: str

    def write(self) -> None:
        """Write the side-car: from now on the environment is one."""
        folder = folder_of(self.name)
        draft = folder / f"{SIDE_CAR}.draft"
        draft.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        draft.replace(folder / SIDE_CAR)


def root() -> Path:
    """Return the folder of all environments: `BENCHFW_ENVIRONMENTS`, or one in the user's data folder."""
    configured = os.environ.get("BENCHFW_ENVIRONMENTS")
    return Path(configured).absolute() if configured else platformdirs.user_data_path("benchfw") / "environments"


def folder_of(name: str) -> Path:
    """Return where an environment lies, or would lie.

    Raises:
        UsageError: No environment can be called so.
    """
    if name == DEFAULT:
        raise UsageError(f"{name!r} is benchfw's own interpreter", hint="choose another name")
    if not is_name(name):
        raise UsageError(
            f"{name!r} is no name of an environment", hint=f"letters, digits, '.', '_' and '-', up to {MAX_NAME}"
        )
    return root() / name


def python_of(name: str) -> Path:
    """Return where the interpreter of an environment lies, or would lie; `UsageError` as for `folder_of`."""
    return folder_of(name) / "bin" / "python"


def is_name(name: str) -> bool:
    """Say whether an environment can be called so. No such name leads out of the folder of all environments."""
    return re.fullmatch(NAME_PATTERN, name) is not None and len(name) <= MAX_NAME and name != DEFAULT


def find(name: str) -> Managed | None:
    """Return a finished environment, or None; `UsageError` as for `folder_of`."""
    try:
        values = json.loads((folder_of(name) / SIDE_CAR).read_bytes())
        return Managed(**{**values, "name": name, "requirements": tuple(map(str, values["requirements"]))})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def state_of(name: str) -> State:
    """Return what is known of an environment without starting its interpreter; `UsageError` as for `folder_of`."""
    if find(name) is not None:
        return "ready"
    if _is_being_changed(name):
        return "being made or removed"
    if not is_ours(name):
        return "missing"
    return "damaged" if (folder_of(name) / SIDE_CAR).exists() else "unfinished"


def is_ours(name: str) -> bool:
    """Say whether there is a folder of an environment that benchfw has made, or has begun to make or to remove."""
    folder = folder_of(name)
    return not folder.is_symlink() and folder.is_dir() and ((folder / SIDE_CAR).exists() or _mark(name).exists())


def names() -> list[str]:
    """Return the names of all environments, unfinished ones too."""
    try:
        return sorted(path.name for path in root().iterdir() if is_name(path.name) and is_ours(path.name))
    except OSError:
        return []


def free_name(name: str) -> str:
    """Return a name like this one that no environment has yet, for hints: `ort-2`."""
    names = (f"{name[: MAX_NAME - 4]}-{number}" for number in range(2, 1000))
    return next((name for name in names if not folder_of(name).exists()), name)


def create_command(name: str, python: str | None, requirements: Sequence[str]) -> str:
    """Return the command that makes an environment, for hints; for one that exists, removing it comes first."""
    words = ["benchfw", "env", "create", name, *(["--python", python] if python else [])]
    for requirement in requirements:
        words += ["--with", requirement]
    remove = f"benchfw env rm {name} && " if is_name(name) and find(name) else ""
    return remove + shlex.join(words)


def remove(name: str) -> None:
    """Remove an environment, finished or not. Whether a run uses it is not known here.

    Raises:
        UsageError: There is none, or somebody is making it.
        BenchfwError: It cannot be removed.
    """
    if not is_ours(name):
        raise UsageError(f"there is no environment {name!r} in {root()}", hint="benchfw env ls")
    with changing(name):
        remove_tree(name)


def remove_tree(name: str) -> None:
    """Remove the folder of an environment, its side-car first: what is left if this is cut short is unfinished.

    Raises:
        BenchfwError: It cannot be removed.
    """
    folder = folder_of(name)
    try:
        (folder / SIDE_CAR).unlink(missing_ok=True)
        shutil.rmtree(folder)
    except OSError as error:
        raise BenchfwError(f"{folder} cannot be removed: {error.strerror or error}") from error


@contextlib.contextmanager
def changing(name: str) -> Iterator[None]:
    """Lock an environment for the length of a `with` block that makes or removes it, and mark it as unfinished.

    The tools of a `create` that was killed may still write to it: they are ended first.

    Raises:
        UsageError: Somebody else makes or removes it.
        BenchfwError: The folder of all environments cannot be written.
    """
    folder = folder_of(name)
    lock = FileLock(_lock(name), timeout=_PATIENCE_S)
    try:
        _lock(name).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UsageError(f"the environment {name!r} is being made or removed", hint="benchfw env ls") from None
    except OSError as error:
        hint = "BENCHFW_ENVIRONMENTS names another folder"
        raise BenchfwError(f"{root()} cannot be written: {error.strerror or error}", hint=hint) from error
    try:
        if folder.exists() and not is_ours(name):
            raise UsageError(f"{folder} is there and was not made by benchfw", hint="choose another name")
        kill_marked(str(folder))
        _mark(name).touch()
        yield
    finally:
        if find(name) is not None or not folder.exists():
            _mark(name).unlink(missing_ok=True)
        lock.release()


def _is_being_changed(name: str) -> bool:
    if not _lock(name).exists():
        return False
    lock = FileLock(_lock(name), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:  # somebody else's folder, which may be looked at only
        return False
    lock.release()
    return False


def _lock(name: str) -> Path:
    return root() / ".locks" / f"{name}.lock"


def _mark(name: str) -> Path:
    return root() / f".{name}.unfinished"
