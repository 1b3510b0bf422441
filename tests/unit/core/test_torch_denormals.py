"""Denormals and NaNs in safetensors files, against numpy's and the format's own definitions."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchfw.errors import BuildFailed
from benchfw.spec import Artifact, Profile
from benchfw_torch.denormals import DenormalFreeTorch, survey, zero_denormals

FLOATS: dict[str, Any] = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def write(path: Path, tensors: dict[str, tuple[str, NDArray[Any]]]) -> None:
    """Write a safetensors file, by its documentation."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, array) in tensors.items():
        place: Any = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        header[name], data = place, data + array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def read(path: Path, dtype: Any, size: int) -> NDArray[Any]:
    return np.frombuffer(path.read_bytes()[-size * np.dtype(dtype).itemsize :], dtype)


@given(st.sampled_from(sorted(FLOATS)), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60))
def test_denormals_and_nans_are_those_of_numpy(dtype: str, bits: list[int]) -> None:
    float_ = FLOATS[dtype]
    width = np.dtype(float_).itemsize
    values = np.array([value >> (64 - 8 * width) for value in bits], f"<u{width}").view(float_)
    values[::3] = (values[::3].view(f"<u{width}") & 0xFF).view(float_)  # as good as always denormal, or 0
    with np.errstate(all="ignore"):
        small = (np.abs(values) < np.finfo(float_).tiny) & (values != 0) & (dtype != "F16")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        write(path, {"w": (dtype, values)})
        found = survey(path)
        assert (found.values, found.denormals) == (values.size, small.sum())
        assert found.nans == ({"w": np.isnan(values).sum()} if np.isnan(values).any() else {})
        assert zero_denormals(path) == ({"w": small.sum()} if small.any() else {})
        after = read(path, float_, values.size)
        assert not after[small].any()
        assert after[~small].tobytes() == values[~small].tobytes(), "nothing else changed"
        assert survey(path).denormals == 0


def test_bfloat16_and_other_tensors(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    bf16 = np.array([0x0001, 0x807F, 0x0080, 0x3F80, 0x7FC0], "<u2")  # two denormals, the smallest normal, 1, NaN
    write(path, {"b": ("BF16", bf16), "ids": ("I64", np.arange(3)), "none": ("F32", np.empty(0, np.float32))})
    found = survey(path)
    assert (found.values, found.denormals, found.nans) == (5, 2, {"b": 1})
    assert found.warning.startswith("2 of 5 weights are denormal")
    assert zero_denormals(path) == {"b": 2}


def test_the_step_leaves_its_source_alone_and_refuses_other_files(tmp_path: Path) -> None:
    source, made = tmp_path / "w.safetensors", tmp_path / "made/model.torch"
    made.parent.mkdir()
    write(source, {"w": ("F32", np.array([1e-40, 1.0], np.float32))})
    before = source.read_bytes()

    def run() -> Any:
        artifact = Artifact(format="torch", path=str(source), sha256="s")
        return DenormalFreeTorch({}).run(artifact, inputs=(), profile=Profile({}), precision="fp32", destination=made)

    assert run() == {"denormals": 0, "zeroed": 1, "zeroed_by_tensor": {"w": 1}}
    assert source.read_bytes() == before
    assert read(made, np.float32, 2).tolist() == [0, 1]
    source.write_bytes(b"no weights at all")
    with pytest.raises(BuildFailed, match=r"w\.safetensors is no safetensors file"):
        run()
