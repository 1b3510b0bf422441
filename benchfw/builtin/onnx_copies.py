"""Copies of ONNX files under another name, external data and all. Runs in a worker with `onnx` installed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import onnx

from benchfw.spec.onnx_files import external_file, external_tensors, read

_PAGE = 4096
"""External data begin at multiples of this, so that they can be mapped into memory."""
_PART = 1 << 22


def copy(path: Path, destination: Path) -> Mapping[str, Any]:
    """Copy a model; its external data, in however many files, go into one named `<destination>.data`.

    Returns:
        `nodes`, the number of nodes of the graph, `opset`, and whether there are `external_data`.

    Raises:
        BuildFailed: The model or its data cannot be read; see `external_file`.
    """
    model = read(path)
    tensors = list(external_tensors(model))
    if tensors:
        data = destination.with_name(f"{destination.name}.data")
        with data.open("wb") as out:
            places: dict[tuple[Path, int, int], tuple[int, int]] = {}
            for tensor in tensors:
                _move(tensor, path, data.name, out, places)
        destination.write_bytes(model.SerializeToString())
    else:
        shutil.copyfile(path, destination)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    return {"nodes": len(model.graph.node), "opset": opset, "external_data": bool(tensors)}


def _move(
    tensor: onnx.TensorProto,
    path: Path,
    name: str,
    out: BinaryIO,
    places: dict[tuple[Path, int, int], tuple[int, int]],
) -> None:
    """Append the data of a tensor and let it refer to them there; tensors that share data go on sharing them."""
    file = external_file(tensor, path)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    offset = int(entries.get("offset", 0))
    length = int(entries["length"]) if "length" in entries else file.stat().st_size - offset
    key = (file, offset, length)
    if key not in places:
        out.seek(-(-out.tell() // _PAGE) * _PAGE)
        begin = out.tell()
        with file.open("rb") as source:
            source.seek(offset)
            left = length
            while left and (part := source.read(min(left, _PART))):
                out.write(part)
                left -= len(part)
        places[key] = begin, length
    begin, length = places[key]
    del tensor.external_data[:]
    for word, value in (("location", name), ("offset", begin), ("length", length)):
        tensor.external_data.add(key=word, value=str(value))
