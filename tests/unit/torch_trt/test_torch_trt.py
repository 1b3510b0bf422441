"""torch-tensorrt: what is asked of it, and what becomes of its answers.

Its compiler is made up, on the CPU: parts of the graph that it takes run as PyTorch's graphs.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from benchfw.errors import BuildFailed, FellBack, Invalid, MissingDependency, OutOfMemory
from benchfw.handover import hand_over
from benchfw.measure.gates.providers import check_nodes
from benchfw.plugins import Registry
from benchfw.spec import Artifact, AxisRange, Context, Profile, TensorSpec
from benchfw.spec.values import random_inputs
from benchfw_torch.sources import PythonSource
from benchfw_torch.sources import build as build_model
from benchfw_torch_tensorrt.options import TorchTensorrtOptions
from tests.unit.torch_trt import fake_torch_tensorrt as fake

MODEL = """
from typing import NamedTuple

from torch import Tensor, nn


class Two(NamedTuple):
    scores: Tensor
    total: Tensor


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 4))

    def forward(self, left, right):
        scores = self.layers(left + right.flip(1))
        return Two(scores.softmax(1), scores.sum(1))


def make():
    return Model()
"""
INPUTS = (
    TensorSpec(name="right", dtype="float32", shape=("batch", 8)),  # not in the order of `forward`
    TensorSpec(name="left", dtype="float32", shape=("batch", 8)),
)
BATCH = Profile({"batch": AxisRange(min=1, opt=3, max=6)})
STATIC = Profile({"batch": AxisRange(min=2, opt=2, max=2)})
GELU = "torch.ops.aten.gelu.default"


class Lab:
    """Makes backends on a torch-tensorrt that is made up.

    Attributes:
        compiler: It.
        artifact: Of the model.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        (folder / "two_inputs.py").write_text(MODEL)
        self.artifact: Artifact
        self.artifact, _ = PythonSource().resolve(
            "two_inputs:make", root=folder, destination=folder, seed=0, weights=None
        )
        self.compiler = fake.Compiler("2.13.0")
        self.made: list[Any] = []

    def backend(
        self, *, version: str = "2.13.0", precision: str = "fp32", profile: Profile = BATCH, **options: Any
    ) -> Any:
        """Return a backend that has loaded the model."""
        backend = self.instance(version=version, precision=precision, **options)
        backend.load(backend.prepare(self.artifact, profile))
        return backend

    def instance(self, *, version: str = "2.13.0", precision: str = "fp32", **options: Any) -> Any:
        """Return a backend that has nothing yet."""
        before, self.compiler = self.compiler.before, fake.Compiler(version)
        self.compiler.before = before
        module = imported(self._monkeypatch, fake, version)
        self._monkeypatch.setattr(fake.dynamo, "compile", self.compiler)
        values = TorchTensorrtOptions(**options).model_dump(mode="json")
        context = Context(
            device="cpu",
            threads=torch.get_num_threads(),
            precision=precision,
            cache_dir=self.folder / "cache",
            root=self.folder,
            inputs=INPUTS,
        )
        self.made.append(module.TorchTensorrt(values, context))
        return self.made[-1]

    def expected(self, arrays: dict[str, Any]) -> Any:
        model = build_model(self.artifact)
        with torch.inference_mode():
            return model(**{name: torch.from_numpy(array.copy()) for name, array in arrays.items()})


def imported(monkeypatch: pytest.MonkeyPatch, package: Any, version: str = "2.13.0") -> ModuleType:
    """Return the backend's module, imported with this `torch_tensorrt`."""
    monkeypatch.setitem(sys.modules, "torch_tensorrt", package)
    if isinstance(package, ModuleType):
        monkeypatch.setattr(package, "__version__", version)
    monkeypatch.delitem(sys.modules, "benchfw_torch_tensorrt.backend", raising=False)
    return importlib.import_module("benchfw_torch_tensorrt.backend")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.delitem(sys.modules, "two_inputs", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    made = Lab(tmp_path, monkeypatch)
    with torch.inference_mode():  # the backend enters it for good, once per thread
        yield made
    for backend in made.made:
        backend.close()
        backend.close()
    sys.modules.pop("benchfw_torch_tensorrt.backend", None)


# --- what is asked for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "precision"), [*zip(fake.ALSO, ("fp32", "fp16", "bf16"), strict=True)])
def test_outputs_are_those_of_the_model(lab: Lab, version: str, precision: str) -> None:
    backend = lab.backend(version=version, precision=precision)
    tolerance = {"fp32": 1e-6, "fp16": 5e-3, "bf16": 5e-2}[precision]
    for point in ("opt", "min", "max"):
        arrays = random_inputs(INPUTS, BATCH.sizes(point))
        bound = backend.bind(0, arrays)
        bound.launch()
        outputs, expected = bound.outputs(), lab.expected(arrays)._asdict()
        assert list(outputs) == ["scores", "total"]
        for name, output in outputs.items():
            assert output.dtype == np.float32
            np.testing.assert_allclose(output, expected[name].numpy(), atol=tolerance)
    facts = backend.facts()
    assert (facts["provider_effective"], facts["precision_effective"]) == ("TensorRT", precision)
    assert (facts["torch_tensorrt"], facts["engines"], facts["torch_operators"]) == (version, 1, {})


@pytest.mark.parametrize("version", fake.ALSO)
def test_types_are_those_of_the_model(lab: Lab, version: str) -> None:
    lab.backend(version=version, precision="fp16")
    asked = lab.compiler.asked
    assert not {"enabled_precisions", "enable_autocast"} & asked.keys()
    assert asked.get("use_explicit_typing") is (True if version < "2.13" else None)
    dtypes = {value.dtype for value in asked["exported_program"].state_dict.values()}
    assert dtypes == {torch.float16}


def test_autocast_leaves_the_model_in_fp32(lab: Lab) -> None:
    facts = lab.backend(precision="bf16", typing="autocast").facts()
    asked = lab.compiler.asked
    assert (asked["enable_autocast"], asked["autocast_low_precision_type"]) == (True, torch.bfloat16)
    assert {value.dtype for value in asked["exported_program"].state_dict.values()} == {torch.float32}
    assert (facts["typing"], facts["precision_effective"]) == ("autocast", "fp32+bf16")
    lab.backend(precision="fp32", typing="autocast")
    assert "enable_autocast" not in lab.compiler.asked


def test_fp32_is_not_tf32(lab: Lab) -> None:
    from benchfw_torch_tensorrt.settings import settings

    lab.backend()
    assert lab.compiler.asked["disable_tf32"] is True
    options = TorchTensorrtOptions().model_dump()
    place: Any = {"device": torch.device("cuda"), "cache": lab.folder, "scratch": lab.folder}
    asked = settings(options, precision="tf32", compile=lab.compiler, **place)
    assert asked["disable_tf32"] is False


def test_axes_become_one_profile_with_one_symbol_per_name(lab: Lab) -> None:
    lab.backend()
    for item in lab.compiler.asked["arg_inputs"]:
        assert item.shapes == {"min_shape": (1, 8), "opt_shape": (3, 8), "max_shape": (6, 8)}
    ranges = lab.compiler.asked["exported_program"].range_constraints
    assert [(int(found.lower), int(found.upper)) for found in ranges.values()] == [(1, 6)]


def test_one_shape_has_no_axes(lab: Lab) -> None:
    lab.backend(profile=STATIC)
    assert [item.shapes for item in lab.compiler.asked["arg_inputs"]] == [{"shape": (2, 8)}] * 2
    assert not lab.compiler.asked["exported_program"].range_constraints


def test_options_reach_the_compiler(lab: Lab) -> None:
    lab.backend(workspace_size="2GiB", optimization_level=5, min_block_size=1, max_aux_streams=0)
    asked = lab.compiler.asked
    assert (asked["workspace_size"], asked["optimization_level"]) == (2 << 30, 5)
    assert (asked["min_block_size"], asked["max_aux_streams"]) == (1, 0)
    assert asked["attn_bias_is_causal"] is False  # its own default computes something else
    assert not {"threads", "channels_last", "typing", "timing_cache", "engine_cache"} & asked.keys()


def test_timings_and_engines_lie_in_the_cache(lab: Lab) -> None:
    lab.backend()
    kept = lab.compiler.asked["timing_cache_path"]
    assert Path(kept).is_relative_to(lab.folder / "cache")
    assert "immutable_weights" not in lab.compiler.asked
    lab.backend(engine_cache=True)
    asked = lab.compiler.asked
    assert Path(asked["engine_cache_dir"]).parent == Path(kept).parent
    assert (asked["immutable_weights"], asked["cache_built_engines"], asked["reuse_cached_engines"]) == (
        *(False, True, True),
    )
    lab.backend(timing_cache=False)
    thrown_away = Path(lab.compiler.asked["timing_cache_path"])
    assert not thrown_away.is_relative_to(lab.folder / "cache") and not thrown_away.parent.exists()


def test_an_option_that_this_version_lacks_is_refused_if_it_is_asked_for(lab: Lab) -> None:
    lab.backend(version="2.11.0")
    assert "fallback_data_dependent_ops" not in lab.compiler.asked
    with pytest.raises(BuildFailed, match="option fallback_data_dependent_ops: this torch-tensorrt has no such option"):
        lab.backend(version="2.11.0", fallback_data_dependent_ops=True)


def test_a_version_that_would_ignore_what_decides_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "COMMON", tuple(name for name in fake.COMMON if name != "disable_tf32"))
    with pytest.raises(BuildFailed, match="no argument disable_tf32 in this version"):
        lab.backend()


@pytest.mark.parametrize("also", [{"torch_executed_ops": (GELU,)}, {"fallback_data_dependent_ops": True}])
def test_options_that_contradict_each_other(also: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="lets nothing stay with PyTorch"):
        TorchTensorrtOptions(require_full_compilation=True, **also)
    assert TorchTensorrtOptions(**also).require_full_compilation is False


# --- what comes back ------------------------------------------------------------------------------------------------


class Member:
    """What the gate sees of a case."""

    def __init__(self, facts: Any) -> None:
        self.instance = self.case = self.session = self.entry = self
        self.allow_fallback = False
        self.facts = facts
        self.warnings: list[tuple[Any, ...]] = []

    def warn(self, *given: Any) -> None:
        self.warnings.append(given)


def gate(facts: Any) -> list[Any]:
    member: Any = Member(facts)
    check_nodes(member, "TensorRT")
    return list(member.warnings)


def test_operators_that_stay_with_pytorch_are_counted(lab: Lab) -> None:
    facts = lab.backend(torch_executed_ops=[GELU], min_block_size=1).facts()
    assert (facts["engines"], facts["torch_partitions"]) == (2, 1)
    assert facts["torch_operators"] == {"aten.gelu.default": 1}
    assert facts["nodes"]["torch"] == 1 and facts["nodes"]["TensorRT"] >= 6
    ((code, share, _, text),) = gate(facts)
    total = sum(facts["nodes"].values())
    assert (code, share) == ("V05", (total - 1) / total)
    assert text == f"only {total - 1} of {total} nodes run on TensorRT, 1 on torch"
    arrays = random_inputs(INPUTS, BATCH.sizes("max"))
    bound = lab.made[-1].bind(0, arrays)
    bound.launch()
    np.testing.assert_allclose(bound.outputs()["scores"], lab.expected(arrays).scores.numpy(), atol=1e-6)


def test_a_graph_without_an_engine_is_a_fallback(lab: Lab) -> None:
    facts = lab.backend(min_block_size=1000).facts()
    assert (facts["provider_effective"], facts["engines"], facts["nodes"]["TensorRT"]) == ("torch", 0, 0)
    with pytest.raises(FellBack, match=r"no node runs on TensorRT, but \d+ on torch"):
        gate(facts)


def test_engines_count_as_one_where_nothing_says_what_they_hold(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "REPORT", "torch_tensorrt.elsewhere")
    facts = lab.backend(torch_executed_ops=[GELU], min_block_size=1).facts()
    assert facts["nodes"] == {"TensorRT": 2, "torch": 1}


def test_the_report_of_partitions_is_not_logged(lab: Lab) -> None:
    seen: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.name)  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        lab.backend()
    finally:
        logging.getLogger().removeHandler(handler)
    assert fake.REPORT not in seen
    assert logging.getLogger(fake.REPORT).level == logging.NOTSET and not logging.getLogger(fake.REPORT).handlers


def test_nothing_compiles_while_it_runs(lab: Lab) -> None:
    backend = lab.backend()
    before = dict(backend.counters())
    for point in ("min", "max", "opt"):
        bound = backend.bind(0, random_inputs(INPUTS, BATCH.sizes(point)))
        bound.launch()
    assert backend.counters() == before and before["compilations"] >= 1


def test_bind_takes_what_the_model_takes(lab: Lab) -> None:
    arrays = random_inputs(INPUTS, BATCH.sizes("opt"))
    with pytest.raises(Invalid, match="bind before prepare"):
        lab.instance().bind(0, arrays)
    backend = lab.backend()
    with pytest.raises(Invalid, match="given, the model takes"):
        backend.bind(0, {**arrays, "more": arrays["left"]})
    with pytest.raises(Invalid, match="before the first launch"):
        backend.bind(0, arrays).outputs()


# --- what fails -----------------------------------------------------------------------------------------------------


def failing(error: Exception, *logged: str) -> Callable[[Any], None]:
    def fail(asked: Any) -> None:
        for line in logged:
            logging.getLogger(fake.MESSAGES).error(line)
        raise error

    return fail


@pytest.fixture
def quiet_log() -> Iterator[None]:
    """Errors are logged nowhere else."""
    handler = logging.NullHandler()
    logging.getLogger(fake.MESSAGES).addHandler(handler)
    yield
    logging.getLogger(fake.MESSAGES).removeHandler(handler)


@pytest.mark.usefixtures("quiet_log")
def test_a_build_that_fails_says_why_in_the_words_of_tensorrt(lab: Lab) -> None:
    words = "IBuilder::buildSerializedNetwork: Error Code 10: Internal Error (Could not find any implementation)"
    lab.compiler.before = failing(AssertionError(), words, "and more")
    with pytest.raises(BuildFailed) as raised:
        lab.backend()
    assert f"it logged: {words}" in raised.value.message and "AssertionError" in raised.value.message
    assert "torch_executed_ops" in str(raised.value.hint)


@pytest.mark.usefixtures("quiet_log")
@pytest.mark.parametrize(
    ("error", "logged"),
    [
        (AssertionError(), "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)"),
        (RuntimeError("no engine"), "Error Code 2: OutOfMemory (Requested size was 4 bytes.)"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), ""),
    ],
)
def test_a_device_without_memory_is_no_failed_build(lab: Lab, error: Exception, logged: str) -> None:
    lab.compiler.before = failing(error, *([logged] if logged else []))
    with pytest.raises(OutOfMemory):
        lab.backend()


def test_memory_that_runs_out_in_an_engine_is_explained(lab: Lab) -> None:
    explained = lab.backend().explain(RuntimeError("[Error thrown at core/runtime] Cuda Runtime (out of memory)"))
    assert isinstance(explained, OutOfMemory)
    assert lab.made[-1].explain(RuntimeError("an engine with another input")) is None


def test_a_model_that_fails_is_a_failed_build(lab: Lab) -> None:
    wrong = (TensorSpec(name="left", dtype="float32", shape=("batch", 8)),)
    backend = lab.instance()
    backend.context = Context(**{**vars(backend.context), "inputs": wrong})
    with pytest.raises(BuildFailed, match=r"the model fails at opt on \[3, 8\]: TypeError"):
        backend.prepare(lab.artifact, BATCH)


def test_an_axis_that_the_code_depends_on_is_a_failed_build(lab: Lab) -> None:
    text = MODEL.replace("scores = ", "assert left.shape[0] == 3\n        scores = ")
    (lab.folder / "three.py").write_text(text)
    lab.artifact, _ = PythonSource().resolve(
        "three:make", root=lab.folder, destination=lab.folder, seed=0, weights=None
    )
    with pytest.raises(BuildFailed, match=r"torch\.export") as raised:
        lab.backend()
    assert "[shapes]" in str(raised.value.hint)


# --- what is not there ----------------------------------------------------------------------------------------------


class Broken:
    """Finds the package, whose import fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "torch_tensorrt":
            raise self._error


@pytest.mark.parametrize(
    "error",
    [
        Exception("import error when try to import _TensorRTProxyModule, got error Could not find libnvinfer.so.10\n"),
        OSError("libnvinfer.so.10: cannot open shared object file: No such file or directory"),
        ModuleNotFoundError("No module named 'tensorrt_bindings'", name="tensorrt_bindings"),
    ],
)
def test_tensorrt_that_cannot_be_loaded_says_so(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(sys, "meta_path", [Broken(error), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "torch_tensorrt", raising=False)
    monkeypatch.delitem(sys.modules, "benchfw_torch_tensorrt.backend", raising=False)
    with pytest.raises(MissingDependency) as raised:
        importlib.import_module("benchfw_torch_tensorrt.backend")
    assert str(error).strip() in raised.value.message and "cannot be imported" in raised.value.message
    assert "LD_LIBRARY_PATH" in str(raised.value.hint) and "benchfw doctor" in str(raised.value.hint)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    monkeypatch.delitem(sys.modules, "benchfw_torch_tensorrt.backend", raising=False)
    with pytest.raises(ModuleNotFoundError) as raised:
        importlib.import_module("benchfw_torch_tensorrt.backend")
    assert raised.value.name == "torch_tensorrt"


def test_workers_get_the_plugin_that_it_builds_upon(tmp_path: Path, registry: Registry) -> None:
    code = hand_over(tmp_path / "code", registry.backend("torch-tensorrt").code)
    assert {path.name for path in code.glob("benchfw_*")} == {"benchfw_torch", "benchfw_torch_tensorrt"}
