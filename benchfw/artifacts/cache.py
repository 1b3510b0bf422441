"""The cache: folders named after what their files were made from, each with a side-car that tells what that was."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock, Timeout

from benchfw.artifacts.limits import cache_limit
from benchfw.errors import BuildFailed
from benchfw.spec.artifact import Artifact

SIDECAR_VERSION = 2
SIDECAR = "sidecar.json"
LOCK = ".lock"
_LOCK_POLL_S = 0.2
_PLACE = ("versions", "reads")
"""Parts of a recipe that tell of the interpreter, the machine and the data that it is made with."""
_HINT = "BENCHFW_CACHE names another folder"


def sha256_of(path: Path) -> str:
    """Return the hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Cache:
    """Folder of artifacts, weights and what frameworks keep; `BENCHFW_CACHE`, or the user's cache folder.

    Attributes:
        root: `artifacts/` holds a folder per artifact, with its files and side-car, `models/` weights, `locks/` what
            keeps runs apart; `frameworks/` belongs to the backends.
        notice: What the user should know about it: that it goes with this process. Empty if there is nothing.
        limit: Bytes that artifacts and weights together may take; what was used least recently goes first.
    """

    root: Path
    notice: str = ""
    limit: int = field(default_factory=cache_limit)

    @classmethod
    def default(cls) -> Cache:
        """Return the cache that the environment names, the user's, or else a temporary one.

        Raises:
            BuildFailed: No folder can be written.
            UsageError: `BENCHFW_CACHE_LIMIT` is no size.
        """
        configured = os.environ.get("BENCHFW_CACHE")
        if configured:
            return cls(Path(configured).absolute())
        folder = _user_folder()
        if folder is not None and _usable(folder):
            return cls(folder)
        root, why = _temporary_root(), f"{folder} cannot be written" if folder else "the user has no home"
        return cls(root, f"{why}: what is cached lies in {root} and is removed at the end; {_HINT}")

    @property
    def models(self) -> Path:
        return _folder(self.root / "models")

    @property
    def frameworks(self) -> Path:
        return _folder(self.root / "frameworks")

    @property
    def locks(self) -> Path:
        return _folder(self.root / "locks")

    def folder_for(self, recipe: Mapping[str, Any], stem: str) -> Path:
        """Return where the artifact of a recipe lies. The recipe holds all that decides its content, by names."""
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
        return _folder(self.root / "artifacts") / f"{stem}-{digest[:16]}"

    @contextlib.contextmanager
    def lock(self, folder: Path, waits: Callable[[], None]) -> Iterator[None]:
        """Hold the lock of an artifact, so that of two runs one makes it and the other one finds it.

        Args:
            folder: Of the artifact.
            waits: Called a few times per second while somebody else has it; what it raises ends the wait.
        """
        lock = FileLock(self.locks / f"{folder.name}{LOCK}")
        while True:
            try:
                lock.acquire(timeout=_LOCK_POLL_S)
                break
            except Timeout:
                waits()
        try:
            yield
        finally:
            lock.release()

    def find(self, folder: Path, recipe: Mapping[str, Any]) -> tuple[Artifact | None, str]:
        """Return the artifact in `folder`, or None and why it cannot be used (empty if there is none).

        Its files are hashed and compared with the side-car before anything reads them.
        """
        if not folder.exists():
            return None, ""
        try:
            data = read_sidecar(folder)
            for key, value in recipe.items():
                if data["recipe"].get(key) != value:
                    return None, f"{folder.name}: {key} was {data['recipe'].get(key)!r}, is now {value!r}"
            why_not = damage(folder, data)
            if why_not:
                return None, f"{folder.name}: {why_not}"
            artifact = Artifact.from_json({**data["artifact"], "path": str(folder / data["artifact"]["path"])})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return None, f"{folder.name}: its side-car cannot be read ({type(error).__name__}: {error})"
        with contextlib.suppress(OSError):
            os.utime(folder / SIDECAR)  # when it was last used
        return artifact, ""

    def predecessor(self, folder: Path, recipe: Mapping[str, Any], *, but: Collection[str] = ()) -> str:
        """Say in what way an artifact of before would do but for the versions or the machine; empty if there is none.

        That is why it is made anew: another TensorRT, GPU or driver. The newest counts, of those whose names are not in
        `but`: what this run has made for another environment is not made again.
        """
        stem = folder.name.rpartition("-")[0]
        found = []
        for other in folder.parent.iterdir():
            if other.name.rpartition("-")[0] == stem and other != folder and other.name not in but:
                with contextlib.suppress(OSError, ValueError):
                    data = read_sidecar(other)
                    if _all_but_place(data["recipe"]) == _all_but_place(recipe):
                        found.append((str(data.get("made")), other.name, data["recipe"]))
        if not found:
            return ""
        _, name, then = max(found, key=lambda item: item[:2])
        return f"{name}: {'; '.join(_place_differences(then, recipe))}"

    @contextlib.contextmanager
    def draft(self, folder: Path) -> Iterator[Path]:
        """Make an empty folder beside `folder` to write to; what is in it at the end of the `with` block is removed.

        Its name begins with a dot: nobody takes it for whole. It is locked as long as its process lives, so that what
        a killed one has left is known.
        """
        draft = folder.with_name(f".{folder.name}-{os.getpid()}-{secrets.token_hex(4)}")
        draft.mkdir()
        lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            os.close(lock)

    def add(
        self,
        draft: Path,
        folder: Path,
        file: str,
        *,
        format: str,
        precision: str,
        meta: Mapping[str, Any],
        **notes: Any,
    ) -> Artifact:
        """Move a finished draft to its place, side-car and all, in one step, and return the artifact in it.

        Args:
            draft: Holds the files.
            folder: Its place; what is there is replaced.
            file: Name of the file that readers open.
            format: Of the artifact.
            precision: Of the artifact.
            meta: Of the artifact.
            notes: What else the side-car shall tell: the `recipe`, and what making it took.
        """
        files = {
            str(path.relative_to(draft)): {"sha256": sha256_of(path), "bytes": path.stat().st_size}
            for path in sorted(draft.rglob("*"))
            if path.is_file()
        }
        artifact = Artifact(format=format, path=file, sha256=_identity(files), precision=precision, meta=meta)
        data = {
            "sidecar_version": SIDECAR_VERSION,
            "artifact": asdict(artifact),
            "files": files,
            "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **notes,
        }
        (draft / SIDECAR).write_text(json.dumps(data, indent=1, sort_keys=True), encoding="utf-8")
        self.discard(folder)  # a folder cannot replace one that holds something
        os.replace(draft, folder)
        return replace(artifact, path=str(folder / file))

    def discard(self, folder: Path) -> None:
        """Remove an artifact, if it is there: out of sight in one step, then file by file."""
        if folder.exists():
            with self.draft(folder) as place:
                folder.rename(place / "old")


def read_sidecar(folder: Path) -> dict[str, Any]:
    """Return what the side-car of an artifact says.

    Raises:
        OSError, ValueError: It is not there, or is none.
    """
    data = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
    if not isinstance(data, dict) or not {"recipe", "files", "artifact"} <= data.keys():
        raise ValueError("it is no side-car of an artifact")
    if data.get("sidecar_version") != SIDECAR_VERSION:
        raise ValueError(f"it has version {data.get('sidecar_version')}, not {SIDECAR_VERSION}")
    return data


def damage(folder: Path, sidecar: Mapping[str, Any]) -> str:
    """Say in what way the files of an artifact are not those that were made; empty if they are.

    Raises:
        OSError, KeyError, TypeError, AttributeError: A file cannot be read, or the side-car is none.
    """
    if sidecar["artifact"]["path"] not in sidecar["files"]:
        return "its side-car does not vouch for the file that it names"
    for name, noted in sidecar["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            return f"{name} lies outside of it"
        if not path.is_file():
            return f"{name} is not there"
        if sha256_of(path) != noted["sha256"]:
            return f"the hash of {name} is not the one in its side-car"
    return ""


def _all_but_place(recipe: Any) -> dict[str, Any]:
    """Return what a recipe says of the artifact itself, and not of where it is made."""
    return {key: value for key, value in dict(recipe).items() if key not in _PLACE}


def _place_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in _PLACE:
        before, today = dict(then.get(key) or {}), dict(now.get(key) or {})
        for name in sorted({*before, *today}):
            if before.get(name) != today.get(name):
                yield f"{name} was {before.get(name)!r}, is now {today.get(name)!r}"


def _identity(files: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the hash of an artifact: that of its file, or over those of all its files."""
    if len(files) == 1:
        return str(next(iter(files.values()))["sha256"])
    text = json.dumps({name: noted["sha256"] for name, noted in files.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildFailed(f"the cache {path} cannot be made: {error.strerror}", hint=_HINT) from error
    return path


def _user_folder() -> Path | None:
    """Return the user's cache folder; None for a user without a home, of whom a container may have several."""
    try:
        folder = Path(platformdirs.user_cache_dir("benchfw"))
    except RuntimeError:  # later versions of platformdirs
        return None
    return folder if folder.is_absolute() else None  # earlier ones: a folder called `~`


def _usable(folder: Path) -> bool:
    """Make the user's cache folder if need be and try to write; a home that is not there is not made."""
    try:
        if folder.parent.parent.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.cache
def _temporary_root() -> Path:
    """Return a folder that only this user can enter and that ends with this process."""
    try:
        folder = tempfile.mkdtemp(prefix="benchfw-cache-")
    except OSError as error:
        raise BuildFailed(
            f"there is no folder to write to, neither for the cache nor a temporary one: {error.strerror}",
            hint="BENCHFW_CACHE and TMPDIR name such folders",
        ) from error
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder).absolute()
