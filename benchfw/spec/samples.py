"""Calibration data of steps to int8: a folder of samples, what a Python function returns, or seeded random inputs."""

from __future__ import annotations

import hashlib
import importlib
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import BuildFailed
from benchfw.spec.tensors import Profile, TensorSpec

Sample = dict[str, NDArray[Any]]
_IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
_CHANNELS = (1, 3)
_NO_PILLOW = "pip install pillow, or use .npy files"
_HINT = "`calibration` of the step: a folder of .npz, .npy or images, or python:MODULE:CALLABLE"


def samples(options: Mapping[str, Any], root: Path, inputs: Sequence[TensorSpec], profile: Profile) -> list[Sample]:
    """Return what is to be fed: dicts of whole inputs, batch axis and all.

    Args:
        options: `calibration`, `samples`, `image_mean` and `image_std` of the step.
        root: Folder that a relative path or a module starts from.
        inputs: The model's inputs.
        profile: Sizes of their axes.

    Raises:
        BuildFailed: There are none, or they do not fit the inputs.
    """
    source, count = options["calibration"], options["samples"]
    if source is None:
        batch, sizes = _batch(inputs, profile)
        return [seeded(inputs, sizes, seed) for seed in range(1, -(-count // batch) + 1)]
    if source.startswith("python:"):
        given = itertools.islice(_call(source, root), count)
        return _not_empty([_fitted(sample, inputs, profile, f"sample {i}") for i, sample in enumerate(given)], source)
    folder = root / source
    if not folder.is_dir():
        raise BuildFailed(f"there is no folder {source!r} of calibration data", hint=_HINT)
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".npz", ".npy", *_IMAGES))[:count]
    single = [(path.name, _read(path, inputs, profile, options)) for path in _not_empty(files, source)]
    return list(_batches(single, inputs, profile))


def seeded(inputs: Sequence[TensorSpec], sizes: Mapping[str, int], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return inputs as a run makes them where a scenario says nothing of them: normal(0, 1), integers 0 or 1."""
    arrays: dict[str, NDArray[Any]] = {}
    for spec in inputs:
        shape, dtype = spec.concrete(sizes), np.dtype(spec.dtype)
        place = int.from_bytes(hashlib.sha256(spec.name.encode()).digest()[:4], "little")
        random = np.random.default_rng([seed, place, *shape])
        values = random.standard_normal(shape, np.float32) if dtype.kind == "f" else random.integers(0, 2, shape)
        arrays[spec.name] = np.asarray(values, dtype)
    return arrays


def digest(data: Iterable[Sample]) -> str:
    """Return the hash of samples."""
    result = hashlib.sha256()
    for sample in data:
        for name, array in sorted(sample.items()):
            result.update(f"{name} {array.dtype.str} {array.shape}".encode())
            result.update(np.ascontiguousarray(array).tobytes())
    return result.hexdigest()


def _not_empty(found: list[Any], source: str) -> list[Any]:
    if not found:
        raise BuildFailed(f"{source!r} has no calibration data", hint=_HINT)
    return found


def _call(source: str, root: Path) -> Iterator[Any]:
    _, module_name, name = (*source.split(":", 2), "", "")[:3]
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        loader = getattr(importlib.import_module(module_name), name)
        return iter(loader())
    except Exception as error:  # the user's code
        text = f"calibration data from {source}: {type(error).__name__}: {error}"
        raise BuildFailed(text, hint="it is called without arguments and returns dicts of arrays") from error


def _read(path: Path, inputs: Sequence[TensorSpec], profile: Profile, options: Mapping[str, Any]) -> Sample:
    """Read one sample; its arrays have no batch axis, or one of size 1."""
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if len(inputs) > 1:
            raise BuildFailed(
                f"{path.name}: the model takes {len(inputs)} inputs", hint="use .npz files with an array per input"
            )
        if path.suffix == ".npy":
            return {inputs[0].name: np.load(path, allow_pickle=False)}
        return {inputs[0].name: _image(path, inputs[0], profile, options)}
    except BuildFailed:
        raise
    except Exception as error:  # numpy, zipfile and Pillow raise many kinds on files that are none
        raise BuildFailed(f"calibration data {path.name}: {type(error).__name__}: {error}", hint=_HINT) from error


def _image(path: Path, spec: TensorSpec, profile: Profile, options: Mapping[str, Any]) -> NDArray[Any]:
    """Return an image as float32, scaled to the input's size and normalised, with the axes that the input has.

    Returns:
        [channels, height, width], or [height, width, channels] of an input whose channels come last.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise BuildFailed(f"{path.name}: images need Pillow", hint=_NO_PILLOW) from error
    shape = spec.concrete(profile.sizes("opt"))
    channels, height, width, first = _image_axes(shape)
    if not channels:
        what = "which is no image: 1 or 3 channels after the batch, or last"
        raise BuildFailed(f"{path.name}: input {spec.name!r} is {list(shape)}, {what}", hint="use .npy files")
    with Image.open(path) as image:
        scaled = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BICUBIC)
        pixels = np.asarray(scaled, np.float32).reshape(height, width, channels) / 255
    mean, std = (np.asarray(options[key][:channels], np.float32) for key in ("image_mean", "image_std"))
    pixels = (pixels - mean) / std
    return np.ascontiguousarray(pixels.transpose(2, 0, 1) if first else pixels)


def _image_axes(shape: Sequence[int]) -> tuple[int, int, int, bool]:
    """Return channels, height and width of an input, and whether channels come first; no channels if it is no image."""
    if len(shape) == 4 and shape[1] in _CHANNELS:
        return shape[1], shape[2], shape[3], True
    if len(shape) == 4 and shape[3] in _CHANNELS:
        return shape[3], shape[1], shape[2], False
    return 0, 0, 0, True


def _batches(single: Sequence[tuple[str, Sample]], inputs: Sequence[TensorSpec], profile: Profile) -> Iterator[Sample]:
    """Stack samples to the smallest batch that the model takes; the last one is filled up from the beginning."""
    batch, _ = _batch(inputs, profile)
    for start in range(0, len(single), batch):
        chosen = [single[index % len(single)] for index in range(start, start + batch)]
        where = chosen[0][0]
        stacked: Sample = {}
        for spec in inputs:
            arrays = [_lookup(sample, spec, name) for name, sample in chosen]
            arrays = [array[0] if array.ndim == len(spec.shape) and len(array) == 1 else array for array in arrays]
            if len({array.shape for array in arrays}) > 1:
                raise BuildFailed(f"{where}: samples of {spec.name!r} that make one batch differ in shape")
            stacked[spec.name] = np.stack(arrays)
        yield _fitted(stacked, inputs, profile, where)


def _batch(inputs: Sequence[TensorSpec], profile: Profile) -> tuple[int, dict[str, int]]:
    """Return the smallest batch that the model takes, and sizes with it: that of the first axes; others are at opt."""
    firsts = {spec.shape[0] for spec in inputs if spec.shape}
    smallest = profile.sizes("min")
    sizes = profile.sizes("opt") | {dim: smallest[dim] for dim in firsts if isinstance(dim, str)}
    return max((sizes[dim] if isinstance(dim, str) else dim for dim in firsts), default=1), sizes


def _lookup(sample: Sample, spec: TensorSpec, where: str) -> NDArray[Any]:
    if spec.name not in sample:
        raise BuildFailed(f"{where} has no {spec.name!r}, only {sorted(sample)}", hint=_HINT)
    return sample[spec.name]


def _fitted(sample: Any, inputs: Sequence[TensorSpec], profile: Profile, where: str) -> Sample:
    """Return a sample in the inputs' types, once names, shapes and values are known to fit."""
    if not isinstance(sample, Mapping):
        if len(inputs) > 1:
            raise BuildFailed(f"{where} is no dict, and the model takes {[spec.name for spec in inputs]}", hint=_HINT)
        sample = {inputs[0].name: sample}
    fitted: Sample = {}
    for spec in inputs:
        array, dtype = np.asarray(_lookup(sample, spec, where)), np.dtype(spec.dtype)
        if not _fits(array.shape, spec, profile):
            low, high = (list(spec.concrete(profile.sizes(point))) for point in ("min", "max"))
            wanted = f"{low}" if low == high else f"from {low} to {high}"
            raise BuildFailed(f"{where}: {spec.name!r} has shape {list(array.shape)}, the model takes {wanted}")
        if not np.can_cast(array.dtype, dtype, "same_kind") and array.size:
            raise BuildFailed(f"{where}: {spec.name!r} is {array.dtype}, the model takes {dtype}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BuildFailed(f"{where}: {spec.name!r} holds NaN or infinity")
        fitted[spec.name] = array.astype(dtype)
    return fitted


def _fits(shape: tuple[int, ...], spec: TensorSpec, profile: Profile) -> bool:
    if len(shape) != len(spec.shape):
        return False
    low, high = (spec.concrete(profile.sizes(point)) for point in ("min", "max"))
    return all(least <= size <= most for least, size, most in zip(low, shape, high, strict=True))
