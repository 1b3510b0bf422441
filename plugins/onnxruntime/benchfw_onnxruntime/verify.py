"""Outputs of two models on the same inputs, and whether those are still the same model. Runs in a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchfw.errors import BuildFailed, Invalid
from benchfw.spec import Profile, TensorSpec
from benchfw.spec.accuracy import compare, match, worst
from benchfw.spec.remedies import onnx_remedy
from benchfw.spec.samples import seeded

Arrays = Mapping[str, NDArray[Any]]
_QUIET = 3
"""Level of logging: errors. A shape that a model declares wrongly would be a warning per inference."""


class Model:
    """A model on the CPU, to be asked for outputs; nothing here is timed.

    Raises:
        BuildFailed: It cannot be loaded.
    """

    def __init__(self, path: Path | str, what: str, hint: str | None = None) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = _QUIET
        self._what, self._hint = what, hint
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime raises a class of its own per status code
            raise BuildFailed(f"onnxruntime cannot load {what}: {error}", hint=hint) from error
        self.outputs = {output.name: output.shape for output in self._session.get_outputs()}
        self._dtypes = {value.name: _DTYPES.get(value.type) for value in self._session.get_inputs()}

    def __call__(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """Return the outputs by name. Inputs are cast to the types that the model takes.

        Raises:
            BuildFailed: It cannot be run.
        """
        given = {name: array.astype(self._dtypes.get(name) or array.dtype) for name, array in arrays.items()}
        try:
            return dict(zip(self.outputs, self._session.run(None, given), strict=True))
        except MemoryError:
            raise
        except Exception as error:
            raise BuildFailed(f"onnxruntime cannot run {self._what}: {error}", hint=self._hint) from error


_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


def agreement(
    source: Path | str,
    made: Path | str,
    inputs: Sequence[TensorSpec],
    profile: Profile,
    precision: str,
    report: Callable[[str], None] = lambda text: None,
    hint: str | None = None,
) -> dict[str, Any]:
    """Compare two models at the smallest, the optimal and the largest sizes.

    Returns:
        The worst output: `output`, `at`, `rel_l2`, `max_abs_err`, `cosine`, `verdict` and `reason` of
        `benchfw.spec.accuracy`.

    Raises:
        BuildFailed: A model cannot be loaded or run, gives other outputs than the other one, or other shapes than it
            says itself.
    """
    points = {_slug(sizes): sizes for sizes in (profile.sizes(point) for point in ("opt", "min", "max"))}
    arrays = {slug: seeded(inputs, sizes) for slug, sizes in points.items()}
    first: list[Arrays] = []
    second: list[Arrays] = []
    for results, path, what in ((first, source, "the model"), (second, made, "what was made of it")):
        model = Model(path, what, hint if results is second else onnx_remedy(path))
        for slug in points:
            report(f"{what} at {slug}")
            results.append(model(arrays[slug]))
        shapes = model.outputs
        del model  # the larger half of the memory
    found: list[dict[str, Any]] = []
    for slug, wanted, outputs in zip(points, first, second, strict=True):
        check_shapes(outputs, shapes, slug)
        found += _metrics(outputs, wanted, slug, precision)
    verdict = worst([metrics["verdict"] for metrics in found])
    return max((metrics for metrics in found if metrics["verdict"] == verdict), key=lambda m: _size(m["rel_l2"]))


def require_same(metrics: Mapping[str, Any], what: str, hint: str) -> dict[str, Any]:
    """Return what is worth keeping of `agreement`; refuse another model.

    Raises:
        BuildFailed: The outputs are further apart than the precision allows.
    """
    if metrics["verdict"] == "fail":
        raise BuildFailed(
            f"{what} has other outputs than the model: {metrics['output']!r} at {metrics['at']}: {metrics['reason']}",
            hint=hint,
        )
    return brief(metrics)


def brief(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a side-car tells of an agreement."""
    return {key: metrics[key] for key in ("output", "at", "rel_l2", "max_abs_err", "cosine", "verdict")}


def check_shapes(outputs: Arrays, shapes: Mapping[str, Sequence[int | str | None]], at: str) -> None:
    """Compare outputs with the shapes that their model declares: a fixed axis that varies was lost.

    Raises:
        BuildFailed: They differ.
    """
    for name, array in outputs.items():
        for place, dim in enumerate(shapes[name]):
            if isinstance(dim, int) and dim != array.shape[place]:
                raise BuildFailed(
                    f"axis {place} of output {name!r} was lost: it says {dim}, and has {array.shape[place]} at {at}"
                )


def _metrics(outputs: Arrays, wanted: Arrays, slug: str, precision: str) -> Iterator[dict[str, Any]]:
    try:
        pairs = match(outputs, wanted)
    except Invalid as error:
        raise BuildFailed(f"at {slug}: {error.message}") from error
    for name, output, reference in pairs:
        yield {"output": name, "at": slug, **compare(output, reference, precision)}


def _slug(sizes: Mapping[str, int]) -> str:
    return " ".join(f"{name} {size}" for name, size in sorted(sizes.items())) or "its only size"


def _size(value: float) -> float:
    return value if np.isfinite(value) else float("inf")
