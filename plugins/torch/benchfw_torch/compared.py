"""Outputs of a graph beside those of the model that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch

from benchfw.errors import BuildFailed, Invalid
from benchfw.spec.accuracy import compare, match
from benchfw_torch.samples import Arrays, Sample

_REFERENCE_BYTES = 4 << 20
"""Size of a file that ONNX's own evaluator, which is made of numpy and slow, can be asked to run."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a comparison.

    Attributes:
        runtime: What ran the graph, with its version; None if nothing could.
        errors: The largest error of each output over all samples, with the sample.
        notes: Sentences for the user.
    """

    runtime: str | None = None
    errors: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _CannotRun(Exception):
    """There is nothing here that runs the graph."""


def compare_graph(path: Path, samples: Sequence[Sample], precision: str) -> Result:
    """Run a graph on the samples, by ONNX Runtime or else by ONNX's evaluator.

    Raises:
        BuildFailed: An output is not the model's, or the graph cannot be run although it should.
    """
    try:
        runtime, run = _onnxruntime(path)
    except _CannotRun as first:
        try:
            runtime, run = _evaluator(path)
        except _CannotRun as second:
            return Result(notes=[f"its outputs were not compared with the model's: {first}; {second}"])
    errors: dict[str, dict[str, Any]] = {}
    for sample in samples:
        try:
            outputs = run(sample.inputs)
        except _CannotRun as error:
            return Result(notes=[f"its outputs were not compared with the model's: {error}"])
        except MemoryError:
            raise
        except Exception as error:
            raise BuildFailed(
                f"the exported graph fails {sample.where}: {_line(error)}",
                hint="the exporter took a size for a constant: a smaller range in [shapes], or the other `exporter`",
            ) from error
        for name, metrics in _compare(outputs, sample, precision).items():
            if name not in errors or metrics["rel_l2"] > errors[name]["rel_l2"]:
                errors[name] = metrics
    return Result(runtime=runtime, errors=errors)


def _compare(outputs: Arrays, sample: Sample, precision: str) -> dict[str, dict[str, Any]]:
    errors = {}
    try:
        pairs = match(outputs, sample.outputs)
    except Invalid as error:
        raise BuildFailed(f"the exported graph is not the model, {sample.where}: {error.message}") from error
    for name, output, wanted in pairs:
        metrics = compare(output, wanted, precision)
        if metrics["verdict"] == "fail":
            raise BuildFailed(
                f"output {name!r} of the exported graph is not the model's, {sample.where}: {metrics['reason']}",
                hint="the model depends on its inputs in a way that the export lost: try the other `exporter`"
                if precision == "fp32"
                else f"the model does not bear {precision}: use bf16 or fp32",
            )
        errors[name] = {key: metrics[key] for key in ("max_abs_err", "rel_l2")} | {"where": sample.where}
    return errors


def _onnxruntime(path: Path) -> tuple[str, Callable[[Arrays], Arrays]]:
    try:
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as states
    except ImportError as error:
        raise _CannotRun(f"onnxruntime cannot be imported ({error})") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except states.NotImplemented as error:
        raise _CannotRun(f"onnxruntime: {_line(error)}") from error
    except MemoryError:
        raise
    except Exception as error:
        if "opset" in str(error).lower():  # a version later than it knows
            raise _CannotRun(f"onnxruntime: {_line(error)}") from error
        raise BuildFailed(f"onnxruntime does not load the exported graph: {_line(error)}") from error
    names = [value.name for value in session.get_outputs()]
    halves = {value.name for value in session.get_inputs() if value.type == "tensor(float16)"}

    def run(inputs: Arrays) -> Arrays:
        feed = {name: array.astype("float16") if name in halves else array for name, array in inputs.items()}
        return dict(zip(names, session.run(names, feed), strict=True))

    return f"onnxruntime {ort.__version__}", run


def _evaluator(path: Path) -> tuple[str, Callable[[Arrays], Arrays]]:
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    if size > _REFERENCE_BYTES:
        raise _CannotRun(f"{size >> 20} MiB are too much for onnx.reference")
    from onnx.reference import ReferenceEvaluator

    try:
        evaluator = ReferenceEvaluator(onnx.load(str(path)))
    except Exception as error:  # an operator that it does not have, in many words
        raise _CannotRun(f"onnx.reference: {_line(error)}") from error
    halves = {
        value.name
        for value in onnx.load(str(path), load_external_data=False).graph.input
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    }

    def run(inputs: Arrays) -> Arrays:
        feed = {name: array.astype("float16") if name in halves else array for name, array in inputs.items()}
        try:
            return dict(zip(evaluator.output_names, evaluator.run(None, feed), strict=True))
        except Exception as error:  # of operators that it has in part
            raise _CannotRun(f"onnx.reference: {_line(error)}") from error

    return f"onnx.reference {onnx.__version__}", run


def _line(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"
