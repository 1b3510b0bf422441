"""What the plugin uses of TensorRT, held against the real bindings of 10.16.1 and 11.4.0, and against TensorRT-RTX.

What the plugin does with a TensorRT is tested on one that is made up (tests/unit/tensorrt). Here that one is held
against the real ones, and what needs no library runs on them.
"""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import benchfw_tensorrt
from benchfw.cli import cli
from benchfw.errors import BuildFailed
from benchfw.executors import arm
from benchfw_tensorrt.settings import _ATTRIBUTES, _BUILDER_FLAGS, _FLAGS
from tests.contract.bindings import describe as describing
from tests.contract.bindings.stubs import compiler, install, make_libraries, pins
from tests.unit import fake_cuda_modules
from tests.unit.fake_cudart import FakeCuda
from tests.unit.tensorrt import fake_tensorrt as fake

REPOSITORY = Path(__file__).parents[2]
MODEL = REPOSITORY / "scenarios" / "models" / "mlp.onnx"
PLUGIN = Path(str(benchfw_tensorrt.__file__)).parent
CLASSES = {
    "Builder": fake.Builder,
    "IBuilderConfig": fake.Config,
    "ICudaEngine": fake.Engine,
    "IExecutionContext": fake.Context,
    "IHostMemory": fake.Plan,
    "INetworkDefinition": fake.Network,
    "IOptimizationProfile": fake.OptimizationProfile,
    "ITensor": fake.Tensor,
    "ITimingCache": fake.TimingCacheObject,
    "OnnxParser": fake.Parser,
    "Runtime": fake.Runtime,
}
OF_RTX = {"IRuntimeCache": fake.RuntimeCacheObject, "IRuntimeConfig": fake.RuntimeConfig}
OVERRIDDEN = {
    "ILogger": {"log": 2},
    "IProfiler": {"report_layer_time": 2},
    "IProgressMonitor": {"phase_start": 3, "step_complete": 2, "phase_finish": 1},
}
"""What subclasses of the plugin override, and with how many arguments it is called."""

CALIBRATORS = ("IInt8EntropyCalibrator2", "IInt8MinMaxCalibrator")
ALSO = {
    "EngineInspector": ("get_layer_information",),
    "IBuilderConfig": ("profiling_verbosity",),
    "ICudaEngine": ("weight_streaming_budget_v2",),
    "OnnxParser": ("get_error",),
    "ParserError": ("desc", "node", "node_operator"),
}
"""What the plugin uses and no made-up class has."""

OWN = {
    "ICudaEngine": {"profiles", "trt"},
    "IExecutionContext": {"shapes"},
    "INetworkDefinition": {"inputs", "outputs"},
    "IOptimizationProfile": {"shapes"},
}
"""What made-up classes keep for themselves under a name that the plugin uses of something else."""

NAMES = [*CLASSES, *OF_RTX, *OVERRIDDEN, *CALIBRATORS, "EngineInspector", "ParserError"]


class Real:
    """A TensorRT that can be imported, and what `describe.py` tells of it."""

    def __init__(self, module: str, environ: Mapping[str, str]) -> None:
        self.environ = {**os.environ, **environ}
        self.module = module
        told = json.loads(self.python(str(describing.__file__), module, *NAMES))
        self.version, self.enums, self.classes = told["version"], told["enums"], told["classes"]

    @property
    def features(self) -> str:
        """Where `FEATURES` of the made-up ones has this version."""
        return fake.RTX if self.module == "tensorrt_rtx" else str(self.version).rpartition(".")[0]

    @cached_property
    def probed(self) -> dict[str, Any]:
        """What the plugin's own functions find in it."""
        found: dict[str, Any] = json.loads(self.python("-c", PROBES))
        return found

    def python(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Return what a script prints on an interpreter that can import it."""
        run = subprocess.run(
            [sys.executable, *arguments],
            env={**self.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout


@pytest.fixture(scope="module", params=[*pins(), fake.RTX])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Real:
    """TensorRT's real bindings over stubs, or TensorRT-RTX as it is installed."""
    if request.param == fake.RTX:
        pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'benchfw-tensorrt[rtx]'")
        return Real("tensorrt_rtx", {})
    compiler()
    folder = tmp_path_factory.mktemp("bindings")
    install(pins()[request.param], folder)
    libraries = make_libraries(request.param.partition(".")[0], folder / "libraries")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return Real("tensorrt", {"LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": path})


def attributes_of_the_plugin() -> set[str]:
    """Return every name after a dot in the plugin's sources, and those that it looks for by `hasattr` or `getattr`."""
    found: set[str] = set(_ATTRIBUTES.values())
    for file in PLUGIN.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("hasattr", "getattr"):
                found |= {str(item.value) for item in node.args[1:2] if isinstance(item, ast.Constant)}
    return found


def made_up(version: str) -> dict[str, Any]:
    """Return an object of each made-up class, in what is made up of a version."""
    trt = fake.FakeTensorrt(version, FakeCuda())
    rtx = version == fake.RTX
    logger = SimpleNamespace(log=print)
    engine = fake.Engine(trt, {"tensors": [], "profiles": []}, logger)
    return {
        "Builder": trt.Builder(logger),
        "IBuilderConfig": fake.Config(trt, logger),
        "ICudaEngine": engine,
        "IExecutionContext": fake.Context(engine),
        "IHostMemory": fake.Plan(),
        "INetworkDefinition": fake.Network(0),
        "IOptimizationProfile": fake.OptimizationProfile(),
        "ITensor": fake.Tensor(trt, "x", "FLOAT", ()),
        "ITimingCache": fake.TimingCacheObject(b""),
        "OnnxParser": fake.Parser(trt, fake.Network(0)),
        "Runtime": trt.Runtime(logger),
        **({"IRuntimeCache": fake.RuntimeCacheObject(), "IRuntimeConfig": fake.RuntimeConfig(trt)} if rtx else {}),
    }


def used(version: str) -> Iterator[tuple[str, str, Any]]:
    """Yield what the made-up classes of a version have that the plugin uses: class, attribute, value."""
    known = attributes_of_the_plugin()
    for name, item in made_up(version).items():
        for attribute in sorted(set(dir(item)) & known - OWN.get(name, set())):
            if not (attribute.startswith("_") or hasattr(bytes, attribute)):
                yield name, attribute, getattr(item, attribute)


def arguments(docstring: str) -> list[tuple[int, int]]:
    """Return how many arguments a method takes, at least and at most, for each overload that its docstring lists."""
    lines = re.findall(r"^(?:\d+\. )?\w+\((self: .*)\) -> ", docstring, re.MULTILINE)
    found = []
    for line in lines:
        flat = line
        while (shorter := re.sub(r"\[[^][]*\]|<[^<>]*>|\([^()]*\)", "", flat)) != flat:
            flat = shorter
        given = flat.split(", ")[1:]
        found.append((sum(" = " not in one for one in given), len(given)))
    return found


def test_what_the_made_up_version_has_the_real_one_has(real: Real) -> None:
    seen = list(used(real.features))
    assert {name for name, _, _ in seen} == {*CLASSES, *(OF_RTX if real.features == fake.RTX else ())}
    missing = [f"{name}.{attribute}" for name, attribute, _ in seen if attribute not in real.classes[name]]
    missing += [f"{name}.{each}" for name, given in ALSO.items() for each in given if each not in real.classes[name]]
    assert missing == []
    assert {"execute_async_v3", "set_tensor_address", "set_device_memory"} <= {attribute for _, attribute, _ in seen}


def test_methods_take_what_they_are_given(real: Real) -> None:
    """A made-up method has the parameters that the plugin gives; a real one must take as many."""
    looked_at = 0
    for name, attribute, value in used(real.features):
        if callable(value):
            given = len(inspect.signature(value).parameters)
            takes = arguments(real.classes[name][attribute])
            assert any(least <= given <= most for least, most in takes), f"{name}.{attribute}: {given}, {takes}"
            looked_at += 1
    assert looked_at > 30


def test_what_subclasses_override_is_there(real: Real) -> None:
    for name, methods in OVERRIDDEN.items():
        for method, count in methods.items():
            assert arguments(real.classes[name][method]) == [(count, count)], f"{name}.{method}"


def test_feature_lists_of_the_made_up_version(real: Real) -> None:
    """What one version has and another lacks is asked for by name: lists must be right in both directions."""
    features = fake.FEATURES[real.features]
    looked_for = {
        "BuilderFlag": {*_BUILDER_FLAGS.values(), *_FLAGS.values()},
        "NetworkDefinitionCreationFlag": {"EXPLICIT_BATCH", "STRONGLY_TYPED"},
        "TacticSource": set(fake._CUBLAS + fake._EDGE),
        "HardwareCompatibilityLevel": {"NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"},
        "PreviewFeature": {"PROFILE_SHARING_0806"},
        "ExecutionContextAllocationStrategy": {"USER_MANAGED"},
    }
    if real.features == fake.RTX:
        looked_for |= {
            name: set(features[name])
            for name in ("DynamicShapesKernelSpecializationStrategy", "CudaGraphStrategy", "EngineValidity")
        }
    for enum, names in looked_for.items():
        assert names & set(real.enums[enum]) == names & set(features[enum]), enum
        assert set(features[enum]) <= set(real.enums[enum]), enum
    assert set(features["types"]) <= set(real.enums["DataType"])
    assert all((name in real.classes) == features["calibrates"] for name in CALIBRATORS)
    for enum, names in {
        "ProfilingVerbosity": {"NONE", "LAYER_NAMES_ONLY", "DETAILED"},
        "MemoryPoolType": {"WORKSPACE"},
        "TensorIOMode": {"INPUT", "OUTPUT"},
        "TensorFormat": {"LINEAR"},
        "LayerInformationFormat": {"JSON"},
    }.items():
        assert names <= set(real.enums[enum]), enum


PROBES = """
import json
import tensorrt as trt
from benchfw.errors import BuildFailed, Unsupported
from benchfw_tensorrt.log import BuildLog, Progress, listen, monitor
from benchfw_tensorrt.settings import _set_sources, allow_precisions, network_flags, set_formats, strongly_typed
from benchfw_tensorrt.timeline import Timeline

def refused(function, *arguments, **named):
    try:
        function(*arguments, **named)
    except (BuildFailed, Unsupported) as error:
        return error.message
    return ""

class Config:
    flags, sources = [], -1
    set_flag = lambda self, flag: self.flags.append(flag.name)
    set_tactic_sources = lambda self, sources: setattr(self, "sources", sources)
    get_tactic_sources = lambda self: self.sources

class Tensor:
    name, dtype, allowed_formats = "x", trt.DataType.FLOAT, 0

found, config, tensor = {}, Config(), Tensor()
for weak in (False, True):
    flags = network_flags(trt, weak=weak)
    found["weak" if weak else "typed"] = [flags, strongly_typed(trt, flags)]
found["flags"] = {name: refused(allow_precisions, trt, config, [name]) for name in ("fp32", "fp16", "bf16", "int8")}
found["set"] = config.flags
found["cudnn"] = refused(_set_sources, trt, config, ["cudnn"])
found["sources"] = _set_sources(trt, config, ["jit-convolutions", "edge-mask-convolutions"])
found["formats"] = refused(set_formats, trt, [tensor], {"x": "fp16:chw"}, typed=False)
found["tensor"] = [tensor.dtype.name, tensor.allowed_formats == 1 << int(trt.TensorFormat.LINEAR)]

log = BuildLog()
logger = listen(trt, log)
logger.log(trt.ILogger.Severity.ERROR, "one")
logger.log(trt.ILogger.Severity.WARNING, "two")
found["log"] = [log.failure("f").message, log.warnings]
told = []
watcher = monitor(trt, Progress(told.append))
watcher.phase_start("build", None, 2)
found["progress"] = [watcher.step_complete("build", 0), told]
timeline = Timeline(trt)
timeline.profiler.report_layer_time("layer", 0.5)
found["layers"] = timeline.rounds(1)
print(json.dumps(found))
"""


@pytest.mark.parametrize("real", pins(), indirect=True)
def test_features_are_found_on_the_real_bindings(real: Real) -> None:
    found = real.probed
    weak = real.version.startswith("10.")
    assert found["typed"] == ([0b11, True] if weak else [0, True])
    assert found["weak"] == ([0b1, False] if weak else [0, True])
    refused = "" if weak else f"tensorrt {real.version} has no BuilderFlag.{{}}, which {{}} needs"
    names = {"fp16": "FP16", "bf16": "BF16", "int8": "INT8"}
    assert found["flags"] == {"fp32": "", **{key: refused.format(flag, key) for key, flag in names.items()}}
    assert found["set"] == (["FP16", "BF16", "INT8"] if weak else [])
    cudnn = f"option tactic_sources: tensorrt {real.version} has no TacticSource.CUDNN"
    assert found["cudnn"] == ("" if weak else cudnn)
    assert found["sources"] == ["EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"]
    assert (found["formats"], found["tensor"]) == ("", ["HALF", True])


@pytest.mark.parametrize("real", pins(), indirect=True)
def test_subclasses_in_python_work_on_the_real_bindings(real: Real) -> None:
    found = real.probed
    assert found["log"] == ["f: one", ["two"]]
    assert found["progress"] == [True, ["build, 0 %"]]
    assert found["layers"] == [[["layer", 0.5]]]


# --- a TensorRT whose libraries answer nothing ----------------------------------------------------------------------


NULLPTR = "pybind11::init(): factory function returned nullptr"
SCENARIO = """
name = "broken"
[model]
ref = "onnx:mlp.onnx"
[model.inputs.features]
shape = ["batch", 64]
[shapes]
batch = {{ min = 1, opt = 1, max = 1 }}
[[sweep]]
kind = "fixed"
[[backend]]
use = "trt-static"
environment = "stubs"
[[backend]]
use = "trt-dynamic"
environment = "none"
[environments.stubs]
python = {python}
env = {{ PYTHONPATH = {path}, LD_LIBRARY_PATH = {libraries} }}
[environments.none]
python = {python}
env = {{ PYTHONPATH = {path}, LD_LIBRARY_PATH = "" }}
"""


@pytest.fixture
def on_a_gpu(real: Real, tmp_path: Path) -> dict[str, str]:
    """Variables with which an interpreter finds the bindings, and cuda-bindings that are made up."""
    path = [fake_cuda_modules.write(tmp_path), real.environ["PYTHONPATH"]]
    return {"LD_LIBRARY_PATH": real.environ["LD_LIBRARY_PATH"], "PYTHONPATH": os.pathsep.join(path)}


@pytest.mark.parametrize("real", ["11.4.0"], indirect=True)
def test_an_engine_that_no_builder_builds(on_a_gpu: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in on_a_gpu.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BuildFailed) as raised:
        CliRunner().invoke(
            cli, ["build", str(MODEL), "--for", "tensorrt"], standalone_mode=False, catch_exceptions=False
        )
    assert raised.value.exit_code == 3
    assert raised.value.message == f"tensorrt makes no Builder ({NULLPTR}): it gives no reason"
    assert (raised.value.hint or "").startswith("its libraries are of another version, or damaged: pip install 'benchf")


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize("real", ["10.16.1"], indirect=True)
def test_a_run_with_bindings_whose_libraries_answer_nothing_or_are_not_there(
    on_a_gpu: dict[str, str], project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arm, "has_gpu", lambda: True)
    (project.folder / "mlp.onnx").symlink_to(MODEL)
    python, path, libraries = map(json.dumps, (sys.executable, on_a_gpu["PYTHONPATH"], on_a_gpu["LD_LIBRARY_PATH"]))
    outcome, _ = project.run(SCENARIO.format(python=python, path=path, libraries=libraries))
    rows = {row["environment"]: (row["status"], row["status_reason"]) for row in outcome.rows}
    status, reason = rows["stubs"]
    assert status == "BUILD_FAILED"
    assert reason.startswith(f"tensorrt makes no Builder ({NULLPTR}): it gives no reason (its libraries are of another")
    status, reason = rows["none"]
    assert status == "SKIPPED"
    assert reason.startswith("tensorrt cannot be imported: libnv")
    assert all("pip install 'benchfw-tensorrt[cu13]'" in reason for _, reason in rows.values())


LOAD = """
from pathlib import Path
from benchfw.errors import BuildFailed
from benchfw_tensorrt.engine import import_tensorrt
from benchfw_tensorrt.log import BuildLog
from benchfw_tensorrt.native import load_engine

try:
    load_engine(import_tensorrt("tensorrt"), Path("none"), BuildLog())
except BuildFailed as error:
    print(error.message)
"""


@pytest.mark.parametrize("real", pins(), indirect=True)
def test_an_engine_that_no_runtime_loads(on_a_gpu: dict[str, str], real: Real) -> None:
    assert real.python("-c", LOAD, env=on_a_gpu) == f"tensorrt makes no Runtime ({NULLPTR}): it gives no reason\n"


CALIBRATOR = """
import tensorrt as trt
from benchfw.errors import BuildFailed
from benchfw_tensorrt.calibrator import make_calibrator

class Feed:
    batch, table, next = 4, b"", lambda self, names: [7]

feed = Feed()
try:
    calibrator = make_calibrator(trt, "entropy", feed)
except BuildFailed as error:
    print(error.message)
else:
    calibrator.write_calibration_cache(b"x: 3f")
    print(isinstance(calibrator, trt.IInt8EntropyCalibrator2), calibrator.get_batch_size(), calibrator.get_batch(["x"]))
    print(calibrator.read_calibration_cache(), feed.table)
"""


@pytest.mark.parametrize("real", pins(), indirect=True)
def test_the_calibrator_is_one_where_there_are_any(on_a_gpu: dict[str, str], real: Real) -> None:
    lines = real.python("-c", CALIBRATOR, env=on_a_gpu).splitlines()
    if real.version.startswith("10."):
        assert lines == ["True 4 [7]", "None b'x: 3f'"]
    else:
        assert lines == [f"tensorrt {real.version} does not calibrate"]
