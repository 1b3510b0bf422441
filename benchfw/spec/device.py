"""Names of devices, as scenarios and results have them: `cpu`, `cuda`, `cuda:1`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from benchfw.errors import Unsupported

CPU = "cpu"
CUDA = "cuda"
DEVICE_PATTERN = r"^[a-z]+(:[0-9]+)?$"
"""What names look like."""


class DeviceName(NamedTuple):
    """A device by its kind and its number among those of its kind; `str` writes it with its number.

    Attributes:
        kind: `cpu`, `cuda`, ….
        number: As the kind's own driver counts, from 0; CUDA counts those of `CUDA_VISIBLE_DEVICES`.
    """

    kind: str
    number: int = 0

    @classmethod
    def parse(cls, text: str) -> DeviceName:
        """Return what a name says; without a number it is the first of its kind.

        Raises:
            Unsupported: It is no name of a device.
        """
        if not re.fullmatch(DEVICE_PATTERN, text):
            raise Unsupported(f"{text!r} is no name of a device", hint="they look like cpu, cuda or cuda:1")
        kind, _, number = text.partition(":")
        return cls(kind, int(number or 0))

    def __str__(self) -> str:
        return self.kind if self.kind == CPU else f"{self.kind}:{self.number}"


def cuda_numbers(names: Iterable[str]) -> list[int]:
    """Return the numbers of the CUDA devices among some names, each once, in order."""
    return sorted({name.number for name in map(DeviceName.parse, names) if name.kind == CUDA})
