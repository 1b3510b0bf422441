"""The cache: files named after what they were made from, each with a side-car that tells what that was."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from benchfw.errors import BuildFailed
from benchfw.spec.artifact import Artifact

SIDECAR_VERSION = 1
_HINT = "BENCHFW_CACHE names another folder"


def sha256_of(path: Path) -> str:
    """Return the hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Cache:
    """Folder of artifacts, weights and what frameworks keep; `BENCHFW_CACHE`, or the user's cache folder.

    Attributes:
        root: `artifacts/` holds files and side-cars, `models/` weights, `frameworks/` belongs to the backends.
        notice: What the user should know about it: that it goes with this process. Empty if there is nothing.
    """

    root: Path
    notice: str = ""

    @classmethod
    def default(cls) -> Cache:
        """Return the cache that the environment names, the user's, or else a temporary one.

        Raises:
            BuildFailed: No folder can be written.
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

    def path_for(self, recipe: Mapping[str, Any], stem: str, suffix: str) -> Path:
        """Return where the artifact of a recipe lies. The recipe holds all that decides its content, by names."""
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
        return _folder(self.root / "artifacts") / f"{stem}-{digest[:16]}.{suffix}"

    def find(self, path: Path, recipe: Mapping[str, Any]) -> tuple[Artifact | None, str]:
        """Return the artifact at `path`, or None and why it cannot be used (empty if there is none).

        The file is hashed and compared with the side-car before anything reads it.
        """
        sidecar = _sidecar(path)
        if not path.exists() and not sidecar.exists():
            return None, ""
        try:
            data = json.loads(sidecar.read_text(encoding="utf-8"))
            if data["sidecar_version"] != SIDECAR_VERSION:
                return None, f"{path.name}: its side-car has version {data['sidecar_version']}, not {SIDECAR_VERSION}"
            for key, value in recipe.items():
                if data["recipe"].get(key) != value:
                    return None, f"{path.name}: {key} was {data['recipe'].get(key)!r}, is now {value!r}"
            if sha256_of(path) != data["file_sha256"]:
                return None, f"{path.name}: the file's hash is not the one in its side-car"
            return Artifact.from_json({**data["artifact"], "path": str(path)}), ""
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return None, f"{path.name}: its side-car cannot be read ({type(error).__name__}: {error})"

    def temporary(self, path: Path) -> Path:
        """Return a name beside `path` to write to, with the same suffix."""
        return path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")

    def add(self, temporary: Path, path: Path, artifact: Artifact, recipe: Mapping[str, Any], **notes: Any) -> None:
        """Move a finished file to its place, side-car first, so that a file without one is never trusted."""
        data = {
            "sidecar_version": SIDECAR_VERSION,
            "artifact": asdict(artifact),
            "file_sha256": sha256_of(temporary),
            "recipe": dict(recipe),
            **notes,
        }
        sidecar = _sidecar(path)
        draft = self.temporary(sidecar)
        draft.write_text(json.dumps(data, indent=1, sort_keys=True), encoding="utf-8")
        path.unlink(missing_ok=True)
        os.replace(draft, sidecar)
        os.replace(temporary, path)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


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
