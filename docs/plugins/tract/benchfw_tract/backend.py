"""The backend. Imported in workers alone: the standard library, numpy, tract, `benchfw.spec`, `benchfw.errors`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tract
from benchfw.errors import BuildFailed, Invalid
from benchfw.spec import Artifact, Backend, Bound, IoSpec, TensorSpec
from benchfw.spec.backend import check_inputs
from numpy.typing import NDArray

_DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64", "I8": "int8", "I32": "int32", "I64": "int64"}


class TractBound(Bound):
    """Inputs as tensors of tract; it allocates the outputs itself at every inference."""

    def __init__(self, run: Callable[[list[Any]], list[Any]], names: list[str], tensors: list[Any]) -> None:
        self._names = names
        self._result: list[list[Any]] = [[]]
        result = self._result

        def launch() -> None:  # the timed call; it must not know `self`, or the slot is never freed
            result[0] = run(tensors)

        self.launch = launch

    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return {name: tensor.to_numpy() for name, tensor in zip(self._names, self._result[0], strict=True)}


class Tract(Backend):
    """`tract`. Options: `benchfw_tract.options.TractOptions`."""

    _runnable: Any = None
    _io: IoSpec | None = None

    def load(self, artifact: Artifact) -> IoSpec:
        try:
            graph = tract.onnx().load(artifact.path)
            inputs = [graph.input_name(i) for i in range(graph.input_count())]
            outputs = [graph.output_name(i) for i in range(graph.output_count())]
            model = graph.into_model()
            self._io = IoSpec(
                inputs=tuple(map(_spec, inputs, model.input_facts())),
                outputs=tuple(map(_spec, outputs, model.output_facts())),
            )
            self._runnable = model.into_runnable()
        except tract.TractError as error:
            raise BuildFailed(f"tract: {str(error).partition('Stack backtrace')[0].strip()}") from error
        return self._io

    def bind(self, slot: int, inputs: Mapping[str, NDArray[Any]]) -> Bound:
        if self._runnable is None or self._io is None:
            raise Invalid("bind before load")
        check_inputs(self._io, inputs)
        tensors = [tract.Tensor.from_numpy(np.array(inputs[spec.name])) for spec in self._io.inputs]  # a copy
        run = self._runnable.spawn_state().run if self.options["reuse_state"] else self._runnable.run
        return TractBound(run, [spec.name for spec in self._io.outputs], tensors)

    def facts(self) -> Mapping[str, Any]:
        facts = {"provider_effective": "tract", "precision_effective": "fp32", "threads_effective": 1}
        return {**facts, "library": tract.version()}

    def close(self) -> None:
        self._runnable = None


def _spec(name: str, fact: Any) -> TensorSpec:
    kind = tract.DatumType(fact.datum_type()).name
    if kind not in _DTYPES:
        raise BuildFailed(f"tract: {name!r} is of {kind}, which benchfw does not know")
    dims = [str(dim) for dim in fact.dims()]
    return TensorSpec(name=name, dtype=_DTYPES[kind], shape=tuple(int(dim) if dim.isdecimal() else dim for dim in dims))
