"""Artifacts on disk: nothing is trusted that its side-car does not vouch for."""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchfw.artifacts import Cache
from benchfw.artifacts import cache as cache_module
from benchfw.artifacts.cache import SIDECAR, sha256_of
from benchfw.errors import BuildFailed, MissingDependency
from benchfw.requirements import check_requirements, distributions, versions
from benchfw.spec.artifact import Artifact

RECIPE: dict[str, Any] = {
    "step": "S",
    "options": {"opset": 17},
    "versions": {"onnx": "1.19"},
    "profile": {"batch": [1, 1, 1]},
}


def _add(cache: Cache, recipe: dict[str, Any], content: bytes = b"engine") -> Path:
    """Add an artifact of one file and return its folder."""
    folder = cache.folder_for(recipe, "S-batch1")
    meta = {"names": ["x"]}
    with cache.draft(folder) as draft:
        (draft / "model.onnx").write_bytes(content)
        cache.add(draft, folder, "model.onnx", format="onnx", precision="fp16", meta=meta, recipe=recipe, seconds=1.5)
    return folder


def _sidecar(folder: Path) -> Path:
    return folder / SIDECAR


def _change(path: Path, **changes: Any) -> None:
    data = json.loads(_sidecar(path).read_text())
    _sidecar(path).write_text(json.dumps(data | changes))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_what_was_added_is_found(cache: Cache) -> None:
    folder = _add(cache, RECIPE)
    found, why_not = cache.find(folder, RECIPE)
    assert why_not == ""
    file = folder / "model.onnx"
    assert found == Artifact(
        format="onnx", path=str(file), sha256=sha256_of(file), precision="fp16", meta={"names": ["x"]}
    )
    assert json.loads(_sidecar(folder).read_text())["seconds"] == 1.5
    assert [item.name for item in folder.parent.iterdir()] == [folder.name], "no draft is left"


def test_an_artifact_of_several_files_is_known_by_all_of_them(cache: Cache) -> None:
    hashes = []
    for content in (b"weights", b"weightz"):
        folder = cache.folder_for(RECIPE, "S")
        with cache.draft(folder) as draft:
            (draft / "model.onnx").write_bytes(b"graph")
            (draft / "data").mkdir()
            (draft / "data" / "w.bin").write_bytes(content)
            made = cache.add(draft, folder, "model.onnx", format="onnx", precision="fp32", meta={}, recipe=RECIPE)
        assert cache.find(folder, RECIPE) == (made, "")
        hashes.append(made.sha256)
    assert hashes[0] != hashes[1]
    (folder / "data" / "w.bin").write_bytes(b"weights")
    assert "hash of data/w.bin" in cache.find(folder, RECIPE)[1]
    (folder / "data" / "w.bin").unlink()
    assert "data/w.bin is not there" in cache.find(folder, RECIPE)[1]


@pytest.mark.parametrize("name", ["../other/model.onnx", "missing.onnx"])
def test_a_sidecar_leads_to_no_file_that_it_does_not_vouch_for(cache: Cache, name: str) -> None:
    folder = _add(cache, RECIPE)
    (folder.parent / "other").mkdir()
    (folder.parent / "other" / "model.onnx").write_bytes(b"engine")
    sidecar = json.loads(_sidecar(folder).read_text())
    _change(folder, artifact=sidecar["artifact"] | {"path": name})
    assert "does not vouch" in cache.find(folder, RECIPE)[1]
    vouched = {name: next(iter(sidecar["files"].values()))}
    _change(folder, files=vouched)
    assert cache.find(folder, RECIPE)[0] is None


def test_a_draft_is_no_artifact(cache: Cache) -> None:
    """What is killed while it makes one leaves a folder that nobody takes for whole."""
    folder = cache.folder_for(RECIPE, "S")
    with cache.draft(folder) as draft:
        (draft / "model.onnx").write_bytes(b"half")
        assert cache.find(folder, RECIPE) == (None, "")
    assert not draft.exists()


def test_one_makes_what_others_wait_for(cache: Cache) -> None:
    folder = cache.folder_for(RECIPE, "S")
    waited: list[int] = []

    def wait() -> None:
        waited.append(1)
        if len(waited) == 2:
            raise InterruptedError

    with (
        cache.lock(folder, lambda: None),
        pytest.raises(InterruptedError),
        Cache(cache.root).lock(folder, wait),
    ):
        raise AssertionError("two have it")
    with cache.lock(folder, wait):
        assert len(waited) == 2


def test_what_was_found_was_used(cache: Cache) -> None:
    folder = _add(cache, RECIPE)
    os.utime(_sidecar(folder), (0, 0))
    cache.find(folder, RECIPE)
    assert _sidecar(folder).stat().st_mtime > 0


def test_a_moved_cache_is_found_where_it_is(cache: Cache, tmp_path: Path) -> None:
    path = _add(cache, RECIPE)
    moved = Cache(cache.root.rename(tmp_path / "elsewhere"))
    found, _ = moved.find(moved.root / "artifacts" / path.name, RECIPE)
    assert found is not None
    assert found.path == str(tmp_path / "elsewhere" / "artifacts" / path.name / "model.onnx")


def test_nothing_there_needs_no_explanation(cache: Cache) -> None:
    assert cache.find(cache.folder_for(RECIPE, "S"), RECIPE) == (None, "")


def test_names_depend_on_the_whole_recipe_but_not_on_its_order(cache: Cache) -> None:
    path = cache.folder_for(RECIPE, "S")
    assert cache.folder_for(dict(reversed(RECIPE.items())), "S") == path
    assert path.name.startswith("S-")
    assert cache.folder_for(RECIPE | {"options": {"opset": 18}}, "S") != path


def test_a_file_without_a_sidecar_is_refused(cache: Cache) -> None:
    path = _add(cache, RECIPE)
    _sidecar(path).unlink()
    found, why_not = cache.find(path, RECIPE)
    assert found is None
    assert "side-car cannot be read" in why_not


def test_a_sidecar_without_a_file_is_refused(cache: Cache) -> None:
    path = _add(cache, RECIPE)
    (path / "model.onnx").unlink()
    found, why_not = cache.find(path, RECIPE)
    assert found is None and why_not


def test_a_changed_file_is_refused(cache: Cache) -> None:
    path = _add(cache, RECIPE)
    (path / "model.onnx").write_bytes(b"enginf")
    found, why_not = cache.find(path, RECIPE)
    assert found is None
    assert "hash" in why_not and path.name in why_not


@pytest.mark.parametrize(
    ("key", "value"),
    [("options", {"opset": 18}), ("versions", {"onnx": "1.20"}), ("step", "T"), ("source_sha256", "0" * 64)],
)
def test_a_changed_recipe_is_refused_and_the_field_is_named(cache: Cache, key: str, value: object) -> None:
    path = _add(cache, RECIPE)
    found, why_not = cache.find(path, RECIPE | {key: value})
    assert found is None
    assert f"{key} was {RECIPE.get(key)!r}, is now {value!r}" in why_not


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"versions": {"onnx": "1.20"}}, "onnx was '1.19', is now '1.20'"),
        ({"reads": {"gpu": "H200", "driver": "580"}}, "driver was None, is now '580'; gpu was None, is now 'H200'"),
        ({"options": {"opset": 18}}, None),
        ({"options": {"opset": 18}, "versions": {"onnx": "1.20"}}, None),
    ],
)
def test_an_artifact_of_other_versions_explains_why_there_is_a_new_one(
    cache: Cache, changes: dict[str, Any], says: str | None
) -> None:
    made, recipe = _add(cache, RECIPE), RECIPE | changes
    (made.parent / "S-batch1-0123456789abcdef").mkdir()  # without a side-car
    folder = cache.folder_for(recipe, "S-batch1")
    assert cache.find(folder, recipe) == (None, "")
    assert cache.predecessor(folder, recipe) == (f"{made.name}: {says}" if says else "")


def test_another_version_of_sidecars_is_refused(cache: Cache) -> None:
    path = _add(cache, RECIPE)
    _change(path, sidecar_version=3)
    found, why_not = cache.find(path, RECIPE)
    assert found is None and "version 3, not 2" in why_not


@pytest.mark.parametrize("keep", [0, 1, 20, -1, -3])
def test_a_truncated_sidecar_is_refused(cache: Cache, keep: int) -> None:
    path = _add(cache, RECIPE)
    sidecar = _sidecar(path)
    sidecar.write_text(sidecar.read_text()[:keep])
    found, why_not = cache.find(path, RECIPE)
    assert found is None and "side-car cannot be read" in why_not


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": []},
        {"recipe": "text"},
        {"recipe": None},
        {"artifact": None},
        {"artifact": {}},
        {"artifact": {"format": "onnx", "sha256": "", "evil": 1}},
        {"files": None},
        {"files": {"model.onnx": None}},
    ],
    ids=str,
)
def test_a_sidecar_of_another_shape_is_refused(cache: Cache, changes: dict[str, Any]) -> None:
    path = _add(cache, RECIPE)
    _change(path, **changes)
    found, why_not = cache.find(path, RECIPE)
    assert found is None and why_not


@pytest.mark.parametrize("text", ["[]", "5", "null", '"x"', "{}"])
def test_a_sidecar_that_is_no_table_is_refused(cache: Cache, text: str) -> None:
    path = _add(cache, RECIPE)
    _sidecar(path).write_text(text)
    assert cache.find(path, RECIPE)[0] is None


def test_adding_again_replaces(cache: Cache) -> None:
    _add(cache, RECIPE, b"old")
    path = _add(cache, RECIPE, b"new")
    found, _ = cache.find(path, RECIPE)
    assert found is not None
    assert (path / "model.onnx").read_bytes() == b"new"
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_the_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCHFW_CACHE", str(tmp_path / "here"))
    chosen = Cache.default()
    assert chosen.root == tmp_path / "here"
    assert chosen.models.is_dir() and chosen.frameworks.is_dir()


# --- requirements -----------------------------------------------------------------------------------------------


def test_requirements_are_compared_with_what_is_installed() -> None:
    check_requirements("it", ["onnx>=1.19", "numpy"], {"onnx": "1.19.0", "numpy": "2.0"}, "")
    check_requirements("it", ["torch>=2.5"], {"torch": "2.6.0.dev1+cpu"}, "")
    assert distributions(["onnx>=1.19", "numpy"]) == ["onnx", "numpy"]


@pytest.mark.parametrize(
    ("packages", "reason"),
    [({}, "not installed"), ({"onnx": None}, "not installed"), ({"onnx": "1.18.9"}, "1.18.9 is installed")],
)
def test_missing_and_old_packages_are_named_with_the_remedy(packages: dict[str, str | None], reason: str) -> None:
    with pytest.raises(MissingDependency, match=reason) as caught:
        check_requirements("it", ["onnx>=1.19"], packages, "pip install onnx")
    assert "it needs onnx>=1.19" in caught.value.message
    assert caught.value.hint == "pip install onnx"


EITHER = "runtime>=1.20 | runtime-gpu>=1.17"


@pytest.mark.parametrize(
    ("packages", "told"),
    [
        ({"runtime": "1.31", "runtime-gpu": None}, {"runtime": "1.31"}),
        ({"runtime": None, "runtime-gpu": "1.17.1"}, {"runtime-gpu": "1.17.1"}),
        ({"runtime": "1.19", "runtime-gpu": "1.31"}, {"runtime": "1.19", "runtime-gpu": "1.31"}),
    ],
)
def test_one_of_several_distributions_is_enough(packages: dict[str, str | None], told: dict[str, str]) -> None:
    check_requirements("it", [EITHER, "numpy"], {**packages, "numpy": "2.0"}, "")
    assert distributions([EITHER, "numpy"]) == ["runtime", "runtime-gpu", "numpy"]
    assert versions([EITHER, "numpy"], {**packages, "numpy": "2.0"}) == {**told, "numpy": "2.0"}


@pytest.mark.parametrize(
    ("packages", "reason"),
    [
        ({}, "none of which is installed"),
        ({"runtime": "1.19"}, "runtime 1.19 is installed"),
        ({"runtime": "1.19", "runtime-gpu": "1.16"}, "runtime 1.19 and runtime-gpu 1.16 is installed"),
    ],
)
def test_where_none_of_several_distributions_will_do_all_are_named(packages: dict[str, str], reason: str) -> None:
    with pytest.raises(MissingDependency) as caught:
        check_requirements("it", [EITHER], packages, "pip install runtime")
    assert caught.value.message == f"it needs runtime>=1.20 or runtime-gpu>=1.17, {reason}"
    assert versions([EITHER], {}) == {"runtime": None}


# --- where there is no folder for it ----------------------------------------------------------------------------


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A user without a home, in a folder of their own; the temporary folder is `tmp`."""
    for name in ("BENCHFW_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(atexit, "register", lambda *call, **options: None)
    cache_module._temporary_root.cache_clear()
    yield tmp_path
    cache_module._temporary_root.cache_clear()


def _folder_of(path: str) -> Callable[[str], str]:
    return lambda name: f"{path}/{name}"


def test_without_a_folder_it_is_temporary_private_and_says_so(no_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", _folder_of("~/.cache"))  # as earlier versions of it answer
    cache = Cache.default()
    assert cache.root.parent == no_cache / "tmp" and cache.root.stat().st_mode & 0o777 == 0o700
    assert str(cache.root) in cache.notice and "BENCHFW_CACHE" in cache.notice
    assert Cache.default() == cache, "one for the whole process"
    assert cache.models.is_dir()
    assert [path.name for path in no_cache.iterdir()] == ["tmp"]


def test_a_home_that_cannot_be_found_or_written(no_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(name: str) -> str:
        raise RuntimeError("no home")

    (no_cache / "file").touch()
    for answer in (homeless, _folder_of(f"{no_cache}/none/.cache"), _folder_of(f"{no_cache}/file/.cache")):
        monkeypatch.setattr("platformdirs.user_cache_dir", answer)
        assert Cache.default().notice
    assert not (no_cache / "none").exists(), "a home that is not there is not made"
    monkeypatch.setattr("platformdirs.user_cache_dir", _folder_of(f"{no_cache}/.cache"))
    assert Cache.default() == Cache(no_cache / ".cache/benchfw")


def test_where_nothing_can_be_written_the_message_says_what_to_set(
    no_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", _folder_of("~/.cache"))
    monkeypatch.setattr("tempfile.tempdir", str(no_cache / "none"))
    with pytest.raises(BuildFailed, match="no folder to write to") as caught:
        Cache.default()
    assert "BENCHFW_CACHE" in str(caught.value.hint) and "TMPDIR" in str(caught.value.hint)
    (no_cache / "file").touch()
    monkeypatch.setenv("BENCHFW_CACHE", "file")
    chosen = Cache.default()
    assert chosen.root == no_cache / "file", "absolute: workers may have another folder"
    with pytest.raises(BuildFailed, match="cannot be made"):
        _ = chosen.models
