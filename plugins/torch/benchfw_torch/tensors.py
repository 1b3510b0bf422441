"""Inputs as arguments of `forward`, and names for what a model returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchfw.errors import Invalid
from benchfw.spec import TensorSpec
from benchfw.spec.values import random_inputs

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Dtype of a model's parameters by precision."""


def example_inputs(inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Return inputs of these sizes by name, the same ones at every call."""
    return {name: torch.from_numpy(array) for name, array in random_inputs(inputs, sizes).items()}


def arguments(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of `forward` for some inputs.

    A dot leads into an argument that is a dict or, where what follows are the numbers from 0, a tuple: `ids`,
    `state.h`, `state.c`, `pair.0`, `pair.1` become `ids`, `state = {"h": …, "c": …}`, `pair = (…, …)`.

    Raises:
        Invalid: A name is that of an argument and of what holds others, or numbers are missing.
    """
    flat: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        first, dot, rest = name.partition(".")
        if dot:
            nested.setdefault(first, {})[rest] = tensor
        flat[first] = tensor
    if both := nested.keys() & tensors.keys():
        raise Invalid(f"the input {min(both)!r} cannot be a tensor and hold others")
    return {name: _argument(name, nested[name]) if name in nested else flat[name] for name in flat}


def _argument(name: str, tensors: Mapping[str, Any]) -> dict[str, Any] | tuple[Any, ...]:
    items = arguments(tensors)
    if not any(key.isdecimal() for key in items):
        return items
    places = [str(place) for place in range(len(items))]
    if set(items) != set(places):
        raise Invalid(f"the inputs below {name!r} are {sorted(items)}: a tuple needs the numbers from 0")
    return tuple(items[place] for place in places)


def named_outputs(result: Any) -> dict[str, Tensor]:
    """Return the tensors of a model's result by name, in their order.

    A tensor is called `output`; those of a dict, a dataclass or a named tuple by their keys; those of a tuple
    `output_0`, `output_1`, …; what lies deeper after both, as `state.h`. What is None is left out.

    Raises:
        Invalid: It returned something that is no tensor, or nothing at all.
    """
    if isinstance(result, Tensor):
        return {"output": result}
    plain = isinstance(result, list | tuple) and not hasattr(result, "_fields")
    named = dict(_leaves(result, "output_" if plain else "", "output"))
    if not named:
        raise Invalid("the model returned no tensor")
    return named


def _leaves(item: Any, prefix: str, name: str) -> list[tuple[str, Tensor]]:
    if item is None:
        return []
    if isinstance(item, Tensor):
        return [(name, item)]
    items = _items(item)
    if items is None:
        raise Invalid(
            f"the model's {name} is a {type(item).__name__}, not a tensor",
            hint="return tensors, or a dict, tuple or dataclass of them",
        )
    return [leaf for key, value in items.items() for leaf in _leaves(value, f"{prefix}{key}.", f"{prefix}{key}")]


def _items(item: Any) -> dict[str, Any] | None:
    """Return what a container holds, None for anything else."""
    if isinstance(item, Mapping):
        return {str(key): value for key, value in item.items()}
    if isinstance(item, list | tuple):
        keys = getattr(item, "_fields", None) or range(len(item))
        return {str(key): value for key, value in zip(keys, item, strict=True)}
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    return None


def cast(values: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return tensors with those of them that are floats in `dtype`."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in values.items()}


class Cast(nn.Module):
    """A model in half precision whose inputs and outputs are not: both casts are part of the inference.

    Takes the inputs by name, as `arguments` does, and returns the outputs by name, floats as float32.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model.to(dtype)
        self.dtype = dtype

    def forward(self, **tensors: Tensor) -> dict[str, Tensor]:
        return cast(named_outputs(self.model(**arguments(cast(tensors, self.dtype)))), torch.float32)
