"""Inputs: seeded values and samples from folders."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchfw.errors import ScenarioError
from benchfw.measure.inputs import InputMaker
from benchfw.scenario.schema import Input
from benchfw.spec.tensors import DTYPES, TensorSpec

X = TensorSpec(name="x", dtype="float32", shape=("batch", 4))
Y = TensorSpec(name="y", dtype="float32", shape=("batch", 4))


def _maker(
    folder: Path, specs: Sequence[TensorSpec] = (X,), *, seed: int = 0, data: Path | None = None, **bounds: float
) -> InputMaker:
    declared = {
        spec.name: Input.model_validate({"shape": list(spec.shape), "dtype": spec.dtype} | bounds) for spec in specs
    }
    folder.mkdir(exist_ok=True)
    return InputMaker(specs, declared, seed=seed, folder=folder, data=data)


def _read(maker: InputMaker, **sizes: int) -> dict[str, NDArray[Any]]:
    return {name: np.load(path) for name, path in maker.files(sizes).items()}


def test_the_same_seed_and_sizes_give_the_same_values(tmp_path: Path) -> None:
    one, other = (_read(_maker(tmp_path / name, seed=3), batch=2)["x"] for name in ("a", "b"))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, _read(_maker(tmp_path / "c", seed=4), batch=2)["x"])


def test_values_do_not_depend_on_which_sizes_came_before(tmp_path: Path) -> None:
    one, other = _maker(tmp_path / "a"), _maker(tmp_path / "b")
    _read(other, batch=7)
    np.testing.assert_array_equal(_read(one, batch=2)["x"], _read(other, batch=2)["x"])


def test_inputs_of_one_shape_differ(tmp_path: Path) -> None:
    arrays = _read(_maker(tmp_path, (X, Y)), batch=2)
    assert not np.array_equal(arrays["x"], arrays["y"])


def test_files_are_written_once_per_shape_and_hashed(tmp_path: Path) -> None:
    maker = _maker(tmp_path)
    first = maker.files({"batch": 2})
    Path(first["x"]).unlink()
    assert maker.files({"batch": 2}) == first
    assert not Path(first["x"]).exists()
    array = _read(maker, batch=3)["x"]
    assert array.shape == (3, 4)
    assert maker.hashes["x [3, 4]"] == hashlib.sha256(array.tobytes()).hexdigest()
    assert set(maker.hashes) == {"x [2, 4]", "x [3, 4]"}


# --- sets that are gone round -----------------------------------------------------------------------------------


def _set(maker: InputMaker, number: int, **sizes: int) -> NDArray[Any]:
    array: NDArray[Any] = np.load(maker.files(sizes, number)["x"])
    return array


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(2, 6))
def test_sets_differ_and_are_the_same_for_everybody(
    tmp_path_factory: pytest.TempPathFactory, seed: int, batch: int, count: int
) -> None:
    """A set is drawn from its own number: nobody's order of asking changes it."""
    one, other = (_maker(tmp_path_factory.mktemp("inputs"), seed=seed) for _ in range(2))
    sets = [_set(one, number, batch=batch) for number in range(count)]
    again = [_set(other, number, batch=batch) for number in reversed(range(count))][::-1]
    for array, same in zip(sets, again, strict=True):
        np.testing.assert_array_equal(array, same)
    assert len({array.tobytes() for array in sets}) == count
    assert len({one.digest({"batch": batch}, number) for number in range(count)}) == count
    assert [one.digest({"batch": batch}, number) for number in range(count)] == [
        other.digest({"batch": batch}, number) for number in range(count)
    ]


def test_the_first_set_is_the_one_that_there_always_was(tmp_path: Path) -> None:
    maker = _maker(tmp_path, seed=3)
    assert maker.files({"batch": 2}) == maker.files({"batch": 2}, 0)
    paths = {maker.files({"batch": 2}, number)["x"] for number in range(3)}
    assert len(paths) == 3
    assert set(maker.hashes) == {"x [2, 4]", "x [2, 4] set 1", "x [2, 4] set 2"}


def test_sets_of_samples_go_on_where_the_one_before_ends(tmp_path: Path) -> None:
    maker = _maker(tmp_path / "in", data=_samples(tmp_path / "data", 5))
    assert [_set(maker, number, batch=2)[:, 0].tolist() for number in range(3)] == [[0, 1], [2, 3], [4, 0]]


def test_too_few_samples_make_sets_that_are_equal_and_known_as_such(tmp_path: Path) -> None:
    maker = _maker(tmp_path / "in", data=_samples(tmp_path / "data", 2))
    np.testing.assert_array_equal(_set(maker, 0, batch=2), _set(maker, 1, batch=2))
    assert maker.digest({"batch": 2}, 0) == maker.digest({"batch": 2}, 1)


@pytest.mark.parametrize(
    ("dtype", "shape", "size"), [("float32", ("batch", 4), 32), ("bool", (3,), 3), ("int64", (), 8)]
)
def test_the_bytes_of_a_set(dtype: str, shape: tuple[Any, ...], size: int, tmp_path: Path) -> None:
    maker = _maker(tmp_path, (TensorSpec(name="x", dtype=dtype, shape=shape),))
    assert maker.bytes_of({"batch": 2}) == size == _set(maker, 0, batch=2).nbytes


# --- values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_that_values_are_not_constant(dtype: str, tmp_path: Path) -> None:
    spec = TensorSpec(name="x", dtype=dtype, shape=("batch", 64))
    array = _read(_maker(tmp_path, (spec,)), batch=2)["x"]
    assert (array.dtype, array.shape) == (np.dtype(dtype), (2, 64))
    assert array.flags.c_contiguous
    assert len(np.unique(array)) > 1


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(-100, 100), st.integers(1, 100), st.sampled_from(["int8", "int32", "int64", "float32", "float64"]))
def test_values_lie_between_their_bounds(
    tmp_path_factory: pytest.TempPathFactory, low: int, width: int, dtype: str
) -> None:
    high = min(low + width, 128)
    spec = TensorSpec(name="x", dtype=dtype, shape=("batch",))
    maker = _maker(tmp_path_factory.mktemp("inputs"), (spec,), low=float(low), high=float(high))
    array = _read(maker, batch=200)["x"]
    assert array.min() >= low
    assert array.max() <= high if dtype.startswith("float") else array.max() < high


def test_a_high_bound_alone_starts_at_zero(tmp_path: Path) -> None:
    spec = TensorSpec(name="x", dtype="int64", shape=("batch",))
    array = _read(_maker(tmp_path, (spec,), high=3.0), batch=300)["x"]
    assert set(array.tolist()) == {0, 1, 2}


def test_floats_without_bounds_are_normal(tmp_path: Path) -> None:
    array = _read(_maker(tmp_path), batch=5000)["x"]
    assert abs(array.mean()) < 0.05
    assert abs(array.std() - 1) < 0.05


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_an_input_without_dimensions(dtype: str, tmp_path: Path) -> None:
    spec = TensorSpec(name="x", dtype=dtype, shape=())
    assert _read(_maker(tmp_path, (spec,)))["x"].shape == ()


# --- samples ----------------------------------------------------------------------------------------------------


def _samples(folder: Path, count: int, shape: tuple[int, ...] = (4,)) -> Path:
    folder.mkdir()
    for number in range(count):
        np.save(folder / f"{number:03}.npy", np.full(shape, number, np.float32))
    return folder


def test_samples_are_stacked_in_the_order_of_their_names_and_repeat(tmp_path: Path) -> None:
    maker = _maker(tmp_path / "in", data=_samples(tmp_path / "data", 3))
    assert _read(maker, batch=2)["x"][:, 0].tolist() == [0, 1]
    assert _read(maker, batch=7)["x"][:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_samples_may_have_a_leading_one(tmp_path: Path) -> None:
    maker = _maker(tmp_path / "in", data=_samples(tmp_path / "data", 2, (1, 4)))
    assert _read(maker, batch=2)["x"].shape == (2, 4)


def test_archives_hold_every_input(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "notes.txt").write_text("not a sample")
    for number in range(2):
        np.savez(data / f"{number}.npz", x=np.full(4, number), y=np.full(4, -number), more=np.zeros(1))
    arrays = _read(_maker(tmp_path / "in", (X, Y), data=data), batch=3)
    assert arrays["x"][:, 0].tolist() == [0, 1, 0]
    assert arrays["y"][:, 0].tolist() == [0, -1, 0]
    assert arrays["x"].dtype == np.float32


def test_a_sample_of_another_shape_is_refused_by_name(tmp_path: Path) -> None:
    maker = _maker(tmp_path / "in", data=_samples(tmp_path / "data", 2, (5,)))
    with pytest.raises(ScenarioError, match=r"000\.npy: a sample of 'x' has shape \[5\], wanted \[4\]"):
        maker.files({"batch": 1})


def test_a_folder_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"\.npy or \.npz"):
        _maker(tmp_path / "in", data=_samples(tmp_path / "data", 0))
    with pytest.raises(ScenarioError, match=r"one array per input"):
        _maker(tmp_path / "in", (X, Y), data=_samples(tmp_path / "more", 2))


def _pickled(path: Path) -> None:
    np.save(path, np.array([{}], object), allow_pickle=True)


def _archive_without_x(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, z=np.zeros(4))


def _truncated_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.zeros(400))
    path.write_bytes(path.read_bytes()[:200])


def _plain_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(4))


def _archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.zeros(4))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.npy", _pickled),
        ("a.npy", lambda path: path.write_bytes(b"")),
        ("a.npy", lambda path: path.write_bytes(b"garbage")),
        ("a.npz", lambda path: path.write_bytes(b"garbage")),
        ("a.npz", lambda path: path.write_bytes(b"")),
        ("a.npz", _archive_without_x),
        ("a.npz", _truncated_archive),
        ("a.npz", _plain_array),
        ("a.npy", _archive),
        ("a.npy", lambda path: path.mkdir()),
    ],
    ids=[
        "pickle",
        "empty npy",
        "garbage npy",
        "garbage npz",
        "empty npz",
        "npz without the input",
        "truncated npz",
        "npy named npz",
        "npz named npy",
        "folder",
    ],
)
def test_files_that_are_no_samples_are_named(name: str, write: Any, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write(data / name)
    with pytest.raises(ScenarioError, match=name):
        _maker(tmp_path / "in", data=data).files({"batch": 1})


def test_samples_for_an_input_without_dimensions_are_refused_or_taken(tmp_path: Path) -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=())
    maker = _maker(tmp_path / "in", (spec,), data=_samples(tmp_path / "data", 2, ()))
    with contextlib.suppress(ScenarioError):
        assert _read(maker)["x"].shape == ()
