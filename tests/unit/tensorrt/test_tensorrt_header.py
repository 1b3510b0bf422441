"""Engines described from their header and side-car, without TensorRT."""

from __future__ import annotations

import hashlib
import json
import struct
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from benchfw.errors import BuildFailed
from benchfw_tensorrt import header
from benchfw_tensorrt.header import RtxEngine, check_engine, describe_engine

VERSION = (1, 7, 1, 116)


def plan(size: int = 200, version: tuple[int, ...] = VERSION) -> bytes:
    """The beginning of an engine as TensorRT-RTX 1.6 and 1.7 write it, and nothing after it."""
    return struct.pack("<4s12xQ4B36x", b"vtrt", size, *version).ljust(size, b"\0")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: {header.DISTRIBUTION: "1.7.1.116"}[name])


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "model.rtx-engine"
    path.write_bytes(plan())
    return path


def test_a_header_tells_version_and_size(engine: Path) -> None:
    assert describe_engine(engine) == {
        "runtime": "TensorRT-RTX",
        "version": "1.7.1.116",
        "bytes": 200,
        "installed": "1.7.1.116",
        "sidecar": None,
        "problem": "",
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no engine of TensorRT-RTX: it begins with b'', not b'vtrt'"),
        (b"\x08\x09\x12\x00" * 30, "is no engine of TensorRT-RTX: it begins with b'\\x08\\t\\x12\\x00', not b'vtrt'"),
        (plan()[:40], "is truncated: it ends within its header"),
        (plan()[:150], "is truncated or damaged: 150 bytes of 200"),
        (plan() + b"more", "is truncated or damaged: 204 bytes of 200"),
    ],
)
def test_foreign_and_truncated_files_are_refused(engine: Path, content: bytes, says: str) -> None:
    engine.write_bytes(content)
    for look in (describe_engine, lambda path: check_engine(path, "1.7.1.116")):
        with pytest.raises(BuildFailed) as raised:
            look(engine)
        assert raised.value.message.endswith(says)


def test_a_file_that_is_not_there(engine: Path) -> None:
    with pytest.raises(BuildFailed, match="cannot be read: No such file"):
        describe_engine(engine.with_name("other"))


def test_an_engine_of_another_version(engine: Path) -> None:
    engine.write_bytes(plan(version=(1, 6, 1, 120)))
    problem = "model.rtx-engine was made by TensorRT-RTX 1.6.1.120, which only that version can load; here is 1.7.1.116"
    assert describe_engine(engine)["problem"] == problem
    with pytest.raises(BuildFailed) as raised:
        check_engine(engine, "1.7.1.116")
    assert (raised.value.message, raised.value.hint) == (problem, "build it again; the cache does so by itself")


def sidecar_of(engine: Path, **more: Any) -> str:
    files = {engine.name: {"sha256": hashlib.sha256(engine.read_bytes()).hexdigest()}}
    return json.dumps({"artifact": {"path": engine.name}, "files": files, **more})


def test_the_side_car_and_layers_in_the_cache(engine: Path) -> None:
    engine.with_name("layers.json").write_text('[{"name": "gemm"}]')
    engine.with_name("sidecar.json").write_text(sidecar_of(engine))
    assert "layers" not in describe_engine(engine), "the side-car knows nothing of them: they are another engine's"
    sidecar = json.loads(sidecar_of(engine, seconds=1.5))
    sidecar["files"]["layers.json"] = {}
    engine.with_name("sidecar.json").write_text(json.dumps(sidecar))
    found = describe_engine(engine)
    assert found["sidecar"]["seconds"] == 1.5
    assert (found["layers"], found["problem"]) == ([{"name": "gemm"}], "")


def test_the_side_car_of_a_copy(engine: Path) -> None:
    copy = engine.with_name("copy.rtx")
    copy.write_bytes(engine.read_bytes())
    copy.with_name("copy.rtx.json").write_text(sidecar_of(engine))
    assert describe_engine(copy)["sidecar"]["artifact"]["path"] == engine.name
    copy.write_bytes(plan()[:-1] + b"x")
    assert describe_engine(copy)["problem"] == "the hash of copy.rtx is not the one in its side-car"


def test_an_engine_without_a_side_car_says_so(engine: Path) -> None:
    found = RtxEngine().describe(engine)
    assert found["side-car"].startswith("none lies beside model.rtx-engine: nobody knows what it was built for.")
    assert "sidecar" not in found
    engine.with_name("model.rtx-engine.json").write_text(sidecar_of(engine))
    assert "side-car" not in RtxEngine().describe(engine)


@pytest.mark.parametrize("text", ["", "[]", '{"artifact": 1, "files": {}}', "[" * 100_000])
def test_what_is_no_side_car_is_none(engine: Path, text: str) -> None:
    engine.with_name("sidecar.json").write_text(text)
    assert describe_engine(engine)["sidecar"] is None


def test_an_engine_where_no_tensorrt_is(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    found = describe_engine(engine)
    assert (found["installed"], found["problem"]) == (None, "")
