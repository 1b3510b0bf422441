"""A model and a backend that compute nothing: what remains is the cost of benchfw itself. Needs numpy alone."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchfw.spec.artifact import Artifact, ModelSource
from benchfw.spec.backend import Backend, Bound
from benchfw.spec.tensors import IoSpec


class NullSource(ModelSource):
    """`null:NAME` is a file with the name in it."""

    def resolve(
        self, target: str, *, root: Path, destination: Path, seed: int, weights: Path | None
    ) -> tuple[Artifact, IoSpec | None]:
        content = f"null model {target}\n".encode()
        digest = hashlib.sha256(content).hexdigest()
        path = destination / f"{digest}.null"
        path.write_bytes(content)
        return Artifact(format="null", path=str(path), sha256=digest), None


class NullBound(Bound):
    """Answers a small array that is another one for other inputs, as the outputs of anything that reads them are."""

    def __init__(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        mark = 0
        for array in inputs.values():
            mark = zlib.crc32(np.ascontiguousarray(array).tobytes(), mark)
        self._output: NDArray[Any] = np.arange(1, 5, dtype=np.float32) + np.float32(mark / 2**32)
        self.launch = lambda: None

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {"output": self._output}


class NullBackend(Backend):
    """Takes any artifact and any inputs."""

    def load(self, artifact: Artifact) -> IoSpec:
        return IoSpec(inputs=(), outputs=())

    def bind(self, slot: int, inputs: Mapping[str, NDArray[Any]]) -> Bound:
        return NullBound(inputs)

    def facts(self) -> Mapping[str, Any]:
        return {"provider_effective": "null", "precision_effective": self.context.precision}
