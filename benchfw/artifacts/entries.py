"""The cache as a whole: what is in it, what goes when it is too large, what killed processes have left."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchfw.artifacts.cache import LOCK, SIDECAR, Cache, damage, read_sidecar, sha256_of
from benchfw.artifacts.holds import USE, abandoned, unused
from benchfw.errors import UsageError

RECENT_S = 3 * 3600.0
"""What was used within that time is not evicted, whatever the limit says."""
_SETTLED_S = 10.0
"""A draft younger than this may be about to be locked."""
_UNFINISHED_S = 3600.0
"""Weights under a name that begins with a dot are written within seconds."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An artifact, or the weights of a model.

    Attributes:
        key: Name of its folder, or of the file of weights.
        path: That folder or file.
        bytes: All files of it.
        used: When it was last used, in seconds since 1970.
        sidecar: What an artifact's side-car says; empty for weights, and for an artifact with a `fault`.
        fault: Why the side-car cannot be read; empty if it can.
    """

    key: str
    path: Path
    bytes: int
    used: float
    sidecar: Mapping[str, Any]
    fault: str = ""

    @property
    def is_weights(self) -> bool:
        return self.path.is_file()

    @property
    def recipe(self) -> Mapping[str, Any]:
        recipe = self.sidecar.get("recipe")
        return recipe if isinstance(recipe, Mapping) else {}

    @property
    def used_at(self) -> str:
        return datetime.fromtimestamp(self.used, UTC).isoformat(timespec="seconds")


def entries(cache: Cache) -> list[Entry]:
    """Return what is in the cache, less what frameworks keep there; what was used last comes first."""
    found = []
    for path in _children(cache.root / "artifacts"):
        if not path.name.startswith(".") and path.is_dir():
            with contextlib.suppress(OSError):  # it has gone meanwhile
                found.append(_artifact(path))
    for path in _children(cache.root / "models"):
        if not path.name.startswith(".") and path.is_file():
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append(Entry(key=path.name, path=path, bytes=status.st_size, used=status.st_mtime, sidecar={}))
    return sorted(found, key=lambda entry: -entry.used)


def find_entry(found: list[Entry], key: str) -> Entry:
    """Return the entry of a key: its name, the hash at its end, or the beginning of either.

    Raises:
        UsageError: There is none, or several.
    """
    fits = [entry for entry in found if entry.key == key] or [
        entry for entry in found if key and (entry.key.startswith(key) or _hash(entry.key).startswith(key))
    ]
    if len(fits) == 1:
        return fits[0]
    if not fits:
        raise UsageError(f"the cache holds nothing called {key!r:.100}", hint="benchfw cache ls lists what it holds")
    names = ", ".join(entry.key for entry in fits[:5]) + (", …" if len(fits) > 5 else "")
    raise UsageError(f"{key!r:.100} fits {len(fits)} entries: {names}", hint="more letters of the one that is meant")


def remove(cache: Cache, entry: Entry, *, unused_since: float | None = None) -> bool:
    """Remove an entry, unless a process makes or uses it.

    Args:
        cache: Where it is.
        entry: What to remove.
        unused_since: Leave it if it was used later than that, in seconds since 1970.

    Returns:
        Whether it is gone.

    Raises:
        OSError: It cannot be removed.
    """
    lock = FileLock(cache.locks / f"{entry.key}{LOCK}", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return False
    try:
        with unused(cache.locks, entry.key) as free:
            if not free or (unused_since is not None and _used(entry.path) > unused_since):
                return False
            if entry.is_weights:
                entry.path.unlink(missing_ok=True)
            else:
                cache.discard(entry.path)
            _unlink(Path(lock.lock_file))  # held: whoever waits for it sees that it has gone
            return True
    finally:
        lock.release()


def evict(cache: Cache, notify: Callable[[str], None]) -> None:
    """Remove what was used least recently until the cache is no larger than its limit.

    What was used within `RECENT_S`, or a process uses or makes, stays.

    Args:
        cache: The cache.
        notify: Told what went, and that the cache is too large all the same.
    """
    found = entries(cache)
    total = sum(entry.bytes for entry in found)
    since = time.time() - RECENT_S
    for entry in reversed(found):
        if total <= cache.limit or entry.used > since:
            break
        with contextlib.suppress(OSError):
            if remove(cache, entry, unused_since=since):
                total -= entry.bytes
                notify(f"evicted {entry.key} from the cache: {_megabytes(entry.bytes)}, last used {entry.used_at}")
    if total > cache.limit:
        notify(
            f"the cache holds {_megabytes(total)}, more than its limit of {_megabytes(cache.limit)}: "
            "all that is left is in use or was used lately"
        )


def leftovers(cache: Cache) -> Iterator[Path]:
    """Yield what killed processes have left: drafts that nobody has locked, weights that were not finished."""
    for path in _children(cache.root / "artifacts"):
        if path.name.startswith(".") and _age(path) > _SETTLED_S:
            with abandoned(path) as free:
                if free:
                    yield path
    for path in _children(cache.root / "models"):
        if path.name.startswith(".") and _age(path) > _UNFINISHED_S:
            yield path


def stale_locks(cache: Cache) -> Iterator[Path]:
    """Yield the lock files of what is not there, if nobody holds them."""
    for path in _children(cache.root / "locks"):
        if path.suffix == LOCK and not _exists(cache, path.stem) and _age(path) > _SETTLED_S:
            lock = FileLock(path, timeout=0)
            with contextlib.suppress(Timeout, OSError):
                lock.acquire()
                try:
                    yield path
                finally:
                    lock.release()


def sweep(cache: Cache) -> None:
    """Remove what killed processes have left."""
    for path in leftovers(cache):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            _unlink(path)
    for path in stale_locks(cache):
        _unlink(path)
    for path in _children(cache.root / "locks"):
        if path.suffix == USE:
            with unused(cache.locks, path.stem):  # which removes it if nobody has it
                pass


def damage_of(entry: Entry) -> str:
    """Hash the files of an entry and say what is wrong with it; empty if nothing is."""
    if entry.fault:
        return entry.fault
    try:
        if entry.is_weights:
            named = entry.path.name.partition(".")[0]
            return "" if sha256_of(entry.path) == named else "its hash is not the one in its name"
        return damage(entry.path, entry.sidecar)
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        return f"it cannot be read ({type(error).__name__}: {error})"


def checked_sidecar(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a side-car if all that is told of it is of the kind that it must be: anybody may have written it.

    Raises:
        ValueError: It is not; the message names the first field.
    """
    recipe, artifact = _table(data, "recipe"), _table(data, "artifact")
    _table(data, "files")
    _table(data, "source")
    for name in ("options", "versions"):
        _table(recipe, name)
    lists = {f"profile of {axis}": sizes for axis, sizes in _table(recipe, "profile").items()}
    lists |= {"inputs": recipe.get("inputs", []), "warnings": _table(artifact, "meta").get("warnings", [])}
    for name, values in lists.items():
        if not isinstance(values, list):
            raise ValueError(f"{name}: {values!r:.40} is no list")
    for name in ("path", "format"):
        if not isinstance(artifact.get(name), str):
            raise ValueError(f"{name}: {artifact.get(name)!r:.40} is no text")
    return data


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = data.get(name, {})
    if not isinstance(table, Mapping):
        raise ValueError(f"{name}: {table!r:.40} is no table")
    return table


def _artifact(path: Path) -> Entry:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    sidecar: Mapping[str, Any] = {}
    fault = ""
    try:
        sidecar = checked_sidecar(read_sidecar(path))
    except (OSError, ValueError, RecursionError) as error:
        fault = f"its side-car cannot be read ({error})"
    return Entry(key=path.name, path=path, bytes=size, used=_used(path), sidecar=sidecar, fault=fault)


def _used(path: Path) -> float:
    """Return when an entry was last used; readers touch the side-car of an artifact."""
    for file in (path / SIDECAR, path):
        with contextlib.suppress(OSError):
            return file.stat().st_mtime
    return 0.0


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0


def _exists(cache: Cache, key: str) -> bool:
    return any((cache.root / kind / key).exists() for kind in ("artifacts", "models"))


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder))
    except OSError:
        return []


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _hash(key: str) -> str:
    return key.rpartition("-")[2]


def _megabytes(number: int) -> str:
    return f"{number / 1e6:.0f} MB"
