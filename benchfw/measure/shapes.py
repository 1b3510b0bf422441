"""Whether shapes and dtypes fit: of a case to its model, of what came back to what was announced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchfw.errors import Invalid, Unsupported
from benchfw.spec.accuracy import Outputs
from benchfw.spec.tensors import FIXED_AXIS, TensorSpec


def check_outputs(announced: Sequence[TensorSpec], outputs: Outputs, sizes: Mapping[str, int]) -> None:
    """Compare outputs with what `load` announced; a backend that announces none is compared with the reference alone.

    Raises:
        Invalid: A name, dtype, number of dimensions, or a dimension that is known, differs.
    """
    if not announced:
        return
    if {spec.name for spec in announced} != set(outputs):
        raise Invalid(f"outputs {sorted(outputs)} came back, {sorted(spec.name for spec in announced)} were announced")
    for spec in announced:
        array = outputs[spec.name]
        wanted = [sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.shape]
        fits = len(wanted) == array.ndim and all(
            isinstance(dim, str) or dim == size for dim, size in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            raise Invalid(f"output {spec.name!r} has shape {list(array.shape)}, {wanted} was announced")
        if array.dtype != np.dtype(spec.dtype):
            raise Invalid(f"output {spec.name!r} is {array.dtype}, {spec.dtype} was announced")


def check_fit(spec: TensorSpec, model: TensorSpec | None, sizes: dict[str, int]) -> None:
    """Refuse a shape that the model itself cannot take.

    Raises:
        Unsupported: An axis of the model is fixed to another size.
    """
    if model is None:
        return
    for place, (size, dim) in enumerate(zip(spec.concrete(sizes), model.shape, strict=False)):
        if isinstance(dim, int) and dim != size:
            raise Unsupported(
                f"dimension {place} of input {spec.name!r} is fixed to {dim} in the model, not {size}", hint=FIXED_AXIS
            )
