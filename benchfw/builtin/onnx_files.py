"""ONNX files as models (`onnx:PATH`), and static copies of dynamic ones. Runs in a worker with `onnx` installed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchfw.errors import BadReference, Unsupported
from benchfw.spec.artifact import Artifact, FileFormat, ModelSource, Step
from benchfw.spec.onnx_files import external_files, graph_inputs, graph_precision, load, read, save, tensor_spec
from benchfw.spec.tensors import FIXED_AXIS, IoSpec, Profile, TensorSpec

__all__ = ["FixedBatchOnnx", "OnnxFormat", "OnnxSource", "external_files", "graph_inputs", "graph_precision"]


class OnnxSource(ModelSource):
    """Reads the graph's inputs and outputs; the hash covers external data too."""

    def resolve(
        self, target: str, *, root: Path, destination: Path, seed: int, weights: Path | None
    ) -> tuple[Artifact, IoSpec | None]:
        path = (root / target).resolve()
        if not path.is_file():
            raise BadReference(f"no such model: {path}", hint="paths are relative to the scenario file")
        if weights is not None:
            raise BadReference("an ONNX model carries its weights", hint="remove model.weights from the scenario")
        model = read(path)
        digest = hashlib.sha256()
        for file in (path, *sorted(set(external_files(model, path)))):
            with file.open("rb") as content:
                while part := content.read(1 << 20):
                    digest.update(part)
        outputs = tuple(tensor_spec(value) for value in model.graph.output)
        return (
            Artifact(format="onnx", path=str(path), sha256=digest.hexdigest(), precision=graph_precision(model)),
            IoSpec(inputs=graph_inputs(model), outputs=outputs),
        )


class OnnxFormat(FileFormat):
    """Tells of graphs and weights; copies take external data along."""

    def describe(self, path: Path) -> Mapping[str, Any]:
        from benchfw.builtin.onnx_description import describe

        return describe(path)

    def copy(self, path: Path, destination: Path) -> Mapping[str, Any]:
        from benchfw.builtin.onnx_copies import copy

        return copy(path, destination)


class FixedBatchOnnx(Step):
    """Writes the sizes of a static profile into the axes of the graph's inputs."""

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, precision: str, destination: Path
    ) -> Mapping[str, Any]:
        model = load(Path(artifact.path))
        sizes = profile.sizes("opt")
        declared = {spec.name: spec for spec in inputs}
        by_axis: dict[str, int] = {}  # by the graph's own names, which the scenario need not use
        for value in model.graph.input:
            spec = declared.get(value.name)
            if spec is None:
                continue
            dims = value.type.tensor_type.shape.dim
            if len(dims) != len(spec.shape):
                raise Unsupported(
                    f"input {value.name!r} has {len(dims)} axes, {list(spec.shape)} was asked for",
                    hint="model.inputs of the scenario has to say what the graph takes",
                )
            for place, (dim, size) in enumerate(zip(dims, spec.concrete(sizes), strict=True)):
                if dim.HasField("dim_value") and dim.dim_value != size:
                    raise Unsupported(
                        f"axis {place} of input {value.name!r} is fixed to {dim.dim_value}, {size} was asked for",
                        hint=FIXED_AXIS,
                    )
                if dim.dim_param:
                    by_axis[dim.dim_param] = size
                dim.dim_value = size
        del model.graph.value_info[:]  # shapes of before; the runtimes infer them anew
        for value in model.graph.output:
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param in by_axis:
                    dim.dim_value = by_axis[dim.dim_param]
        save(model, destination)
        return {}
