"""`OnnxFromTorch`: torch.onnx.export on the CPU, for one shape or with dynamic axes, compared with the model."""

from __future__ import annotations

import inspect
import time
import traceback
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from benchfw.errors import BuildFailed, Invalid
from benchfw.spec import Artifact, Profile, Step, TensorSpec
from benchfw.spec.onnx_files import float_elements, tensors
from benchfw_torch.compared import compare_graph
from benchfw_torch.denormals import Survey
from benchfw_torch.reasons import reason
from benchfw_torch.samples import points, take_sample
from benchfw_torch.sources import build
from benchfw_torch.tensors import arguments, cast, named_outputs

PROTOBUF_LIMIT = 2_000_000_000
"""Bytes of weights that go into one file: a protobuf message holds 2 GiB."""

_FP16_MAX = 65504.0
_FP16_ZERO = 2.0**-25
"""Numbers of this size and below become 0 in fp16."""

_FEW = 1e-3
"""Share of weights that may become 0 without a warning: random ones lie near 0 now and then."""
_STAYED, _MOST = 0.05, 0.5
"""Shares of an fp16 graph's weights in fp32 that are told of, as of a model that keeps a part in fp32, and refused."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What both exporters need: inputs in the order of `forward`, names of outputs, dynamic axes by input and place."""

    model: nn.Module
    examples: dict[str, Tensor]
    outputs: list[str]
    dynamic: dict[str, dict[int, str]]
    profile: Profile
    opset: int
    destination: Path


class OnnxFromTorch(Step):
    """Options: `benchfw_torch.options.ExportOptions`."""

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, precision: str, destination: Path
    ) -> Mapping[str, Any]:
        begun = time.monotonic()
        model = build(artifact).to("cpu")
        inputs = _in_order(model, inputs)
        self.report("running the model")
        samples = [take_sample(model, inputs, point, sizes) for point, sizes in points(profile).items()]
        half = precision == "fp16" and artifact.precision != "fp16"
        zeros = _zeros_in_half(model) if half else 0
        notes = _half_notes(zeros, model) if half else _left_denormal(artifact)
        keep = bool(self.options["keep_io_types"])
        examples = {name: torch.from_numpy(array.copy()) for name, array in samples[0].inputs.items()}
        if half:
            model = model.half()
            examples = examples if keep else cast(examples, torch.float16)
        job = _Job(
            model=_by_place(model, list(examples), half=half, keep=keep),
            examples=examples,
            outputs=list(samples[0].outputs),
            dynamic=_dynamic(inputs, profile),
            profile=profile,
            opset=self.options["opset"],
            destination=destination,
        )
        self.report("exporting")
        notes += self._export(job)
        self.report("comparing the outputs")
        graph = _checked(job)
        if half:
            notes += _stayed(graph, job.opset, self.options["exporter"])
        result = compare_graph(destination, samples, precision)
        return {
            "exporter": self.options["exporter"],
            "opset": next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx")),
            "nodes": len(graph.graph.node),
            "fp16_zeros": zeros,
            "seconds": round(time.monotonic() - begun, 3),
            "compared_by": result.runtime,
            "errors": result.errors,
            "warnings": [*notes, *result.notes],
        }

    def _export(self, job: _Job) -> list[str]:
        """Write the graph; return what the exporter had to say of it."""
        exporter = self.options["exporter"]
        size = sum(tensor.nbytes for tensor in job.model.state_dict().values())
        external = self.options["external_data"] == "always" or size > PROTOBUF_LIMIT
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                (_export_dynamo if exporter == "dynamo" else _export_torchscript)(job, external)
            except MemoryError:
                raise
            except Exception as error:
                traceback.print_exc()  # the log has the whole report
                raise BuildFailed(
                    f"torch.onnx.export ({exporter}, opset {job.opset}): {reason(error)}",
                    hint="change the model there, or try the other `exporter` in [steps.OnnxFromTorch]; "
                    "the log has the whole report",
                ) from error
        traced = [str(item.message) for item in caught if issubclass(item.category, TracerWarning)]
        return [f"tracing: {text.splitlines()[0]}" for text in dict.fromkeys(traced)]


def _export_dynamo(job: _Job, external: bool) -> None:
    axes = {name for axes in job.dynamic.values() for name in axes.values()}
    dims = {
        name: torch.export.Dim(name, min=axis.min, max=axis.max)
        for name, axis in job.profile.axes.items()
        if name in axes
    }
    shapes = tuple({place: dims[axis] for place, axis in job.dynamic[name].items()} for name in job.examples)
    program = torch.onnx.export(
        job.model,
        tuple(job.examples.values()),
        input_names=list(job.examples),
        output_names=job.outputs,
        opset_version=job.opset,
        dynamic_shapes=(shapes,) if dims else None,
        dynamo=True,
    )
    assert program is not None  # only the older exporter returns none
    # it writes 10 whatever the opset is, which ONNX Runtime 1.17 refuses although it knows every operator
    program.model.ir_version = min(program.model.ir_version, _least_ir_version(program.model.opset_imports))
    program.save(str(job.destination), external_data=external)


def _least_ir_version(opsets: Mapping[str, int]) -> int:
    """Return the version of the format that came with the opset; other domains have none of their own."""
    least: int = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opsets[""])])
    return least


def _export_torchscript(job: _Job, external: bool) -> None:
    torch.onnx.export(
        job.model,
        tuple(job.examples.values()),
        str(job.destination),
        input_names=list(job.examples),
        output_names=job.outputs,
        opset_version=job.opset,
        dynamic_axes={name: axes for name, axes in job.dynamic.items() if axes},
        dynamo=False,
    )
    if external:  # this exporter writes a file per weight, and only if it must
        graph = onnx.load(str(job.destination))
        for path in job.destination.parent.iterdir():
            path.unlink()
        data = f"{job.destination.name}.data"
        onnx.save(graph, str(job.destination), save_as_external_data=True, location=data, size_threshold=0)


def _checked(job: _Job) -> onnx.ModelProto:
    """Return the graph without its weights, after ONNX's checker and a look at its inputs.

    Raises:
        BuildFailed: It is no valid graph, or lacks an input or a dynamic axis.
    """
    path = str(job.destination)
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        raise BuildFailed(f"torch.onnx.export made a graph that the ONNX checker refuses: {error}") from error
    graph = onnx.load(path, load_external_data=False)
    made = {value.name: value.type.tensor_type.shape.dim for value in graph.graph.input}
    for name, axes in job.dynamic.items():
        if name not in made:
            raise BuildFailed(
                f"the graph has no input {name!r}: the model does not use it",
                hint="leave it out of [model.inputs] and of `forward`",
            )
        for place, axis in axes.items():
            if not made[name][place].dim_param:
                raise BuildFailed(
                    f"the axis {axis!r} of {name!r} became {made[name][place].dim_value} for good",
                    hint="the model's code depends on this very size: give the axis one size in [shapes]",
                )
    return graph


def _stayed(graph: onnx.ModelProto, opset: int, exporter: str) -> list[str]:
    """Return a note if a graph goes on in fp32, though its model does not: its row would say fp16.

    The older exporter makes one of a model whose attention has a mask: from the first mask on all is fp32, the weights
    included.

    Raises:
        BuildFailed: Most of it is fp32.
    """
    elements = float_elements(tensors(graph))
    share = elements.get("fp32", 0) / max(1, sum(elements.values()))
    text = f"{share:.0%} of the weights of the fp16 graph are float32, and what they are used in computes in fp32"
    if share > _MOST:
        raise BuildFailed(
            f"torch.onnx.export ({exporter}, opset {opset}): {text}",
            hint="try the other `exporter` in [steps.OnnxFromTorch]; or `benchfw export` it in fp32 and measure that "
            "file, of which HalfOnnx makes fp16",
        )
    return [text] if share > _STAYED else []


def _in_order(model: nn.Module, inputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Return the inputs in the order of forward's parameters: graphs have theirs in this order.

    Raises:
        Invalid: `forward` has no such parameter.
    """
    parameters = inspect.signature(model.forward).parameters
    order = {name: place for place, name in enumerate(parameters)}
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for spec in inputs:
        name = spec.name.partition(".")[0]
        if name not in order and not anything:
            takes = ", ".join(order) or "nothing"
            raise Invalid(
                f"the model has no parameter {name!r}: {type(model).__name__}.forward takes {takes}",
                hint="inputs have the names of parameters; `arg.key` and `arg.0` lead into dicts and tuples",
            )
    return sorted(inputs, key=lambda spec: order.get(spec.name.partition(".")[0], len(order)))


def _by_place(model: nn.Module, names: Sequence[str], *, half: bool, keep: bool) -> nn.Module:
    """Let a model take its inputs by place and return a tuple, as graphs do; weights keep their names.

    Args:
        model: Its `forward` is replaced.
        names: Of the inputs, as `arguments` takes them.
        half: Cast floats to fp16 first.
        keep: Cast floats back to fp32 at the end.
    """
    forward = model.forward

    def by_place(*values: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(names, values, strict=True))
        results = named_outputs(forward(**arguments(cast(given, torch.float16) if half else given)))
        return tuple((cast(results, torch.float32) if half and keep else results).values())

    model.forward = by_place
    return model


def _dynamic(inputs: Iterable[TensorSpec], profile: Profile) -> dict[str, dict[int, str]]:
    """Return the axes of each input that have a range, by their places."""
    ranged = {name for name, axis in profile.axes.items() if axis.min != axis.max}
    return {
        spec.name: {place: dim for place, dim in enumerate(spec.shape) if isinstance(dim, str) and dim in ranged}
        for spec in inputs
    }


def _left_denormal(artifact: Artifact) -> list[str]:
    found = Survey(int(artifact.meta.get("values", 0)), int(artifact.meta.get("denormals", 0)), {})
    return [found.warning] if found.warning else []


def _zeros_in_half(model: nn.Module) -> int:
    """Return how many weights are too small for fp16.

    Raises:
        BuildFailed: One is too large for it.
    """
    zeros = 0
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        sizes = tensor.abs()
        largest = float(sizes.nan_to_num(posinf=0.0).max())  # infinity stays what it is: masks have it
        if largest > _FP16_MAX:
            raise BuildFailed(
                f"{name!r} has values up to {largest:.3g}, fp16 ends at {_FP16_MAX:g}",
                hint="use bf16 or fp32, or scale these weights",
            )
        zeros += int(((sizes <= _FP16_ZERO) & (sizes > 0)).sum())
    return zeros


def _half_notes(zeros: int, model: nn.Module) -> list[str]:
    values = sum(tensor.numel() for tensor in model.state_dict().values() if tensor.is_floating_point())
    return [f"{zeros} of {values} weights are too small for fp16 and become 0"] if zeros > values * _FEW else []
