"""`HalfOnnx`: fp16 weights and arithmetic, by modelopt's AutoCast or by ONNX Runtime's converter."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from benchfw.errors import BuildFailed, MissingDependency
from benchfw.spec import Artifact, Profile, Step, TensorSpec
from benchfw.spec.onnx_files import LARGEST, graph_precision, load, save, tensors
from benchfw_onnxruntime.verify import agreement, require_same
from benchfw_onnxruntime.weights import float_weights, fp16_counts, fp16_warnings

INSTALL_QUANT = "pip install 'benchfw-onnxruntime[quant]', or tool = \"onnxruntime\""
_HINT = "a model that comes from PyTorch can be exported in fp16: `python:` or `builtin:` as model.ref"


class HalfOnnx(Step):
    """Options: `benchfw_onnxruntime.options.HalfOptions`."""

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, precision: str, destination: Path
    ) -> Mapping[str, Any]:
        model = load(Path(artifact.path))
        counts = {"zeroed": 0, "subnormal": 0, "above": 0}
        for _, array in float_weights(model):
            counts = {key: counts[key] + value for key, value in fp16_counts(array).items()}
        tool = choose_tool(self.options["tool"])
        keep = self.options["io"] == "fp32"
        self.report(tool)
        try:
            half = _by_modelopt(artifact.path, keep) if tool == "modelopt" else _by_onnxruntime(model, keep)
        except MemoryError:
            raise
        except ImportError as error:
            raise MissingDependency(f"{tool}: {error}", hint=INSTALL_QUANT) from error
        except Exception as error:  # of whatever kind: neither says
            raise BuildFailed(f"{tool}: {type(error).__name__}: {error}", hint=_HINT) from error
        del half.graph.value_info[:]  # types of before; runtimes infer them, and refuse or misuse wrong ones
        if graph_precision(half) != "fp16":
            raise BuildFailed(f"{tool} left the weights as they were, in {graph_precision(half)}", hint=_HINT)
        _drop_doubles(half)
        casts = sum(node.op_type == "Cast" for node in half.graph.node)
        save(half, destination)
        same = agreement(artifact.path, destination, inputs, profile, "fp16", self.report, _HINT)
        return {
            "tool": tool,
            "casts": casts,
            "fp16": counts,
            "warnings": fp16_warnings(counts),
            "agreement": require_same(same, f"{tool}'s graph in fp16", _HINT),
        }


def choose_tool(wanted: str) -> str:
    """Return `modelopt` where it is installed, or asked for, else `onnxruntime`.

    Raises:
        MissingDependency: modelopt is asked for and not installed.
    """
    installed = importlib.util.find_spec("modelopt") is not None
    if wanted == "modelopt" and not installed:
        raise MissingDependency(
            'tool = "modelopt" needs nvidia-modelopt, which is not installed',
            hint=INSTALL_QUANT,
        )
    return "modelopt" if installed and wanted != "onnxruntime" else "onnxruntime"


def _by_modelopt(path: str, keep_io_types: bool) -> onnx.ModelProto:
    from modelopt.onnx import autocast

    converted: onnx.ModelProto = autocast.convert_to_mixed_precision(
        onnx_path=path, low_precision_type="fp16", keep_io_types=keep_io_types
    )
    return converted


def _by_onnxruntime(model: onnx.ModelProto, keep_io_types: bool) -> onnx.ModelProto:
    large = sum(len(tensor.raw_data) for tensor in tensors(model)) > LARGEST  # shape inference takes one message
    converted: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=keep_io_types, disable_shape_infer=large)
    return converted


def _drop_doubles(model: onnx.ModelProto) -> None:
    """Keep one of several casts of one tensor: ONNX Runtime's converter makes one per reader, all of the same name."""
    nodes, made = [], set[str]()
    for node in model.graph.node:
        if node.op_type == "Cast" and node.output[0] in made:
            continue
        made.update(node.output)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
