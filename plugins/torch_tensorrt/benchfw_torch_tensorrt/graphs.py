"""What is given to torch-tensorrt: a model that takes its inputs by place, exported for one shape or with axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from benchfw.errors import BuildFailed
from benchfw.spec import Profile, TensorSpec
from benchfw_torch.reasons import reason
from benchfw_torch.tensors import named_outputs


class ByPlace(nn.Module):
    """A model that takes and returns tensors by place, as compiled graphs do whatever version has made them.

    Args:
        model: The model.
        names: Of its inputs, in order.
        call_with: Makes the model's keyword arguments of inputs by name.
    """

    def __init__(
        self, model: nn.Module, names: Sequence[str], call_with: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    ) -> None:
        super().__init__()
        self.model = model
        self._names = tuple(names)
        self._call_with = call_with

    def named(self, *values: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name."""
        return named_outputs(self.model(**self._call_with(dict(zip(self._names, values)))))

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.named(*values).values())


def ranged_axes(inputs: Sequence[TensorSpec], profile: Profile) -> list[dict[int, str]]:
    """Return the axes of each input that have a range in the profile, by their places."""
    ranged = {name for name, axis in profile.axes.items() if axis.min != axis.max}
    return [
        {place: dim for place, dim in enumerate(spec.shape) if isinstance(dim, str) and dim in ranged}
        for spec in inputs
    ]


def export(
    model: ByPlace, examples: Sequence[Tensor], inputs: Sequence[TensorSpec], profile: Profile
) -> ExportedProgram:
    """Export a model with `torch.export`; axes of the same name stay the same in all inputs.

    torch-tensorrt could export by itself, but gives each axis of each input a name of its own, at least up to 2.12.

    Args:
        model: Its weights lie on the device.
        examples: Inputs at the profile's opt, which becomes the opt of the engines.
        inputs: Their specifications, in the same order.
        profile: Axes with a range become dynamic.

    Raises:
        BuildFailed: The model cannot be exported so; with PyTorch's words.
    """
    axes = ranged_axes(inputs, profile)
    dims = {
        name: Dim(name, min=profile.axes[name].min, max=profile.axes[name].max)
        for name in {name for places in axes for name in places.values()}
    }
    shapes = tuple({place: dims[name] for place, name in places.items()} for places in axes)
    try:
        return torch.export.export(model, tuple(examples), dynamic_shapes=(shapes,) if dims else None)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise BuildFailed(
            f"torch.export: {reason(error)}",
            hint="change the model there; an axis that the model's code depends on needs one size in [shapes]",
        ) from error


def shape_of(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Return the shape of an input for some sizes of its axes."""
    return tuple(sizes[dim] if isinstance(dim, str) else dim for dim in spec.shape)


def trt_inputs(
    make: Callable[..., Any], inputs: Sequence[TensorSpec], examples: Sequence[Tensor], profile: Profile
) -> list[Any]:
    """Return a `torch_tensorrt.Input` for each input.

    Args:
        make: `torch_tensorrt.Input`.
        inputs: The model's inputs.
        examples: Tensors of their dtypes.
        profile: Sizes of their axes.
    """
    made = []
    for spec, example, ranged in zip(inputs, examples, ranged_axes(inputs, profile)):
        shapes = {point: shape_of(spec, profile.sizes(point)) for point in ("min", "opt", "max")}
        given = {f"{point}_shape": shape for point, shape in shapes.items()} if ranged else {"shape": shapes["opt"]}
        made.append(make(dtype=example.dtype, **given))
    return made
