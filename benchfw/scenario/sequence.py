"""The sequence of sizes of a random-batch case: made once from its seed, shared by all backends."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchfw.spec.tensors import axis_slug

_HASHED_CHUNKS = 64


@dataclass(frozen=True, kw_only=True)
class BatchSequence:
    """An endless sequence, made of chunks that are never cut.

    A chunk is one permutation of the sizes (`permuted`), as many independent draws (`iid`), or the trace.
    Permutations keep the mix exact: with independent draws the mean size alone would vary by about 1 % over a
    thousand launches.

    Attributes:
        axis: The axis that varies.
        sizes: The set of sizes.
        draw: `permuted`, `iid` or `trace`.
        seed: Seed of the order.
        trace: The sequence of `trace`.
    """

    axis: str
    sizes: tuple[int, ...]
    draw: str = "permuted"
    seed: int = 0
    trace: tuple[int, ...] = ()

    def chunk(self, index: int) -> Sequence[int]:
        """Return chunk number `index`, from 0."""
        if self.draw == "trace":
            return self.trace
        random = np.random.default_rng([self.seed, index])
        if self.draw == "iid":
            return [int(size) for size in random.choice(self.sizes, len(self.sizes))]
        return [int(size) for size in random.permutation(self.sizes)]

    @property
    def chunk_length(self) -> int:
        return len(self.trace) if self.draw == "trace" else len(self.sizes)

    @functools.cached_property  # asked once per case
    def sha256(self) -> str:
        """Hash of the first chunks, which tells whether two runs saw the same sequence."""
        chunks = [list(self.chunk(index)) for index in range(_HASHED_CHUNKS)]
        return hashlib.sha256(repr((self.axis, chunks)).encode()).hexdigest()

    @functools.cached_property
    def slug(self) -> str:
        axis = axis_slug(self.axis, f"{min(self.sizes)}-{max(self.sizes)}")
        name = f"random-{axis}-{self.draw}-seed{self.seed}"
        return name if self.draw != "trace" else f"{name}-{self.sha256[:8]}"
