"""What a safetensors file holds: eight bytes, a JSON header, raw tensors. Nothing in it can run."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import BuildFailed
from benchfw.spec.weights import Weights

_MAX_HEADER = 100 << 20
"""That of the format's own readers."""
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "BOOL": "bool",
    **{f"{kind}{bits}": f"{name}{bits}" for kind, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
}


def describe(path: Path) -> Mapping[str, Any]:
    """Return the names, types and shapes of the tensors in a file, and facts about their values.

    Raises:
        BuildFailed: It is no safetensors file, or not a whole one.
    """
    size = path.stat().st_size
    header, begin = _header(path, size)
    metadata = header.pop("__metadata__", {})
    weights, tensors = Weights(), []
    for name, item in header.items():
        try:
            dtype, shape = str(item["dtype"]), [int(dim) for dim in item["shape"]]
            first, last = (int(place) for place in item["data_offsets"])
        except (TypeError, KeyError, ValueError) as error:
            raise BuildFailed(f"{path} is damaged: its header does not say where {name!r} lies") from error
        if not 0 <= first <= last or begin + last > size or min(shape, default=0) < 0:
            raise BuildFailed(
                f"{path} is not whole: {name!r} is said to end at byte {begin + last} of {size}", hint="copy it again"
            )
        weights.add(_DTYPES.get(dtype, dtype), math.prod(shape), last - first, _values(path, begin, item, shape))
        tensors.append({"name": name, "dtype": _DTYPES.get(dtype, dtype), "shape": shape})
    return {"metadata": metadata, "tensors": tensors, "weights": weights.facts(), "bytes": size}


def _header(path: Path, size: int) -> tuple[dict[str, Any], int]:
    """Return the header and where the tensors begin."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise BuildFailed(f"{path} is no safetensors file, or not a whole one", hint="copy or save it again")
        try:
            header = json.loads(os.pread(file.fileno(), length, 8))
        except (ValueError, RecursionError) as error:
            raise BuildFailed(f"{path} is no safetensors file: its header is no JSON") from error
    if not isinstance(header, dict):
        raise BuildFailed(f"{path} is no safetensors file: its header is no table")
    return header, 8 + length


def _values(path: Path, begin: int, item: Mapping[str, Any], shape: list[int]) -> NDArray[Any] | None:
    """Return the values of a float tensor; None for other types."""
    kind = _NUMPY.get(str(item["dtype"]))
    first, last = item["data_offsets"]
    if kind is None or first == last:
        return None
    if math.prod(shape) * np.dtype(kind).itemsize != last - first:
        raise BuildFailed(f"{path} is damaged: {last - first} bytes are no {item['dtype']} of shape {shape}")
    array: NDArray[Any] = np.memmap(path, kind, "r", begin + first, (math.prod(shape),))
    if item["dtype"] == "BF16":  # the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array
