"""Example inputs, and names for what a model returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchfw.errors import Invalid
from benchfw.spec import TensorSpec


def example_inputs(inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Return inputs of these sizes: normal values, and ones for integers, which are valid indices nearly everywhere."""
    example = {}
    for spec in inputs:
        dtype = getattr(torch, spec.dtype)
        shape = spec.concrete(sizes)
        example[spec.name] = (
            torch.randn(shape, dtype=dtype) if dtype.is_floating_point else torch.ones(shape, dtype=dtype)
        )
    return example


def named_outputs(result: Any) -> dict[str, Tensor]:
    """Return the tensors of a model's result: by key, or as `output`, or as `output_0`, `output_1`, …

    Raises:
        Invalid: It returned something that is no tensor.
    """
    if isinstance(result, Tensor):
        return {"output": result}
    if isinstance(result, Mapping):
        named = dict(result)
    elif isinstance(result, list | tuple):
        named = {f"output_{place}": item for place, item in enumerate(result)}
    else:
        named = {"output": result}
    for name, item in named.items():
        if not isinstance(item, Tensor):
            raise Invalid(f"the model's {name} is a {type(item).__name__}, not a tensor")
    return named
