"""Inputs: made once by the parent, written as `.npy`, hashed; every worker maps the same files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import Fault, ScenarioError
from benchfw.scenario.schema import Input
from benchfw.spec.tensors import TensorSpec
from benchfw.spec.values import random_values


class InputMaker:
    """Writes the inputs of each set of sizes once.

    Args:
        inputs: The model's inputs.
        declared: What the scenario says of them (bounds of random values).
        seed: Seed of random values.
        folder: Where files go.
        data: Folder of samples, or None for random values.
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        declared: Mapping[str, Input],
        *,
        seed: int,
        folder: Path,
        data: Path | None = None,
    ) -> None:
        self.specs = inputs
        self._declared = declared
        self._seed = seed
        self._folder = folder
        self._samples = _read_samples(data, [spec.name for spec in inputs]) if data else None
        self.samples_sha256 = _hash(self._samples) if self._samples else None
        self._made: dict[tuple[tuple[tuple[str, int], ...], int], dict[str, str]] = {}
        self.hashes: dict[str, str] = {}

    @property
    def count(self) -> int | None:
        """Number of samples in the folder; None for random values."""
        return len(next(iter(self._samples.values()))) if self._samples else None

    def bytes_of(self, sizes: Mapping[str, int]) -> int:
        """Return the bytes of one set of inputs of these sizes."""
        return sum(
            math.prod(spec.concrete(sizes)) * (1 if spec.dtype == "bool" else np.dtype(spec.dtype).itemsize)
            for spec in self.specs
        )

    def files(self, sizes: Mapping[str, int], set_: int = 0) -> dict[str, str]:
        """Return the path of each input's file for these sizes, of one of the sets that are gone round.

        Raises:
            ScenarioError: The samples do not fit the declared shape.
        """
        key = tuple(sorted(sizes.items())), set_
        if key not in self._made:
            self._made[key] = {spec.name: self._write(spec, sizes, set_) for spec in self.specs}
        return self._made[key]

    def digest(self, sizes: Mapping[str, int], set_: int = 0) -> str:
        """Return a text that is the same only for sets of equal values."""
        return " ".join(self.hashes[_name(spec, spec.concrete(sizes), set_)] for spec in self.specs)

    def _write(self, spec: TensorSpec, sizes: Mapping[str, int], set_: int) -> str:
        shape = spec.concrete(sizes)
        array = self._random(spec, shape, set_) if self._samples is None else self._stack(spec, shape, set_)
        array = np.asarray(array, np.dtype(spec.dtype), order="C")
        suffix = f"-{set_}" if set_ else ""
        name = f"{self.specs.index(spec)}-{'x'.join(map(str, shape)) or 'scalar'}{suffix}.npy"
        path = self._folder / name
        np.save(path, array)
        self.hashes[_name(spec, shape, set_)] = hashlib.sha256(array.tobytes()).hexdigest()
        return str(path)

    def _random(self, spec: TensorSpec, shape: tuple[int, ...], set_: int) -> NDArray[Any]:
        """Draw never-constant values: the values of inputs alone move the power that a device takes."""
        place = self.specs.index(spec)
        random = np.random.default_rng([self._seed, place, *shape, *([set_] if set_ else [])])
        declared = self._declared.get(spec.name)
        bounded = replace(spec, low=declared.low, high=declared.high) if declared else spec
        return random_values(bounded, shape, random)

    def _stack(self, spec: TensorSpec, shape: tuple[int, ...], set_: int) -> NDArray[Any]:
        """Stack samples along the first axis. A set begins where the one before ends; too few samples repeat."""
        assert self._samples is not None
        arrays = self._samples[spec.name]
        if not shape:
            raise _fault(f"{spec.name!r} has no dimension to stack samples along")
        wanted = shape[1:]
        fitting = []
        for file, array in arrays:
            if array.shape == (1, *wanted):
                array = array[0]
            if array.shape != wanted:
                raise _fault(f"{file}: a sample of {spec.name!r} has shape {list(array.shape)}, wanted {list(wanted)}")
            fitting.append(array)
        first = set_ * shape[0]
        return np.stack([fitting[(first + index) % len(fitting)] for index in range(shape[0])])


def _name(spec: TensorSpec, shape: tuple[int, ...], set_: int) -> str:
    return f"{spec.name} {list(shape)}" + (f" set {set_}" if set_ else "")


def _read_samples(folder: Path, names: Sequence[str]) -> dict[str, list[tuple[str, NDArray[Any]]]]:
    """Read every `.npz` (arrays by input name) or `.npy` (models with one input) in the order of names."""
    samples: dict[str, list[tuple[str, NDArray[Any]]]] = {name: [] for name in names}
    for path in sorted(folder.iterdir()):
        try:
            if path.suffix == ".npz":
                with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                    for name in names:
                        samples[name].append((path.name, archive[name]))
            elif path.suffix == ".npy" and len(names) == 1:
                with path.open("rb") as file:
                    samples[names[0]].append((path.name, np.lib.format.read_array(file, allow_pickle=False)))
        except Exception as error:  # numpy and zipfile raise many kinds on files that are none
            raise _fault(f"{path.name} cannot be used: {type(error).__name__}: {error}") from error
    if not all(samples.values()):
        kinds = ".npz files with one array per input" if len(names) > 1 else ".npy or .npz files"
        raise _fault(f"{folder} has no samples: it needs {kinds}")
    return samples


def _hash(samples: Mapping[str, list[tuple[str, NDArray[Any]]]]) -> str:
    digest = hashlib.sha256()
    for name, arrays in samples.items():
        for file, array in arrays:
            digest.update(f"{name} {file} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _fault(reason: str) -> ScenarioError:
    return ScenarioError("scenario", [Fault(("model", "data"), reason)])
