"""Random values for inputs: the same rules for what is measured and for what steps compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.spec.tensors import TensorSpec


def random_values(spec: TensorSpec, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[Any]:
    """Draw the values of one input.

    Floats are normal(0, 1), or uniform in [low, high) where the input has bounds; integers are uniform in [low, high),
    0 or 1 without bounds.

    Args:
        spec: The input.
        shape: Its sizes.
        random: Where the values come from.

    Returns:
        An array of `spec.dtype`.
    """
    dtype = np.dtype(spec.dtype)
    low, high = spec.low if spec.low is not None else 0, spec.high
    if spec.dtype == "bool":
        values: NDArray[Any] = random.integers(0, 2, shape)
    elif spec.dtype.startswith(("int", "uint")):
        values = random.integers(int(low), int(high if high is not None else 2), shape, dtype=dtype)
    elif high is None:
        values = random.standard_normal(shape, np.float32)
    else:
        values = random.uniform(low, high, shape)
    return np.asarray(values, dtype)


def random_inputs(inputs: Sequence[TensorSpec], sizes: Mapping[str, int], seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return an array per input, by name, for these sizes; the same for the same seed.

    Raises:
        Invalid: An axis has no size.
    """
    return {
        spec.name: random_values(spec, spec.concrete(sizes), np.random.default_rng([seed, place]))
        for place, spec in enumerate(inputs)
    }
