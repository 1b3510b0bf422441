"""`Bf16Onnx`: bf16 weights and arithmetic, by modelopt's AutoCast."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, numpy_helper

from benchfw.errors import BuildFailed, MissingDependency
from benchfw.spec import Artifact, Profile, Step, TensorSpec
from benchfw.spec.onnx_files import graph_precision, nodes, save, tensors
from benchfw_onnxruntime.verify import agreement, require_same

_INSTALL = "pip install 'benchfw-onnxruntime[quant]'"
_HINT = "another precision: a model that does not bear bf16 has fp32, and mostly fp16"


class Bf16Onnx(Step):
    """Has no options. Inputs and outputs stay as they are."""

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, precision: str, destination: Path
    ) -> Mapping[str, Any]:
        self.report("modelopt")
        made = _converted(artifact.path)
        del made.graph.value_info[:]  # types of before
        if graph_precision(made) != "bf16":
            raise BuildFailed(f"modelopt left the weights as they were, in {graph_precision(made)}", hint=_HINT)
        # Nothing on a CPU runs a graph in bf16: what is compared has the rounded weights, and computes in fp32.
        widened = destination.with_name("widened.onnx")
        try:
            save(_widened(made), widened)
            save(made, destination)
            same = agreement(artifact.path, widened, inputs, profile, "bf16", self.report, _HINT)
        finally:
            for file in (widened, widened.with_name(f"{widened.name}.data")):
                file.unlink(missing_ok=True)
        return {
            "tool": "modelopt",
            "casts": sum(node.op_type == "Cast" for node in made.graph.node),
            "agreement": require_same(same, "modelopt's graph in bf16", _HINT),
            "agreement_of": "its weights, computed in fp32",
        }


def _converted(path: str) -> onnx.ModelProto:
    """Return the model in bf16, all of it: no number of an fp32 model is too large for bf16."""
    try:
        from modelopt.onnx import autocast

        made: onnx.ModelProto = autocast.convert_to_mixed_precision(
            onnx_path=path, low_precision_type="bf16", keep_io_types=True, data_max=math.inf, init_max=math.inf
        )
    except MemoryError:
        raise
    except ImportError as error:
        raise MissingDependency(f"bf16 needs nvidia-modelopt: {error}", hint=_INSTALL) from error
    except Exception as error:  # of whatever kind: it does not say
        raise BuildFailed(f"modelopt: {type(error).__name__}: {error}", hint=_HINT) from error
    return made


def _widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that computes in fp32, with the same weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in tensors(copy):
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name))
    for node in nodes(copy):
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == TensorProto.BFLOAT16:
                attribute.i = TensorProto.FLOAT
    return copy
