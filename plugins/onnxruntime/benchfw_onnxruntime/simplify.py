"""`SimplifiedOnnx`: the same graph with fewer nodes, by onnxsim, onnxslim or passes of onnxoptimizer."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

from benchfw.errors import BuildFailed, MissingDependency
from benchfw.spec import Artifact, Profile, Step, TensorSpec
from benchfw.spec.onnx_files import load, save
from benchfw_onnxruntime.verify import agreement, require_same

_HINT = "another `tool` of [steps.SimplifiedOnnx] may do it; without that table the graph stays as it is"


class SimplifiedOnnx(Step):
    """Options: `benchfw_onnxruntime.options.SimplifyOptions`."""

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, precision: str, destination: Path
    ) -> Mapping[str, Any]:
        tool = self.options["tool"]
        before = load(Path(artifact.path))
        nodes, ends = len(before.graph.node), (list(before.graph.input), list(before.graph.output))
        self.report(tool)
        after = self._simplified(before, artifact.path, tool)
        check_axes(ends[0], after.graph.input, "input")
        check_axes(ends[1], after.graph.output, "output", {axis for value in ends[0] for axis in _axes(value)})
        count = len(after.graph.node)
        save(after, destination)
        same = agreement(artifact.path, destination, inputs, profile, artifact.precision, self.report, _HINT)
        return {"nodes": {"before": nodes, "after": count}, "agreement": require_same(same, f"{tool}'s graph", _HINT)}

    def _simplified(self, model: onnx.ModelProto, path: str, tool: str) -> onnx.ModelProto:
        module = tool_module(tool)
        try:
            if tool == "onnxsim":
                simplified, _ = module.simplify(path)  # its own check is left out: outputs are compared below
            elif tool == "onnxslim":
                simplified = module.slim(model)
            else:
                simplified = module.optimize(model, check_passes(self.options["passes"], module.get_available_passes()))
        except (BuildFailed, MemoryError):
            raise
        except Exception as error:  # of three packages, one of them C++
            raise BuildFailed(f"{tool}: {type(error).__name__}: {error}", hint=_HINT) from error
        if not isinstance(simplified, onnx.ModelProto):
            raise BuildFailed(f"{tool} returned no model", hint=_HINT)
        return simplified


def tool_module(name: str) -> ModuleType:
    """Import a package of the extra `optimize`.

    Raises:
        MissingDependency: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = "pip install 'benchfw-onnxruntime[optimize]'"
        raise MissingDependency(f"the step SimplifiedOnnx needs {name}: {error}", hint=hint) from error


def check_passes(wanted: Sequence[str], known: Collection[str]) -> list[str]:
    """Return passes of onnxoptimizer.

    Raises:
        BuildFailed: One is unknown; the message names the nearest.
    """
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            meant = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known))}"
            raise BuildFailed(f"onnxoptimizer has no pass {name!r}; {meant}", hint="`passes` of [steps.SimplifiedOnnx]")
    return list(wanted)


def check_axes(
    before: Sequence[onnx.ValueInfoProto],
    after: Sequence[onnx.ValueInfoProto],
    kind: str,
    named: Collection[str] | None = None,
) -> None:
    """Compare the dynamic axes of inputs or outputs.

    Args:
        before: Of the model.
        after: Of what was made of it.
        kind: `input` or `output`, for the message.
        named: Names of axes that count; None for all, also those without a name.

    Raises:
        BuildFailed: An input or output is not there any more, or a dynamic axis of it is fixed.
    """
    left = {value.name: value for value in after}
    for value in before:
        if value.name not in left:
            raise BuildFailed(f"{kind} {value.name!r} was lost", hint=_HINT)
        dims = left[value.name].type.tensor_type.shape.dim
        for place, dim in enumerate(value.type.tensor_type.shape.dim):
            counts = not dim.HasField("dim_value") and (named is None or dim.dim_param in named)
            if counts and place < len(dims) and dims[place].HasField("dim_value"):
                axis = f"axis {place}" + (f" ({dim.dim_param!r})" if dim.dim_param else "")
                text = f"{axis} of {kind} {value.name!r} was lost: it is fixed to {dims[place].dim_value}"
                raise BuildFailed(text, hint=_HINT)


def _axes(value: onnx.ValueInfoProto) -> set[str]:
    return {dim.dim_param for dim in value.type.tensor_type.shape.dim if dim.dim_param}
