"""Numbers in safetensors files that are none, or that slow CPUs down. Needs numpy alone.

Format: 8 bytes with the length of a JSON header (little-endian), the header with dtype, shape and place of each tensor,
then the data (https://huggingface.co/docs/safetensors/index#format).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import BuildFailed
from benchfw.spec import Artifact, Profile, Step, TensorSpec


@dataclass(frozen=True)
class _Bits:
    """An IEEE 754 format. `exponent` masks its exponent; what is below are the bits of the fraction."""

    unsigned: str
    exponent: int
    slow: bool = True

    @property
    def fraction(self) -> int:
        return (self.exponent & -self.exponent) - 1


_FORMATS = {
    "F64": _Bits("<u8", 0x7FF0000000000000),
    "F32": _Bits("<u4", 0x7F800000),
    "BF16": _Bits("<u2", 0x7F80),
    "F16": _Bits("<u2", 0x7C00, slow=False),  # denormals of fp16 are part of its range, and normal in fp32
}
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Survey:
    """What was found in a file of weights: numbers of floats, of denormal ones, and of NaNs by tensor."""

    values: int
    denormals: int
    nans: Mapping[str, int]

    @property
    def warning(self) -> str:
        """A sentence about the denormals; empty if there are none."""
        if not self.denormals:
            return ""
        return (
            f"{self.denormals} of {self.values} weights are denormal, which slows CPUs down; "
            "a table [steps.DenormalFreeTorch] in the scenario sets them to zero"
        )


def survey(path: Path) -> Survey:
    """Read all weights of a safetensors file once."""
    values = denormals = 0
    nans: dict[str, int] = {}
    for name, bits, array in _floats(path, "r"):
        for start in range(0, array.size, _CHUNK):
            part = array[start : start + _CHUNK]
            denormals += int(np.count_nonzero(_denormal(part, bits))) if bits.slow else 0
            count = int(np.count_nonzero(_magnitude(part, bits) > bits.exponent))
            if count:
                nans[name] = nans.get(name, 0) + count
        values += array.size
    return Survey(values, denormals, nans)


def zero_denormals(path: Path) -> dict[str, int]:
    """Set denormals to zero in place; return their number by tensor."""
    zeroed: dict[str, int] = {}
    for name, bits, array in _floats(path, "r+"):
        for start in range(0, array.size if bits.slow else 0, _CHUNK):
            part = array[start : start + _CHUNK]
            found = _denormal(part, bits)
            if count := int(np.count_nonzero(found)):
                part[found] = 0
                zeroed[name] = zeroed.get(name, 0) + count
    return zeroed


class DenormalFreeTorch(Step):
    """Zeroes the denormal weights of a torch model. No options."""

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, precision: str, destination: Path
    ) -> Mapping[str, Any]:
        shutil.copyfile(artifact.path, destination)
        try:
            zeroed = zero_denormals(destination)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BuildFailed(f"{Path(artifact.path).name} is no safetensors file: {error}") from error
        # The code is part of a model's identity, which the core takes from the files.
        (destination.parent / "source.json").write_text(json.dumps({"sha256": artifact.sha256}), encoding="utf-8")
        return {"denormals": 0, "zeroed": sum(zeroed.values()), "zeroed_by_tensor": zeroed}


def _magnitude(array: NDArray[Any], bits: _Bits) -> NDArray[Any]:
    result: NDArray[Any] = array & np.array(bits.exponent | bits.fraction, array.dtype)
    return result


def _denormal(array: NDArray[Any], bits: _Bits) -> NDArray[np.bool_]:
    magnitude = _magnitude(array, bits)
    found: NDArray[np.bool_] = (magnitude != 0) & (magnitude <= bits.fraction)
    return found


def _floats(path: Path, mode: Any) -> Iterator[tuple[str, _Bits, NDArray[Any]]]:
    """Yield the float tensors of a file as maps of their bits."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError(f"its header would have {length} bytes")
        header = json.loads(file.read(length))
    for name, entry in header.items():
        bits = _FORMATS.get(entry.get("dtype", ""))
        if bits is None:
            continue
        start, end = entry["data_offsets"]
        size = (end - start) // np.dtype(bits.unsigned).itemsize
        if size:
            yield name, bits, np.memmap(path, bits.unsigned, mode, offset=8 + length + start, shape=(size,))
