"""Names, dtypes and shapes of a model's inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchfw.errors import Invalid

DTYPES = (
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "bool",
)
"""Element types of inputs and outputs, by their numpy names."""

FIXED_AXIS = (
    "the model takes no other size there: leave it out of the scenario, or export the model with a dynamic axis"
)
"""What to do about a size that a model does not take."""


def axis_slug(axis: str, sizes: str) -> str:
    """Return an axis and its sizes as one word, `batch8`; a dot keeps them apart where the name ends in a digit."""
    return f"{axis}.{sizes}" if axis[-1:].isdigit() else f"{axis}{sizes}"


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: Name in the model's signature or graph.
        dtype: One of `DTYPES`.
        shape: Per dimension an int, or the name of an axis whose size the case decides.
        low: Smallest value that makes sense, where that is known: 0 for token ids.
        high: Bound of the values, exclusive: the size of the vocabulary for token ids.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    low: float | None = None
    high: float | None = None

    def concrete(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the shape with every axis name replaced by its size.

        Raises:
            Invalid: An axis has no size.
        """
        dims = []
        for dim in self.shape:
            if isinstance(dim, str):
                if dim not in sizes:
                    raise Invalid(f"axis {dim!r} of {self.name!r} has no size")
                dim = sizes[dim]
            dims.append(dim)
        return tuple(dims)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TensorSpec:
        return cls(
            name=data["name"],
            dtype=data["dtype"],
            shape=tuple(data["shape"]),
            low=data.get("low"),
            high=data.get("high"),
        )


@dataclass(frozen=True, kw_only=True)
class IoSpec:
    """Inputs and outputs of a model or of a loaded artifact, in their order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> IoSpec:
        return cls(
            inputs=tuple(TensorSpec.from_json(item) for item in data["inputs"]),
            outputs=tuple(TensorSpec.from_json(item) for item in data["outputs"]),
        )


@dataclass(frozen=True, kw_only=True)
class AxisRange:
    """Sizes that an axis may take, and the one to optimise for: `1 <= min <= opt <= max`."""

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise ValueError(f"needs 1 <= min <= opt <= max, got {self.min}, {self.opt}, {self.max}")

    @classmethod
    def fixed(cls, size: int) -> AxisRange:
        return cls(min=size, opt=size, max=size)


@dataclass(frozen=True)
class Profile:
    """The range of every named axis for which an artifact is made.

    A profile is *static* when every range is a single size: the artifact is then specialised to it.
    """

    axes: Mapping[str, AxisRange]

    @property
    def static(self) -> bool:
        return all(axis.min == axis.max for axis in self.axes.values())

    def sizes(self, point: str) -> dict[str, int]:
        """Return the sizes at `point`, one of `min`, `opt`, `max`."""
        return {name: int(getattr(axis, point)) for name, axis in self.axes.items()}

    @property
    def slug(self) -> str:
        """The profile as part of a file name: `batch8` or `batch1-8-16`."""
        parts = []
        for name, axis in sorted(self.axes.items()):
            same = axis.min == axis.max
            parts.append(axis_slug(name, f"{axis.opt}" if same else f"{axis.min}-{axis.opt}-{axis.max}"))
        return "_".join(parts) or "fixed"

    @classmethod
    def fixed(cls, sizes: Mapping[str, int]) -> Profile:
        return cls({name: AxisRange.fixed(size) for name, size in sizes.items()})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        return cls({name: AxisRange(**axis) for name, axis in data["axes"].items()})
