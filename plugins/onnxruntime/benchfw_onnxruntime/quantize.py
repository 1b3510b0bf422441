"""`Int8Onnx`: int8 by QuantizeLinear and DequantizeLinear nodes, calibrated with data."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchfw.errors import BuildFailed, MissingDependency
from benchfw.spec import Artifact, Profile, Step, TensorSpec, samples
from benchfw.spec.onnx_files import LARGEST, load, save, tensors
from benchfw_onnxruntime.half import INSTALL_QUANT, choose_tool
from benchfw_onnxruntime.macs import PRODUCTS, products, shapes_at, share
from benchfw_onnxruntime.verify import agreement, brief

_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
_TENSORRT = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "AddQDQPairToWeight": True,
    "DedicatedQDQPair": True,
}
"""What TensorRT's parser takes: it knows no zero points, no int32 biases, and wants a pair in front of each weight."""
_RANDOM = (
    "calibrated with random inputs, whose ranges are not those of real data: speed is right, accuracy is not; "
    "`calibration` of [steps.Int8Onnx] names a folder of samples"
)


class Int8Onnx(Step):
    """Options: `benchfw_onnxruntime.options.Int8Options`."""

    def reads(self, inputs: Sequence[TensorSpec], profile: Profile) -> Mapping[str, str]:
        return {"calibration": samples.digest(self._samples(inputs, profile))}

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, precision: str, destination: Path
    ) -> Mapping[str, Any]:
        data = self._samples(inputs, profile)
        model = load(Path(artifact.path))
        _name_nodes(model)
        self._check_graph(model)
        ends = onnx.GraphProto(input=model.graph.input, output=model.graph.output)
        with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
            prepared, quantised = Path(folder) / "prepared.onnx", Path(folder) / "quantised.onnx"
            if self.options["tool"] == "modelopt":
                save(model, prepared)
                self._by_modelopt(prepared, quantised, data)
            else:
                self._prepare(model, prepared)
                self._by_onnxruntime(prepared, quantised, data, artifact.sha256)
            result = load(quantised)
            sizes = profile.sizes("opt")
            counts = share(result, shapes_at(prepared, {spec.name: spec.concrete(sizes) for spec in inputs}))
        if not counts["quantised_nodes"]:
            raise BuildFailed(f"nothing was quantised: {self._in_the_way(result)}", hint=_IN_THE_WAY)
        _restore_ends(result, ends)
        save(result, destination)
        same = agreement(artifact.path, destination, inputs, profile, "int8", self.report)
        warnings = [_RANDOM] if self.options["calibration"] is None else []
        if same["verdict"] == "fail":
            warnings.append(f"outputs are far from the model's: {same['output']!r} at {same['at']}: {same['reason']}")
        return {
            "quantised": counts,
            "samples": len(data),
            "nodes": len(result.graph.node),
            "agreement": brief(same),
            "warnings": warnings,
        }

    def _samples(self, inputs: Sequence[TensorSpec], profile: Profile) -> list[samples.Sample]:
        return samples.samples(self.options, self.root, inputs, profile)

    def _check_graph(self, model: onnx.ModelProto) -> None:
        names = {node.name for node in model.graph.node}
        for name in self.options["nodes_to_exclude"]:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1)
                meant = f"; did you mean {near[0]!r}?" if near else ""
                raise BuildFailed(
                    f"the graph has no node {name!r}{meant}", hint="`nodes_to_exclude` of [steps.Int8Onnx]"
                )
        left = [node.name for node in products(model) if node.name not in self.options["nodes_to_exclude"]]
        if not left:
            raise BuildFailed(f"nothing can be quantised: {self._in_the_way(model)}", hint=_IN_THE_WAY)

    def _in_the_way(self, model: onnx.ModelProto) -> str:
        """Say why no product is quantised: which operators there are, which were excluded."""
        counts = Counter(
            node.op_type for node in model.graph.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear")
        )
        operators = ", ".join(f"{name} {count}x" for name, count in counts.most_common())
        excluded = [node.name for node in products(model) if node.name in self.options["nodes_to_exclude"]]
        text = f"the operators are {operators}"
        if excluded:
            return f"{text}; nodes_to_exclude takes all of {', '.join(PRODUCTS)}: {', '.join(excluded)}"
        if any(products(model)):
            return f"{text}; weights in float16, or computed from inputs, are not quantised"
        return f"{text}; int8 is for {', '.join(PRODUCTS)}"

    def _prepare(self, model: onnx.ModelProto, prepared: Path) -> None:
        """Infer shapes and fuse what a runtime would fuse anyhow, so that no pair is put in between."""
        self.report("shapes")
        large = sum(len(tensor.raw_data) for tensor in tensors(model)) > LARGEST
        source = prepared.with_name("source.onnx")
        save(model, source)
        try:
            for skip in (False, True):  # symbolic inference needs sympy, and gives up on some graphs
                try:
                    quant_pre_process(
                        str(source),
                        str(prepared),
                        skip_symbolic_shape=skip,
                        auto_merge=True,
                        save_as_external_data=large,
                        all_tensors_to_one_file=large,
                    )
                    return
                except MemoryError:
                    raise
                except Exception as error:
                    if skip:
                        text = f"onnxruntime's quant_pre_process: {type(error).__name__}: {error}"
                        raise BuildFailed(text) from error
        finally:
            for file in source.parent.glob("source.onnx*"):
                file.unlink()

    def _by_onnxruntime(self, prepared: Path, quantised: Path, data: list[samples.Sample], sha256: str) -> None:
        tensorrt = self.options["recipe"] == "tensorrt"
        types = self.options["op_types"] or (["Conv", "Gemm", "MatMul"] if tensorrt else None)
        ranges, kept = prepared.with_name("ranges.json"), self._kept_ranges(sha256, data, types)
        if kept is not None and kept.is_file():
            shutil.copyfile(kept, ranges)
        found = ranges.exists()
        external = any(prepared.parent.glob("prepared.onnx.data"))
        try:
            quantize_static(
                str(prepared),
                str(quantised),
                _Reader(data, self.report),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=types,
                per_channel=self.options["per_channel"],
                activation_type=QuantType.QInt8 if tensorrt else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(self.options["nodes_to_exclude"]),
                use_external_data_format=external,
                calibrate_method=_METHODS[self.options["method"]],
                extra_options=dict(_TENSORRT) if tensorrt else {},
                calibration_cache_path=str(ranges),
            )
        except MemoryError:
            raise
        except Exception as error:
            raise BuildFailed(f"onnxruntime's quantize_static: {type(error).__name__}: {error}") from error
        if kept is not None and not found and ranges.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            draft = kept.with_suffix(f".{os.getpid()}")
            shutil.copyfile(ranges, draft)
            os.replace(draft, kept)

    def _kept_ranges(self, sha256: str, data: list[samples.Sample], types: list[str] | None) -> Path | None:
        """Return the file of the ranges of activations: they serve all options that do not change them."""
        if self.cache_dir is None:
            return None
        decides = [sha256, samples.digest(data), self.options["method"], types, ort.__version__]
        name = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
        return self.cache_dir / "onnxruntime-ranges" / f"{name}.json"

    def _by_modelopt(self, prepared: Path, quantised: Path, data: list[samples.Sample]) -> None:
        choose_tool("modelopt")
        try:
            from modelopt.onnx.quantization import quantize
        except ImportError as error:  # of what it needs besides
            raise MissingDependency(f"modelopt: {error}", hint=INSTALL_QUANT) from error
        arrays = {name: np.concatenate([sample[name] for sample in data]) for name in data[0]}
        try:
            quantize(
                str(prepared),
                quantize_mode="int8",
                calibration_data=arrays,
                calibration_method="max" if self.options["method"] == "minmax" else self.options["method"],
                calibration_eps=["cpu"],
                high_precision_dtype="fp32",
                nodes_to_exclude=list(self.options["nodes_to_exclude"]) or None,
                output_path=str(quantised),
            )
        except MemoryError:
            raise
        except Exception as error:
            raise BuildFailed(f"modelopt: {type(error).__name__}: {error}") from error
        if not quantised.is_file():
            raise BuildFailed("modelopt wrote no model", hint="the log has its words")


_IN_THE_WAY = f"int8 needs a {', '.join(PRODUCTS[:-1])} or {PRODUCTS[-1]} with float32 weights that is not excluded"


class _Reader(CalibrationDataReader):
    """Feeds samples, and tells how far it is."""

    def __init__(self, data: list[samples.Sample], report: Any) -> None:
        self._data, self._report, self._next = data, report, 0

    def get_next(self) -> samples.Sample | None:
        if self._next >= len(self._data):
            return None
        self._next += 1
        self._report(f"calibration sample {self._next} of {len(self._data)}")
        return self._data[self._next - 1]


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give names to nodes that have none: the quantiser goes by them."""
    taken = {node.name for node in model.graph.node}
    for place, node in enumerate(model.graph.node):
        if not node.name:
            name = f"{node.op_type}_{place}"
            while name in taken:
                name += "_"
            node.name = name
            taken.add(name)


def _restore_ends(model: onnx.ModelProto, ends: onnx.GraphProto) -> None:
    """Give inputs and outputs the axes that they had: preparing may rename or drop them."""
    for values, before in ((model.graph.input, ends.input), (model.graph.output, ends.output)):
        shapes = {value.name: value.type for value in before}
        for value in values:
            if value.name in shapes:
                value.type.CopyFrom(shapes[value.name])
