"""From the profile of a case to the shapes that a builder optimises for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchfw.errors import BuildFailed, Invalid
from benchfw.spec import Profile, TensorSpec

DYNAMIC = -1
"""What TensorRT calls an axis without a size."""

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def profile_shapes(
    network: Mapping[str, Sequence[int]], inputs: Sequence[TensorSpec], profile: Profile
) -> dict[str, Shapes]:
    """Return the shapes at min, opt and max of every input of a network that has a dynamic axis.

    Args:
        network: Shape of each input as the parser read it, -1 for a dynamic axis.
        inputs: The inputs as the case declares them.
        profile: Sizes of the axes that these name.

    Raises:
        BuildFailed: An input is not declared, has another number of axes or another fixed size, or an axis has no
            size.
    """
    declared = {spec.name: spec for spec in inputs}
    shapes = {}
    for name, dims in network.items():
        spec = declared.get(name)
        if spec is None:
            if DYNAMIC in dims:
                raise BuildFailed(f"input {name!r} of the model has axes without a size and is not declared")
            continue
        shape = _at_three_points(spec, profile)
        _compare(name, dims, shape)
        if DYNAMIC in dims:
            shapes[name] = shape
    return shapes


def _at_three_points(spec: TensorSpec, profile: Profile) -> Shapes:
    try:
        low, best, high = (spec.concrete(profile.sizes(point)) for point in ("min", "opt", "max"))
    except Invalid as error:
        raise BuildFailed(f"no profile can be made: {error.message}", hint="give it min, opt and max") from error
    return low, best, high


def _compare(name: str, dims: Sequence[int], shapes: Shapes) -> None:
    """Hold declared shapes against those of the model."""
    for shape in shapes:
        if len(shape) != len(dims):
            raise BuildFailed(f"input {name!r} has {len(dims)} axes in the model, {len(shape)} are declared")
        for place, (dim, size) in enumerate(zip(dims, shape)):
            if dim not in (DYNAMIC, size):
                raise BuildFailed(
                    f"axis {place} of input {name!r} is fixed to {dim} in the model, {size} was asked for",
                    hint="ask for that size, or export the model with a dynamic axis",
                )
