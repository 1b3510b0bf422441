"""What every backend must do, as a test class with one fixture.

    import pytest
    from benchfw.testing import BackendCase, BackendConformance

    @pytest.fixture(scope="module")
    def backend_case() -> BackendCase:
        return BackendCase(backend="mine")

    class TestMine(BackendConformance):
        pass

The backend runs in workers, as in a run. Capabilities are measured, not believed.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from packaging.requirements import Requirement

from benchfw.artifacts import ResolvedModel
from benchfw.environments import pythons
from benchfw.errors import BackendError, BuildFailed, Invalid, MissingDependency, ScenarioError
from benchfw.executors.local import backend_options, run_scenario, step_options
from benchfw.measure.accuracy import compare, match
from benchfw.measure.rows import case_hash
from benchfw.plugins import Registry, discover, options_model
from benchfw.scenario import Loaded, from_document, make_plan
from benchfw.scenario.schema import PRECISIONS
from benchfw.spec.artifact import Artifact
from benchfw.spec.backend import BackendInfo
from benchfw.spec.info import SPEC_VERSION
from benchfw.spec.tensors import AxisRange, Profile, TensorSpec
from benchfw.testing.host import Host, Instance
from benchfw.testing.models import PERCEPTRON_INPUTS, evaluate, write_perceptron

IMPORT_MS = 50.0
HEAVY = (
    "numpy",
    "pandas",
    "scipy",
    "pyarrow",
    "onnx",
    "torch",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "jax",
    "tensorflow",
)
_LEAK_BYTES = 4 << 20
_LEAK_S = 3.0

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class BackendCase:
    """A backend and a model to try it with.

    Attributes:
        backend: Its name.
        plugin: Module of the plugin, if no entry point names it.
        model: Reference of a model; default: a perceptron in ONNX, float32 [batch, 256] to float32 [batch, 96].
        root: Folder that the reference starts from.
        inputs: Its inputs; named axes are those of `axes`.
        axes: Ranges of the axes; sizes should differ.
        expected: Returns the outputs that are right for some inputs. Default: what the reference implementation of
            ONNX computes, for models that are ONNX files.
        options: Options of the backend.
        highest: Integer inputs are below this.
    """

    backend: str
    plugin: str | None = None
    model: str | None = None
    root: Path = field(default_factory=Path.cwd)
    inputs: tuple[TensorSpec, ...] = PERCEPTRON_INPUTS
    axes: Mapping[str, AxisRange] = field(default_factory=lambda: {"batch": AxisRange(min=1, opt=3, max=8)})
    expected: Callable[[Outputs], Outputs] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    highest: int = 8

    def arrays(self, sizes: Mapping[str, int], seed: int = 0) -> dict[str, NDArray[Any]]:
        """Return seeded inputs for some sizes of the axes."""
        random = np.random.default_rng(seed)
        arrays = {}
        for spec in self.inputs:
            shape, dtype = spec.concrete(sizes), np.dtype(spec.dtype)
            floats = dtype.kind == "f"
            values = random.standard_normal(shape) if floats else random.integers(0, self.highest, shape)
            arrays[spec.name] = np.asarray(values, dtype)
        return arrays


class Bench:
    """What the checks of one class share: a host, the model, and one loaded instance for all sizes."""

    def __init__(self, case: BackendCase, folder: Path) -> None:
        self.registry: Registry = discover([case.plugin]) if case.plugin else discover()
        self.case = case
        if case.model is None:
            write_perceptron(folder / "perceptron.onnx")
            self.case = case = replace(case, model="onnx:perceptron.onnx", root=folder)
        self.folder = folder
        self.info: BackendInfo = self.registry.backend(case.backend)
        self.host = Host(self.registry, case.backend, folder / "host")
        self._model: ResolvedModel | None = None
        self._loaded: Instance | None = None

    @property
    def model(self) -> ResolvedModel:
        if self._model is None:
            self._model = self.host.resolve(str(self.case.model), self.case.root)
        return self._model

    @property
    def profile(self) -> Profile:
        """All sizes, for a backend that can serve them with one artifact; else those of `opt`."""
        whole = Profile(self.case.axes)
        return whole if self.info.capabilities.dynamic_shapes else Profile.fixed(whole.sizes("opt"))

    @property
    def points(self) -> list[dict[str, int]]:
        """The sizes that one artifact serves."""
        return [self.profile.sizes(point) for point in ("opt", "min", "max")]

    @property
    def loaded(self) -> Instance:
        """The instance that most checks look at."""
        if self._loaded is None or not self._loaded.worker.alive:
            self._loaded = self.load(self.profile)
        return self._loaded

    def open(self, **how: Any) -> Instance:
        how = {"root": self.case.root, "options": self.case.options, **how}
        return self.host.open(self.case.inputs, **how)

    def load(self, profile: Profile, **how: Any) -> Instance:
        instance = self.open(**how)
        instance.load(self.artifact(profile), profile)
        return instance

    def artifact(self, profile: Profile) -> Artifact:
        return self.host.artifact(self.model, self.case.inputs, profile)

    def expected(self, inputs: Outputs) -> Outputs:
        if self.case.expected is not None:
            return self.case.expected(inputs)
        if self.model.artifact.format != "onnx":
            pytest.fail("the model is no ONNX file: give BackendCase an `expected` that says what is right for inputs")
        return evaluate(Path(self.model.artifact.path), inputs)

    def check(self, outputs: Outputs, inputs: Outputs, precision: str, what: str) -> None:
        """Compare outputs with what is right, within what the precision may differ by."""
        for name, output, wanted in match(outputs, self.expected(inputs)):
            metrics = compare(output, wanted, precision)
            assert metrics["verdict"] != "fail", f"{what}: output {name!r}: {metrics['reason']}"

    def scenario(self, **more: Any) -> Loaded:
        """Return a scenario with this backend in it."""
        ranges = {name: {"min": axis.min, "opt": axis.opt, "max": axis.max} for name, axis in self.case.axes.items()}
        first = next(iter(ranges), None)
        sweeps: list[dict[str, Any]] = [{"kind": "fixed"}]
        if first and self.info.capabilities.dynamic_shapes:
            sweeps += [{"kind": "min-opt-max"}, {"kind": "random-batch", "axis": first}]
        entry = {"use": self.info.name, "options": dict(self.case.options)}
        inputs = {
            spec.name: {"shape": list(spec.shape), "dtype": spec.dtype}
            | ({} if spec.dtype.startswith("float") else {"high": float(self.case.highest)})
            for spec in self.case.inputs
        }
        document: dict[str, Any] = {
            "name": "conformance",
            "model": {"ref": self.case.model, "inputs": inputs},
            "shapes": ranges,
            "sweep": sweeps,
            "measure": {"effort": "quick", "budget": 0.5},
            "backend": [entry | more],
        }
        return from_document(
            document,
            source="conformance",
            root=self.case.root,
            backends=self.registry.backends,
            options=backend_options(self.registry, {self.info.name}),
            steps=step_options(self.registry),
        )


class BackendConformance:
    """Derive a class `Test…` from it, in a module with a fixture `backend_case` of scope `module`."""

    @pytest.fixture(scope="class")
    @classmethod
    def bench(cls, backend_case: BackendCase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
        """What all checks share."""
        folder = tmp_path_factory.mktemp("conformance")
        (folder / "host").mkdir()
        bench = Bench(backend_case, folder)
        yield bench
        bench.host.close()

    @pytest.fixture
    def live(self, bench: Bench) -> Bench:
        """The same, where the framework is installed; what does not need it is checked everywhere."""
        try:
            bench.host.worker()
        except MissingDependency as error:
            pytest.skip(f"{error.message}; {error.hint or 'no way to install it is known'}")
        return bench

    # --- the registration -------------------------------------------------------------------------------------------

    def test_registration_is_complete(self, bench: Bench) -> None:
        info = bench.info
        assert info.summary, "BackendInfo.summary says in one line what this is"
        assert info.factory.count(":") == 1, "BackendInfo.factory is `package.module:Class`"
        assert info.accepts, "BackendInfo.accepts names the formats of artifacts that it takes"
        assert info.provider, "BackendInfo.provider is what the results say runs the model"
        assert info.spec <= SPEC_VERSION
        assert set(info.capabilities.precisions) <= set(PRECISIONS), f"precisions are among {PRECISIONS}"
        assert info.capabilities.precisions
        assert info.capabilities.devices
        for text in info.requires:
            Requirement(text)
        assert info.install or not info.requires, "BackendInfo.install is the command that satisfies `requires`"

    def test_import_is_light(self, bench: Bench) -> None:
        plugin = bench.registry.provider("backend", bench.info.name)
        modules = [plugin.module, bench.info.options.partition(":")[0]]
        heavy = {*HEAVY, *(Requirement(text).name.replace("-", "_") for text in bench.info.requires)}
        looks = [_import_cost([module for module in modules if module]) for _ in range(3)]
        loaded = heavy & set(looks[0]["modules"])
        assert not loaded, f"{' and '.join(filter(None, modules))} import {sorted(loaded)}: only workers may"
        cost_ms = min(look["cpu_ms"] for look in looks)
        assert cost_ms < IMPORT_MS, f"importing {plugin.module} takes {cost_ms:.0f} ms of CPU, every command pays that"

    def test_options_have_a_schema_with_descriptions(self, bench: Bench) -> None:
        model = options_model(bench.info)
        if model is None:
            return
        schema = model.model_json_schema()
        bare = [name for name, value in schema.get("properties", {}).items() if not value.get("description")]
        assert not bare, f"options without a description: {', '.join(bare)}"
        assert not schema.get("required"), f"options without a default: {', '.join(schema.get('required', []))}"
        assert schema.get("additionalProperties") is False, "the options model needs extra='forbid'"
        json.dumps(model.model_validate({}).model_dump(mode="json"))

    def test_unknown_options_are_refused(self, bench: Bench) -> None:
        with pytest.raises(ScenarioError) as caught:
            bench.scenario(options={**bench.case.options, "no_such_option": 1})
        assert "no_such_option" in caught.value.message or "no options" in caught.value.message

    def test_every_option_makes_another_case(self, bench: Bench) -> None:
        """An artifact or a result of one set of options must never be taken for that of another."""
        model = options_model(bench.info)
        if model is None:
            return
        base = _hash(bench, {})
        for name, value in model.model_json_schema().get("properties", {}).items():
            other = _another(model, name, value)
            if other is not None:
                assert _hash(bench, {name: other}) != base, f"the option {name!r} is not part of the case"

    # --- life -------------------------------------------------------------------------------------------------------

    def test_options_reach_the_backend(self, live: Bench) -> None:
        model = options_model(live.info)
        given = model.model_validate(live.case.options).model_dump(mode="json") if model else {}
        assert live.loaded.facts()["probe"]["options"] == given, "Backend.__init__ must pass its arguments on"

    def test_bind_before_load_is_refused(self, live: Bench) -> None:
        instance = live.open()
        with pytest.raises(Invalid):
            instance.bind(live.case.arrays(live.points[0]))
        instance.close()

    def test_close_is_idempotent_and_safe_at_any_time(self, live: Bench) -> None:
        live.open().close()
        instance = live.load(Profile.fixed(live.points[0]))
        instance.infer(live.case.arrays(live.points[0]))
        instance.close()
        assert instance.worker.alive

    def test_an_artifact_that_is_none_is_a_failed_build(self, live: Bench) -> None:
        if "*" in live.info.accepts:
            pytest.skip("a backend that accepts any format may never look at the file")
        artifact = live.artifact(live.profile)
        broken = live.folder / f"broken{Path(artifact.path).suffix}"
        broken.write_bytes(b"\x00 this is no model \xff" * 100)
        instance = live.open()
        with pytest.raises(BuildFailed) as caught:
            instance.load(replace(artifact, path=str(broken), sha256="0" * 64), live.profile)
        assert caught.value.message.strip(), "the error says what is wrong"
        instance.close()
        assert instance.worker.alive

    # --- what it computes -------------------------------------------------------------------------------------------

    def test_outputs_are_right_at_every_point(self, live: Bench) -> None:
        for precision in live.info.capabilities.precisions:
            instance = live.loaded if precision == "fp32" else live.load(live.profile, precision=precision)
            for sizes in live.points:
                inputs = live.case.arrays(sizes)
                live.check(instance.infer(inputs), inputs, precision, f"{precision} at {sizes}")
            facts = instance.facts()
            for what, asked in (("provider", live.info.provider), ("precision", precision)):
                effective = facts.get(f"{what}_effective")
                assert effective == asked, f"facts() says {what}_effective {effective!r}, {asked!r} was asked for"

    def test_outputs_of_an_artifact_for_one_shape(self, live: Bench) -> None:
        sizes = Profile(live.case.axes).sizes("max")
        instance = live.load(Profile.fixed(sizes))
        inputs = live.case.arrays(sizes)
        live.check(instance.infer(inputs), inputs, "fp32", f"made for {sizes}")
        instance.close()

    def test_slots_do_not_disturb_each_other(self, live: Bench) -> None:
        instance, sizes = live.loaded, live.points[0]
        inputs = [live.case.arrays(sizes, seed) for seed in (1, 2)]
        for slot, arrays in enumerate(inputs):
            instance.bind(arrays, slot)
        for slot in (0, 1, 0):
            instance.launch(slot, n=2)
            live.check(instance.outputs(slot), inputs[slot], "fp32", f"slot {slot} after the other was bound")

    def test_a_slot_can_be_bound_again_to_another_shape(self, live: Bench) -> None:
        for seed, sizes in enumerate([*live.points, live.points[0]]):
            inputs = live.case.arrays(sizes, seed)
            live.check(live.loaded.infer(inputs), inputs, "fp32", f"slot 0 bound anew at {sizes}")

    def test_inputs_that_do_not_fit_are_refused(self, live: Bench) -> None:
        instance = live.loaded
        good = live.case.arrays(live.points[0])
        name, array = next(iter(good.items()))
        wrong: dict[str, dict[str, NDArray[Any]]] = {
            "an unknown name": {f"{key}_other": value for key, value in good.items()},
            "another dtype": {**good, name: array.astype(np.float64 if array.dtype != np.float64 else np.float32)},
            "another rank": {**good, name: array[None]},
            "no input at all": {},
        }
        fixed = [place for place, dim in enumerate(live.case.inputs[0].shape) if isinstance(dim, int)]
        if fixed:
            wrong["another size of a fixed dimension"] = {**good, name: np.repeat(array, 2, axis=fixed[-1])}
        for what, arrays in wrong.items():
            try:
                instance.bind(arrays)
            except Invalid:
                continue
            except BackendError as error:
                pytest.fail(f"bind with {what} raised {type(error).__name__} ({error.message}), not Invalid")
            pytest.fail(f"bind with {what} was accepted: use `check_inputs` of benchfw.spec.backend")
        inputs = live.case.arrays(live.points[0])
        live.check(instance.infer(inputs), inputs, "fp32", "after inputs that were refused")

    def test_sizes_outside_of_the_profile_are_refused_or_right(self, live: Bench) -> None:
        sizes = {name: size + 1 for name, size in live.profile.sizes("max").items()}
        inputs = live.case.arrays(sizes)
        try:
            outputs = live.loaded.infer(inputs)
        except BackendError:
            outputs = None
        if outputs is not None:
            live.check(outputs, inputs, "fp32", f"outside of the profile, at {sizes}")
            dynamic = live.info.capabilities.dynamic_shapes or not live.case.axes
            assert dynamic, (
                "it serves another size than its artifact was made for: Capabilities.dynamic_shapes is wrong"
            )
        assert live.loaded.worker.alive

    def test_threads_are_those_of_the_context(self, live: Bench) -> None:
        for threads in (1, 2):
            instance = live.load(Profile.fixed(live.points[0]), threads=threads)
            effective = instance.facts().get("threads_effective", threads)
            instance.close()
            assert effective == threads, f"facts() says {effective} threads, the context {threads}"

    # --- what it costs ----------------------------------------------------------------------------------------------

    def test_rebinding_does_not_leak(self, live: Bench) -> None:
        instance, arrays = live.loaded, live.case.arrays(live.points[-1])
        size = sum(array.nbytes for array in arrays.values())
        for _ in range(20):
            instance.infer(arrays)
        before, count, end = instance.rss_bytes(), 0, time.monotonic() + _LEAK_S
        while count < 50 or (count * size < _LEAK_BYTES and time.monotonic() < end):
            instance.bind(arrays)
            instance.launch()
            count += 1
        grown = instance.rss_bytes() - before
        allowed = count * size // 4 + (2 << 20)
        assert grown < allowed, f"{count} times binding {size} bytes to one slot took {grown} bytes of memory for good"

    def test_launch_allocates_nothing_of_its_own(self, live: Bench) -> None:
        live.loaded.infer(live.case.arrays(live.points[-1]))
        found = live.loaded.facts()["probe"]["allocations"]
        assert not found, f"the plugin's code allocates in launch, in bytes: {found}; allocate in bind instead"

    def test_what_means_nothing_is_not_explained(self, live: Bench) -> None:
        anything = live.loaded.facts()["probe"]["explains_anything"]
        assert not anything, "explain() must return None for an error that it does not know"

    # --- where it runs ----------------------------------------------------------------------------------------------

    def test_its_code_is_code_on_every_python_found(self, bench: Bench) -> None:
        """The interpreters that have its packages also run it; the others compile it at least."""
        failed = []
        others = {".".join(found.version.split(".")[:2]): found.path for found in pythons()}
        others.pop(f"{sys.version_info[0]}.{sys.version_info[1]}", None)  # all other checks run on this one
        for version, python in others.items():
            target = bench.folder / f"on{version}"
            target.mkdir()
            host = Host(bench.registry, bench.info.name, target, python)
            code = subprocess.run(
                [python, "-m", "compileall", "-q", str(target / "code")], capture_output=True, text=True, timeout=120
            )
            if code.returncode:
                failed.append(f"{python}: {code.stdout.strip()}")
                continue
            try:
                with contextlib.closing(host):
                    host.worker()
                    instance = host.open(bench.case.inputs, root=bench.case.root, options=bench.case.options)
                    profile = Profile.fixed(bench.points[0])
                    instance.load(bench.artifact(profile), profile)
                    inputs = bench.case.arrays(bench.points[0])
                    bench.check(instance.infer(inputs), inputs, "fp32", f"on {python}")
            except MissingDependency:
                continue
        assert not failed, "\n".join(failed)

    def test_a_whole_run(self, live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BENCHFW_CACHE", str(live.host.cache.root))
        outcome = run_scenario(live.scenario(), live.registry, out=live.folder / "results")
        states = {row["case_id"]: (row["status"], row["status_reason"]) for row in outcome.rows}
        assert {status for status, _ in states.values()} == {"OK"}, states


def _import_cost(modules: list[str]) -> dict[str, Any]:
    """Import modules in a fresh interpreter that has pydantic and the contract already; return CPU time and modules."""
    code = (
        "import sys, time, json, importlib, pydantic, benchfw.spec, benchfw.spec.hooks\n"
        "class Other(pydantic.BaseModel):\n    model_config = pydantic.ConfigDict(extra='forbid', strict=True)\n"
        "    text: str = pydantic.Field('', description='')\n    number: pydantic.PositiveInt | None = None\n"
        "before, start = set(sys.modules), time.process_time()\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "cost = time.process_time() - start\n"
        "new = sorted({name.partition('.')[0] for name in set(sys.modules) - before})\n"
        "print(json.dumps({'cpu_ms': cost * 1e3, 'modules': new}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _hash(bench: Bench, options: Mapping[str, Any]) -> str:
    loaded = bench.scenario(options={**bench.case.options, **options})
    models = backend_options(bench.registry, {bench.info.name})
    plan = make_plan(loaded.scenario, backends=bench.registry.backends, options=models)
    return case_hash(plan.cases[0], {})


def _another(model: Any, name: str, schema: Mapping[str, Any]) -> Any:
    """Return another valid value of an option than its default; None if none is found."""
    default = schema.get("default")
    kinds = [schema, *schema.get("anyOf", [])]
    candidates = [value for kind in kinds for value in kind.get("enum", [])]
    candidates += [not default, 1, 2, 7, 0.5, "other"]
    for value in candidates:
        if value != default and type(value) is not type(None):
            with contextlib.suppress(ValueError):
                model.model_validate({name: value})
                return value
    return None
