"""The cache as a whole: its list, its limit, and what must never go."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchfw.artifacts import Cache
from benchfw.artifacts import entries as module
from benchfw.artifacts.cache import SIDECAR
from benchfw.artifacts.entries import (
    damage_of,
    entries,
    evict,
    find_entry,
    leftovers,
    remove,
    stale_locks,
    sweep,
)
from benchfw.artifacts.holds import Uses
from benchfw.artifacts.limits import DEFAULT_BYTES, cache_limit, parse_age, parse_size
from benchfw.errors import UsageError

WEIGHTS = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.safetensors"
"""Named after the hash of `test`."""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", limit=3500)


def add(cache: Cache, name: str, *, days: float = 1.0, size: int = 1000) -> str:
    """Add an artifact of some size that was last used some days ago; return its key."""
    recipe: dict[str, Any] = {"step": "S", "options": {"name": name}}
    folder = cache.folder_for(recipe, f"S-{name}")
    with cache.draft(folder) as draft:
        (draft / "model.onnx").write_bytes(b"x" * size)
        cache.add(draft, folder, "model.onnx", format="onnx", precision="fp32", meta={}, recipe=recipe)
    age(folder / SIDECAR, days)
    return folder.name


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(path, (then, then))


def add_weights(cache: Cache, days: float = 1.0) -> Path:
    path = cache.models / WEIGHTS
    path.write_bytes(b"test")
    age(path, days)
    return path


def keys(cache: Cache) -> list[str]:
    return [entry.key for entry in entries(cache)]


def test_what_was_used_last_comes_first(cache: Cache) -> None:
    assert entries(cache) == []
    assert not cache.root.exists(), "looking makes nothing"
    old, new = add(cache, "old", days=9), add(cache, "new", days=1)
    add_weights(cache, days=5)
    assert keys(cache) == [new, WEIGHTS, old]
    first = entries(cache)[0]
    assert first.bytes > 1000 and first.recipe["options"] == {"name": "new"} and not first.is_weights
    assert entries(cache)[1].is_weights and entries(cache)[1].bytes == 4


def test_a_key_may_be_the_beginning_of_a_name_or_of_its_hash(cache: Cache) -> None:
    one, other = add(cache, "one"), add(cache, "other")
    found = entries(cache)
    for key in (one, "S-one", one.rpartition("-")[2], one.rpartition("-")[2][:8]):
        assert find_entry(found, key).key == one
    with pytest.raises(UsageError, match="fits 2 entries") as caught:
        find_entry(found, "S-o")
    assert one in caught.value.message and other in caught.value.message
    for key in ("", "nothing", "-"):
        with pytest.raises(UsageError, match="holds nothing called"):
            find_entry(found, key)


def test_the_limit_takes_what_was_used_least_recently(cache: Cache) -> None:
    oldest, newer, newest = add(cache, "a", days=9), add(cache, "b", days=5), add(cache, "c", days=1)
    told: list[str] = []
    evict(cache, told.append)
    assert keys(cache) == [newest, newer]
    assert len(told) == 1 and oldest in told[0] and "evicted" in told[0]
    evict(cache, told.append)
    assert len(told) == 1, "it fits now"


def test_weights_go_too(cache: Cache) -> None:
    path = add_weights(cache, days=30)
    kept = [add(cache, name) for name in "abc"]
    evict(cache, lambda text: None)
    assert not path.exists() and len(keys(cache)) < len(kept) + 1


def test_what_was_used_lately_stays_and_the_user_is_told(cache: Cache) -> None:
    made = [add(cache, name, days=0) for name in "abcd"]
    told: list[str] = []
    evict(cache, told.append)
    assert sorted(keys(cache)) == sorted(made)
    assert len(told) == 1 and "more than its limit" in told[0]


def test_what_a_process_uses_stays_and_the_next_one_goes(cache: Cache) -> None:
    used, free = add(cache, "used", days=9), add(cache, "free", days=8)
    for name in "abc":
        add(cache, name)
    uses = Uses(cache.root / "locks")
    uses.add(used)
    uses.add(used)
    evict(cache, lambda text: None)
    assert used in keys(cache) and free not in keys(cache)
    entry = find_entry(entries(cache), used)
    assert not remove(cache, entry)
    uses.close()
    assert remove(cache, entry)
    assert not list((cache.root / "locks").iterdir()), "no lock of what is not there"


def test_two_that_use_it_both_count(cache: Cache) -> None:
    key = add(cache, "a")
    one, other = Uses(cache.root / "locks"), Uses(cache.root / "locks")
    one.add(key)
    other.add(key)
    one.close()
    assert not remove(cache, find_entry(entries(cache), key))
    other.close()
    assert remove(cache, find_entry(entries(cache), key))


def test_what_is_being_made_anew_stays(cache: Cache) -> None:
    key = add(cache, "a", days=9)
    with cache.lock(cache.root / "artifacts" / key, lambda: None):
        assert not remove(cache, find_entry(entries(cache), key))
    assert keys(cache) == [key]


def test_what_was_used_between_looking_and_removing_stays(cache: Cache) -> None:
    key = add(cache, "a", days=9)
    (entry,) = entries(cache)
    age(entry.path / SIDECAR, 0)
    assert not remove(cache, entry, unused_since=time.time() - 60)
    assert keys(cache) == [key]


def test_drafts_of_processes_that_are_gone_are_swept(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SETTLED_S", -1.0)
    folder = cache.folder_for({}, "S")
    left = folder.with_name(f".{folder.name}-1-abc")
    left.mkdir()
    (left / "model.onnx").write_bytes(b"half")
    unfinished = cache.models / ".77.safetensors"
    unfinished.write_bytes(b"half")
    age(unfinished, 1)
    lock = cache.locks / "gone.lock"
    lock.touch()
    with cache.draft(folder) as draft:
        (draft / "model.onnx").write_bytes(b"half of one that is being made")
        assert list(leftovers(cache)) == [left, unfinished]
        assert list(stale_locks(cache)) == [lock]
        sweep(cache)
        assert draft.is_dir() and not left.exists() and not unfinished.exists() and not lock.exists()
    assert list(leftovers(cache)) == []


def test_a_draft_that_is_about_to_be_locked_is_left_alone(cache: Cache) -> None:
    folder = cache.folder_for({}, "S")
    folder.with_name(".S-1-abc").mkdir()
    assert list(leftovers(cache)) == []


def test_damage_is_named(cache: Cache) -> None:
    key, path = add(cache, "a"), add_weights(cache)
    assert [damage_of(entry) for entry in entries(cache)] == ["", ""]
    path.write_bytes(b"tesu")
    (cache.root / "artifacts" / key / "model.onnx").write_bytes(b"y")
    found = {entry.key: damage_of(entry) for entry in entries(cache)}
    assert "hash of model.onnx" in found[key] and "hash" in found[path.name]
    (cache.root / "artifacts" / key / SIDECAR).write_text("{")
    assert "side-car cannot be read" in damage_of(find_entry(entries(cache), key))


@pytest.mark.parametrize(
    ("text", "number"),
    [("20GB", 20 * 10**9), ("512 MiB", 512 << 20), ("1.5k", 1500), ("1000", 1000), ("2 tb", 2 * 10**12), ("0", 0)],
)
def test_sizes(text: str, number: int) -> None:
    assert parse_size(text, "x") == number


@pytest.mark.parametrize(
    ("text", "number"), [("30d", 2592000.0), ("1.5h", 5400.0), ("2w", 1209600.0), ("5 min", 300.0)]
)
def test_ages(text: str, number: float) -> None:
    assert parse_age(text, "x") == number


@given(st.text() | st.from_regex(r"[0-9]{1,3}[a-zA-Z]{0,3}", fullmatch=True))
def test_sizes_and_ages_are_numbers_or_errors_that_name_the_place(text: str) -> None:
    for parse in (parse_size, parse_age):
        try:
            number = parse(text, "PLACE")
        except UsageError as error:
            number = len(error.hint or "") if "PLACE" in error.message else -1
        assert number >= 0


def test_the_limit_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCHFW_CACHE", str(tmp_path))
    monkeypatch.delenv("BENCHFW_CACHE_LIMIT", raising=False)
    assert Cache.default().limit == DEFAULT_BYTES == cache_limit()
    monkeypatch.setenv("BENCHFW_CACHE_LIMIT", "2GB")
    assert Cache.default().limit == 2 * 10**9
    monkeypatch.setenv("BENCHFW_CACHE_LIMIT", "much")
    with pytest.raises(UsageError, match="BENCHFW_CACHE_LIMIT"):
        Cache.default()
