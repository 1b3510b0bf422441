"""What an engine of TensorRT-RTX says of itself, without a driver and without TensorRT.

The first 64 bytes of a plan hold, as seen with 1.6.1 and 1.7.1: `vtrt`, at 16 the bytes of the whole plan (64 bits), at
24 the version of the builder in four bytes.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from benchfw.errors import BuildFailed
from benchfw.spec.artifact import FileFormat

MAGIC = b"vtrt"
HEADER_BYTES = 64
DISTRIBUTION = "tensorrt-rtx-cu13"
_SIZE_AT, _VERSION_AT = 16, 24
_LAYERS = "layers.json"
_SIDECAR = "`benchfw build -o FILE` writes FILE.json, which belongs to it; engines of the cache have theirs"
_REBUILD = "build it again; the cache does so by itself"


class RtxEngine(FileFormat):
    """What `benchfw inspect` tells of an engine; its side-car it reads itself."""

    def describe(self, path: Path) -> Mapping[str, Any]:
        found = describe_engine(path)
        if found["sidecar"] is None:
            del found["sidecar"]
            found["side-car"] = f"none lies beside {path.name}: nobody knows what it was built for. {_SIDECAR}"
        return found


def read_header(path: Path) -> dict[str, Any]:
    """Return `version` (text) and `bytes` (int) of an engine.

    Raises:
        BuildFailed: The file cannot be read, is no engine of TensorRT-RTX, or is not as long as it says.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        raise BuildFailed(f"the engine {path.name} cannot be read: {error.strerror}") from error
    if head[: len(MAGIC)] != MAGIC:
        raise BuildFailed(f"{path.name} is no engine of TensorRT-RTX: it begins with {head[:4]!r}, not {MAGIC!r}")
    if len(head) < HEADER_BYTES:
        raise BuildFailed(f"the engine {path.name} is truncated: it ends within its header", hint=_REBUILD)
    (told,) = struct.unpack_from("<Q", head, _SIZE_AT)
    if told != size:
        raise BuildFailed(f"the engine {path.name} is truncated or damaged: {size} bytes of {told}", hint=_REBUILD)
    return {"version": ".".join(map(str, head[_VERSION_AT : _VERSION_AT + 4])), "bytes": size}


def describe_engine(path: Path) -> dict[str, Any]:
    """Return what is known of an engine from its header, and from the side-car beside it if there is one.

    Keys: `runtime`, `version`, `bytes`; `installed`, the version of TensorRT-RTX here or None; `problem`, a sentence
    that says why it cannot be used here, or empty; `sidecar`, what the cache noted when it was made, or None; `layers`,
    a list, if there is one beside it. Nothing is deserialised, which would run code.

    Raises:
        BuildFailed: It is no engine of TensorRT-RTX, or a part of one.
    """
    header = read_header(path)
    sidecar, layers = _beside(path)
    found = {"runtime": "TensorRT-RTX", **header, "installed": _installed(), "sidecar": sidecar}
    found["problem"] = _other_version(path, header["version"], found["installed"]) or _other_content(path, sidecar)
    if sidecar is not None and _LAYERS in sidecar["files"] and layers.is_file():
        found["layers"] = _json(layers)
    return found


def check_engine(path: Path, version: str) -> None:
    """Refuse what a runtime of this version cannot load, before it is given to it.

    Raises:
        BuildFailed: It is no engine of TensorRT-RTX, a part of one, or one of another version.
    """
    problem = _other_version(path, read_header(path)["version"], version)
    if problem:
        raise BuildFailed(problem, hint=_REBUILD)


def _other_version(path: Path, made: str, here: str | None) -> str:
    if here is None or here == made:
        return ""
    return f"{path.name} was made by TensorRT-RTX {made}, which only that version can load; here is {here}"


def _other_content(path: Path, sidecar: dict[str, Any] | None) -> str:
    noted = (sidecar or {}).get("files", {}).get((sidecar or {}).get("artifact", {}).get("path"), {}).get("sha256")
    if noted is None or noted == _sha256(path):
        return ""
    return f"the hash of {path.name} is not the one in its side-car"


def _installed() -> str | None:
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None


def _beside(path: Path) -> tuple[dict[str, Any] | None, Path]:
    """Return the side-car beside a copy of an engine, or in the folder of a cached one, and where its layers are."""
    layers = path.with_name(_LAYERS)
    for place, its in (
        (path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.{_LAYERS}")),
        (path.with_name("sidecar.json"), layers),
    ):
        data = _json(place) if place.is_file() else None
        if isinstance(data, dict) and isinstance(data.get("artifact"), dict) and isinstance(data.get("files"), dict):
            return data, its
    return None, layers


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
