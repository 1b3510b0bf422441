"""Engines of ONNX models. Imported in workers alone; which TensorRT it is, a subclass says."""

from __future__ import annotations

import importlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from benchfw.errors import BuildFailed, MissingDependency
from benchfw.spec import Artifact, Profile, Step, TensorSpec
from benchfw_tensorrt.header import check_engine
from benchfw_tensorrt.log import BuildLog, Progress, hint_for, listen, monitor
from benchfw_tensorrt.profiles import Shapes, profile_shapes
from benchfw_tensorrt.settings import configure, network_flags

LAYERS = "layers.json"
INSTALL = {
    "tensorrt": "pip install 'benchfw-tensorrt[cu13]', which brings its libraries from NVIDIA's index",
    "tensorrt_rtx": "pip install 'benchfw-tensorrt[rtx]'",
}
"""What installs a TensorRT with its libraries."""

_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
"""numpy's names of TensorRT's types, where they are not the same in small letters."""

_MAX_NODES = 5
_QUOTED = re.compile(r'"([^"]+)"$')
_LAYER = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<type>[^,]*), .*TacticName: (?P<tactic>.*?), ", re.MULTILINE)
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")


class EngineFromOnnx(Step):
    """Builds an engine of an ONNX model, in the precision that the model has.

    A failure of TensorRT is a None, False or -1 and a line in its log, so that every call is looked at.

    Attributes:
        module: Name of the TensorRT that builds.
        distribution: Of its distribution.
    """

    module: ClassVar[str]
    distribution: ClassVar[str]

    def run(
        self, artifact: Artifact, *, inputs: Sequence[TensorSpec], profile: Profile, precision: str, destination: Path
    ) -> Mapping[str, Any]:
        trt = import_tensorrt(self.module)
        log = BuildLog(self.options["log"])
        begun = time.monotonic()
        builder = make_builder(trt, log)
        network = builder.create_network(self.network_flags(trt))
        config = builder.create_builder_config()
        build = Build(trt, log, builder, network, config, precision, inputs, profile)
        settings = self.configure(build)
        parser = _parse(trt, network, log, artifact.path)  # holds the weights until the engine is built
        dims = dict(_input_shapes(network))
        profiles = [profile_shapes(dims, inputs, one) for one in self.profiles(profile)]
        for shapes in profiles:
            _add_profile(builder, config, shapes, log)
        self.arrange(build)
        if hasattr(config, "progress_monitor"):  # TensorRT 8.6.0 has none
            config.progress_monitor = monitor(trt, Progress(self.report))
        parsed = time.monotonic()
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise log.failure(f"{self.module} cannot build the engine")
        del parser
        built = time.monotonic()
        _write(plan, destination)
        return {
            "package": self.distribution,
            "version": trt.__version__,
            "plan_bytes": destination.stat().st_size,
            "profiles": [_as_lists(shapes) for shapes in profiles if shapes],
            **settings,
            "seconds": {"parse": round(parsed - begun, 3), "build": round(built - parsed, 3)},
            "tensors": list(_tensors(trt, network)),
            **self.finish(build, destination),
            "builder_warnings": log.warnings,
            "builder_warnings_total": log.warning_count,
            "warnings": log.important,
        }

    def network_flags(self, trt: Any) -> int:
        """Return how the network is to be made."""
        return network_flags(trt)

    def configure(self, build: Build) -> Mapping[str, Any]:
        """Write options into the configuration, before the model is read; return what the side-car shall tell."""
        return configure(build.trt, build.config, self.options)

    def profiles(self, profile: Profile) -> Sequence[Profile]:
        """Return the ranges that the engine is made for, a profile each."""
        return [profile]

    def arrange(self, build: Build) -> None:
        """Do what needs the network, before it is built."""

    def finish(self, build: Build, path: Path) -> Mapping[str, Any]:
        """Look at the finished engine; return what the side-car shall tell of it."""
        return {}


@dataclass(frozen=True)
class Build:
    """What the parts of one build share: TensorRT's objects, and what is asked for."""

    trt: Any
    log: BuildLog
    builder: Any
    network: Any
    config: Any
    precision: str
    inputs: Sequence[TensorSpec]
    profile: Profile


class RtxEngineFromOnnx(EngineFromOnnx):
    """Options: `benchfw_tensorrt.options.RtxEngineOptions`."""

    module = "tensorrt_rtx"
    distribution = "tensorrt-rtx-cu13"

    def configure(self, build: Build) -> Mapping[str, Any]:
        streams, own = self.options["weight_streaming"], self.options["user_allocation"]
        chosen = False if own is None and streams else own  # weights that stream are allocated as the engine runs
        given = {**self.options, "user_allocation": chosen, "tf32": build.precision == "tf32"}
        return configure(build.trt, build.config, given)

    def finish(self, build: Build, path: Path) -> Mapping[str, Any]:
        check_engine(path, build.trt.__version__)
        return {"strongly_typed": True, "layers": _layers_of_log(build.log.layers, path.with_name(LAYERS))}


def import_tensorrt(module: str) -> Any:
    """Return a TensorRT.

    Raises:
        MissingDependency: It is not there, or a library that it needs.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(f"{module} cannot be imported: {error}", hint=INSTALL[module]) from error


def make_builder(trt: Any, log: BuildLog) -> Any:
    """Return a builder that tells `log` what happens.

    It gets no error recorder: with one that is written in Python, TensorRT-RTX 1.7 ends the process when a network is
    freed (SIGSEGV). Without one the same texts come as errors of the log.

    Raises:
        BuildFailed: TensorRT makes none.
    """
    return _made(trt, trt.Builder, log)


def make_runtime(trt: Any, log: BuildLog) -> Any:
    """Return a runtime that tells `log` what happens.

    Raises:
        BuildFailed: TensorRT makes none.
    """
    return _made(trt, trt.Runtime, log)


def _made(trt: Any, kind: Any, log: BuildLog) -> Any:
    try:
        return kind(listen(trt, log))
    except TypeError as error:  # "factory function returned nullptr"
        hint = f"its libraries are of another version, or damaged: {INSTALL[trt.__name__]}"
        raise log.failure(f"{trt.__name__} makes no {kind.__name__} ({error})", hint=hint) from error


def _parse(trt: Any, network: Any, log: BuildLog, path: str) -> Any:
    """Read an ONNX file, and its external data beside it, into a network; return the parser.

    Raises:
        BuildFailed: With the node, its operator and the parser's words.
    """
    parser = trt.OnnxParser(network, listen(trt, log))
    if parser.parse_from_file(path):
        if not network.num_outputs:  # which is what the parser makes of a file that is no ONNX
            raise BuildFailed(f"{trt.__name__} finds no outputs in {Path(path).name}")
        return parser
    errors = [parser.get_error(place) for place in range(parser.num_errors)]
    if not errors:
        raise log.failure(f"{trt.__name__} cannot parse the model")
    told = list(dict.fromkeys(map(_parser_error, errors)))
    more = f", and {len(told) - _MAX_NODES} more" if len(told) > _MAX_NODES else ""
    text = "; ".join(told[:_MAX_NODES])
    raise BuildFailed(f"{trt.__name__} cannot parse the model: {text}{more}", hint=hint_for(text))


def _parser_error(error: Any) -> str:
    lines = [line for line in error.desc().strip().splitlines() if not line.startswith("Invalid Node - ")]
    line = lines[0] if lines else error.desc().strip()  # after "Invalid Node" follows why it is
    words = _QUOTED.search(line)  # an assertion and what it means
    text = words[1] if words else line
    operator = error.node_operator() if hasattr(error, "node_operator") else ""  # since TensorRT 10
    if not operator:
        return f"node {error.node()}: {text}" if error.node() >= 0 else text
    return f"node {error.node_name() or error.node()!r} ({operator}): {text}"


def _input_shapes(network: Any) -> list[tuple[str, tuple[int, ...]]]:
    found = []
    for place in range(network.num_inputs):
        tensor = network.get_input(place)
        if tensor.is_shape_tensor:
            raise BuildFailed(
                f"the values of input {tensor.name!r} decide shapes, for which no profile can be made",
                hint="make it a constant of the model",
            )
        found.append((tensor.name, tuple(tensor.shape)))
    return found


def _add_profile(builder: Any, config: Any, shapes: Mapping[str, Shapes], log: BuildLog) -> None:
    if not shapes:  # a network without dynamic axes needs none
        return
    profile = builder.create_optimization_profile()
    for name, (low, best, high) in shapes.items():
        profile.set_shape(name, low, best, high)
    if config.add_optimization_profile(profile) < 0:
        raise log.failure(f"no profile can be made of {dict(shapes)}")


def _write(plan: Any, destination: Path) -> None:
    try:
        with destination.open("wb") as file:
            file.write(plan)
    except OSError as error:
        raise BuildFailed(
            f"the engine of {plan.nbytes} bytes cannot be written: {error.strerror}",
            hint="BENCHFW_CACHE names another folder",
        ) from error


def _tensors(trt: Any, network: Any) -> list[dict[str, Any]]:
    inputs = [("input", network.get_input(place)) for place in range(network.num_inputs)]
    outputs = [("output", network.get_output(place)) for place in range(network.num_outputs)]
    return [
        {"name": tensor.name, "mode": mode, "dtype": _dtype(tensor), "shape": list(tensor.shape)}
        for mode, tensor in (*inputs, *outputs)
    ]


def _as_lists(shapes: Mapping[str, Shapes]) -> dict[str, list[list[int]]]:
    return {name: [list(shape) for shape in three] for name, three in shapes.items()}


def _dtype(tensor: Any) -> str:
    return _DTYPES.get(tensor.dtype.name, tensor.dtype.name.lower())


def _layers_of_log(text: str, destination: Path) -> dict[str, Any]:
    """Write the layers that the builder's log lists; the inspector would need an engine that is loaded, and a GPU."""
    lines = text.partition("\n")[2].partition("\n\n")[0].splitlines()
    layers = [
        {**found.groupdict(), "nodes": _NODE.findall(line)}
        for line in lines
        if (found := _LAYER.match(line)) is not None
    ]
    if not layers:
        return {"count": None, "from": "the builder listed none; that takes profiling_verbosity = 'detailed'"}
    destination.write_text(json.dumps(layers, indent=1), encoding="utf-8")
    return {"count": len(layers), "file": destination.name, "from": "the log of the builder"}
