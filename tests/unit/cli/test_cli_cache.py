"""`benchfw cache`: what is kept, what it was made from, what is damaged, what goes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchfw.artifacts import Cache
from benchfw.artifacts.cache import SIDECAR
from benchfw.artifacts.holds import Uses

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Cli


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("BENCHFW_CACHE", str(tmp_path / "cache"))
    return Cache.default()


def add(cache: Cache, *, days: float = 0.0, step: str = "FixedBatchOnnx", **changes: Any) -> str:
    """Add an artifact that was last used some days ago, and return its key."""
    recipe: dict[str, Any] = {
        "step": step,
        "source_sha256": "ab" * 32,
        "options": {},
        "precision": "fp32",
        "profile": {"batch": [1, 4, 8]},
        "inputs": [["x", "float32", ["batch", 4]]],
        "versions": {"onnx": "1.0"},
        **changes,
    }
    folder = cache.folder_for(recipe, f"{step}-batch1-4-8")
    with cache.draft(folder) as draft:
        (draft / "model.onnx").write_bytes(b"x" * 2000)
        cache.add(
            draft,
            folder,
            "model.onnx",
            format="onnx",
            precision="fp32",
            meta={"warnings": ["22 weights are denormal"]},
            recipe=recipe,
            source={"format": "onnx", "path": "gone.onnx", "ref": None},
            seconds=1.5,
            python="3.12.1",
        )
    then = time.time() - days * 86400
    os.utime(folder / SIDECAR, (then, then))
    return folder.name


def test_ls(cli: Cli, cache: Cache) -> None:
    assert "0 B in" in cli("cache", "ls")[0]
    key = add(cache)
    out, _ = cli("cache", "ls")
    line = next(line for line in out.splitlines() if key.rpartition("-")[2] in line)
    for text in ("FixedBatchOnnx", "gone.onnx", "batch=1:4:8", "fp32", "KiB"):
        assert text in line
    listing = json.loads(cli("cache", "ls", "--json")[0])
    assert listing["entries"][0]["key"] == key and listing["limit_bytes"] == 50 * 10**9
    assert listing["bytes"] == listing["entries"][0]["bytes"] > 2000


def test_ls_of_a_damaged_one(cli: Cli, cache: Cache) -> None:
    key = add(cache)
    (cache.root / "artifacts" / key / SIDECAR).write_text('{"recipe": {}, "files": {}, "artifact": {}}')
    assert "cannot be read" in json.loads(cli("cache", "ls", "--json")[0])["entries"][0]["fault"]
    cli("cache", "ls")
    cli("cache", "explain", key)


SIDECARS: list[dict[str, Any]] = [
    {"artifact": {}},
    {"artifact": None},
    {"recipe": []},
    {"recipe": {"profile": {"batch": 3}}},
    {"recipe": {"profile": "x"}},
    {"recipe": {"options": 5}},
    {"recipe": {"versions": []}},
    {"recipe": {"inputs": 7}},
    {"source": 1},
    {"files": {"model.onnx": None}},
    {"files": None},
    {"artifact": {"path": "model.onnx", "format": "onnx", "meta": {"warnings": 3}}},
    {"artifact": {"path": "model.onnx", "format": "onnx", "meta": [1]}},
    {"artifact": {"path": "model.onnx", "format": 7}},
]


def test_sidecars_that_anybody_wrote_are_told_of_and_nothing_more(cli: Cli, cache: Cache) -> None:
    for number, changes in enumerate(SIDECARS):
        key = add(cache, options={"number": number})
        path = cache.root / "artifacts" / key / SIDECAR
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    own = add(cache, inputs=[1, None, ["\x1b[31m"]])
    path = cache.root / "artifacts" / own / SIDECAR
    path.write_text(json.dumps(json.loads(path.read_text()) | {"source": {"key": own}}))  # a circle
    listed = json.loads(cli("cache", "ls", "--json")[0])["entries"]
    told = json.loads(cli("cache", "verify", "--json", code=3)[0])
    assert told["verified"] == len(listed) == len(SIDECARS) + 1
    assert len(told["damaged"]) == len(SIDECARS) and own not in told["damaged"]
    cli("cache", "ls")
    for entry in listed:
        if entry["fault"]:
            assert "damaged" in cli("cache", "explain", entry["key"])[0]
    assert "\x1b" not in cli("cache", "explain", own)[0]


def test_rm_by_key_by_age_by_size_and_all(cli: Cli, cache: Cache) -> None:
    old, new = add(cache, days=40), add(cache, options={"a": 1})
    out, _ = cli("cache", "rm", "--older-than", "30d", "--dry-run")
    assert f"would remove {old}" in out and new not in out
    assert (cache.root / "artifacts" / old).is_dir()
    assert cli("cache", "rm", "--larger", "1MB")[0] == ""
    out, _ = cli("cache", "rm", "--older-than", "30d", "--larger", "1kB")
    assert out == f"removed {old}\n"
    assert json.loads(cli("cache", "rm", new, "--json")[0]) == {"removed": [new], "kept": [], "dry_run": False}
    third = add(cache)
    assert third in cli("cache", "rm", "--all")[0]
    assert not list((cache.root / "artifacts").iterdir())


@pytest.mark.parametrize(
    "arguments", [[], ["x", "--all"], ["--all", "--larger", "1"], ["--older-than", "soon"], ["--larger", "big"], ["x"]]
)
def test_rm_of_what_cannot_be(cli: Cli, cache: Cache, arguments: list[str]) -> None:
    key = add(cache)
    _, err = cli("cache", "rm", *arguments, code=2)
    assert "hint: " in err
    assert (cache.root / "artifacts" / key).is_dir()


def test_rm_leaves_what_a_run_uses(cli: Cli, cache: Cache) -> None:
    key = add(cache)
    uses = Uses(cache.root / "locks")
    uses.add(key)
    try:
        _, err = cli("cache", "rm", key, code=3)
        assert f"kept {key}" in err
        cli("cache", "rm", "--all")
        assert (cache.root / "artifacts" / key).is_dir()
    finally:
        uses.close()
    cli("cache", "rm", key)


def test_explain_names_what_differs_today(cli: Cli, cache: Cache) -> None:
    key = add(cache)
    out, _ = cli("cache", "explain", key[:16])
    for text in (
        "FixedBatchOnnx made it of gone.onnx in 1.5 s",
        "CPython 3.12.1",
        "batch=1:4:8",
        "The builder warned: 22 weights are denormal",
        "Versions: onnx 1.0.",
        "would not use it",
        "versions: onnx was '1.0', is now '",
        "source: gone.onnx is no longer there",
    ):
        assert text in out
    told = json.loads(cli("cache", "explain", key, "--json")[0])
    assert len(told["changes"]) == 2 and told["damage"] == "" and told["sidecar"]["seconds"] == 1.5


def test_explain_of_a_step_that_is_gone_and_of_options_that_are_new(cli: Cli, cache: Cache) -> None:
    assert "step: no installed plugin provides GoneStep" in cli("cache", "explain", add(cache, step="GoneStep"))[0]
    out, _ = cli("cache", "explain", add(cache, step="OnnxFromTorch", options={"opset": 18, "old": 1}))
    assert "options: the step no longer takes them" in out and "old" in out


def test_verify(cli: Cli, cache: Cache) -> None:
    whole, damaged = add(cache), add(cache, options={"a": 1})
    assert "2 of 2 are whole" in cli("cache", "verify")[0]
    (cache.root / "artifacts" / damaged / "model.onnx").write_bytes(b"y")
    left = cache.root / "artifacts" / ".S-1-ab"
    left.mkdir()
    lock = cache.locks / "gone.lock"
    lock.touch()
    for path in (left, lock):
        os.utime(path, (0, 0))
    out, err = cli("cache", "verify", code=3)
    assert f"damaged {damaged}: the hash of model.onnx" in out and "1 of 2 are whole" in out
    assert f"left by a killed build: {left}" in out and f"lock of what is not there: {lock}" in out
    assert "benchfw cache rm" in err
    assert cli("cache", "verify", whole)[1] == ""
    told = json.loads(cli("cache", "verify", "--json", code=3)[0])
    assert list(told["damaged"]) == [damaged] and told["leftovers"] == [str(left)]
    cli("cache", "rm", damaged)
    assert not left.exists() and not lock.exists()
    assert "1 of 1 are whole" in cli("cache", "verify")[0]
