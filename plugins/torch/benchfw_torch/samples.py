"""What a model makes of seeded inputs, at the points of a profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchfw.errors import BuildFailed
from benchfw.spec import Profile, TensorSpec
from benchfw.spec.values import random_inputs
from benchfw_torch.reasons import reason
from benchfw_torch.tensors import arguments, named_outputs

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Inputs of one point of the profile, and what the model made of them."""

    where: str
    inputs: Arrays
    outputs: Arrays


def points(profile: Profile) -> dict[str, dict[str, int]]:
    """Return the sizes at opt and, if they differ, at min and max."""
    points: dict[str, dict[str, int]] = {}
    for point in ("opt", "min", "max"):
        if profile.sizes(point) not in points.values():
            points[point] = profile.sizes(point)
    return points


def take_sample(model: nn.Module, inputs: Sequence[TensorSpec], point: str, sizes: Mapping[str, int]) -> Sample:
    """Run the model once.

    Raises:
        BuildFailed: It fails on these inputs.
    """
    arrays = random_inputs(inputs, sizes)
    where = f"at {point}" + (f" ({', '.join(f'{axis} {size}' for axis, size in sizes.items())})" if sizes else "")
    try:
        with torch.inference_mode():
            result = model(**arguments({name: torch.from_numpy(array.copy()) for name, array in arrays.items()}))
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise BuildFailed(
            f"the model fails {where} on {shapes}: {reason(error)}", hint="see [model.inputs] and [shapes]"
        ) from error
    return Sample(where=where, inputs=arrays, outputs=_arrays(named_outputs(result)))


def _arrays(outputs: Mapping[str, Tensor]) -> Arrays:
    return {name: tensor.detach().numpy() for name, tensor in outputs.items()}
