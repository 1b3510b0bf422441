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

import ast
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from packaging.requirements import InvalidRequirement, Requirement

from benchfw.environments import pythons
from benchfw.environments.interpreters import OLDEST
from benchfw.errors import BackendError, BenchfwError, BuildFailed, CaseError, Invalid, MissingDependency, ScenarioError
from benchfw.executors.local import backend_options, run_scenario
from benchfw.measure.rows import case_hash
from benchfw.plugins import options_model
from benchfw.scenario import make_plan
from benchfw.spec.backend import PRECISIONS
from benchfw.spec.info import SPEC_VERSION
from benchfw.spec.tensors import Profile
from benchfw.testing.bench import BackendCase as BackendCase
from benchfw.testing.bench import Bench
from benchfw.testing.host import Host

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
        assert 1 <= info.spec <= SPEC_VERSION, f"BackendInfo.spec is a version of the contract, 1 to {SPEC_VERSION}"
        unknown = set(info.capabilities.precisions) - set(PRECISIONS)
        assert not unknown, f"Capabilities.precisions has {sorted(unknown)}, there are {', '.join(PRECISIONS)}"
        assert info.capabilities.precisions, "Capabilities.precisions names at least one"
        assert info.capabilities.devices, "Capabilities.devices names at least one"
        for text in info.requires:
            try:
                Requirement(text)
            except InvalidRequirement as error:
                pytest.fail(f"BackendInfo.requires has {text!r}, which is no requirement: {error}")
        assert info.install or not info.requires, "BackendInfo.install is the command that satisfies `requires`"

    def test_import_is_light(self, bench: Bench) -> None:
        plugin = bench.registry.provider("backend", bench.info.name)
        modules = [plugin.module, bench.info.options.partition(":")[0]]
        heavy = {*HEAVY, *(Requirement(text).name.replace("-", "_") for text in bench.info.requires)}
        modules = [module for module in modules if module]
        looks = [_import_cost(modules) for _ in range(3)]
        loaded, names = heavy & set(looks[0]["modules"]), " and ".join(modules)
        assert not loaded, f"importing {names} imports {', '.join(sorted(loaded))}, which only workers may"
        cost_ms = min(look["cpu_ms"] for look in looks)
        assert cost_ms < IMPORT_MS, (
            f"importing {names} takes {cost_ms:.0f} ms of CPU, every command pays that: at most {IMPORT_MS:.0f}"
        )

    def test_options_have_a_schema_with_descriptions(self, bench: Bench) -> None:
        model = options_model(bench.info)
        if model is None:
            return
        schema = model.model_json_schema()
        bare = [name for name, value in schema.get("properties", {}).items() if not value.get("description")]
        assert not bare, f"options without a description: {', '.join(bare)}"
        assert not schema.get("required"), f"options without a default: {', '.join(schema.get('required', []))}"
        json.dumps(model.model_validate({}).model_dump(mode="json"))

    def test_unknown_options_are_refused(self, bench: Bench) -> None:
        words = _refused(
            ScenarioError,
            lambda: bench.scenario(options={**bench.case.options, "no_such_option": 1}),
            "an option that does not exist",
            "the options model needs extra='forbid'",
        )
        assert "no_such_option" in words or "no options" in words

    def test_every_option_makes_another_case(self, bench: Bench) -> None:
        """An artifact or a result of one set of options must never be taken for that of another."""
        model = options_model(bench.info)
        if model is None:
            return
        options, base = _case(bench, {})
        for name, value in model.model_json_schema().get("properties", {}).items():
            assert name in options, f"the option {name!r} is not part of the case: the dump of its model lacks it"
            other = _another(model, options, name, value)
            if other is not None:
                _, changed = _case(bench, {name: other})
                assert changed != base, f"the option {name!r} does not change the case: its model dumps it as it was"

    # --- life -------------------------------------------------------------------------------------------------------

    def test_options_reach_the_backend(self, live: Bench) -> None:
        model = options_model(live.info)
        given = model.model_validate(live.case.options).model_dump(mode="json") if model else {}
        assert live.loaded.facts()["probe"]["options"] == given, "Backend.__init__ must pass its arguments on"

    def test_bind_before_load_is_refused(self, live: Bench) -> None:
        with live.opened() as instance:
            arrays = live.case.arrays(live.points[0])
            _refused(
                Invalid, lambda: instance.bind(arrays), "bind before load", "look in bind whether load has been called"
            )

    def test_close_is_idempotent_and_safe_at_any_time(self, live: Bench) -> None:
        """Each is closed twice: one that is not loaded, one that has run, and one that could not be loaded."""
        fresh, used, failed = live.open(), live.open(), live.open()
        profile = Profile.fixed(live.points[0])
        used.load(live.artifact(profile), profile)
        used.infer(live.case.arrays(live.points[0]))
        with contextlib.suppress(CaseError):
            failed.load(live.broken_artifact(), live.profile)
        for instance, what in ((fresh, "before load"), (used, "after a launch"), (failed, "after a load that failed")):
            try:
                instance.close()
            except CaseError as error:
                pytest.fail(f"close {what}, or once more, raised: {error.message}")

    def test_an_artifact_that_is_none_is_a_failed_build(self, live: Bench) -> None:
        if "*" in live.info.accepts:
            pytest.skip("a backend that accepts any format may never look at the file")
        with live.opened() as instance:
            broken = live.broken_artifact()
            words = _refused(
                BuildFailed, lambda: instance.load(broken, live.profile), "a file that is no model", "raise BuildFailed"
            )
        assert words.strip(), "BuildFailed says what is wrong, in the framework's words"

    # --- what it computes -------------------------------------------------------------------------------------------

    def test_outputs_are_right_at_every_point(self, live: Bench) -> None:
        for precision in sorted({*PRECISIONS} & {*live.info.capabilities.precisions}):
            same = precision == live.precision
            how = contextlib.nullcontext(live.loaded) if same else live.loaded_for(live.profile, precision=precision)
            with how as instance:
                for sizes in live.points:
                    inputs = live.case.arrays(sizes)
                    live.check(instance.infer(inputs), inputs, f"{precision} at {sizes}", precision)
                facts = instance.facts()
            for what, asked in (("provider", live.info.provider), ("precision", precision)):
                effective = facts.get(f"{what}_effective")
                assert effective == asked, f"facts() says {what}_effective {effective!r}, {asked!r} was asked for"

    def test_outputs_of_an_artifact_for_one_shape(self, live: Bench) -> None:
        sizes = Profile(live.case.axes).sizes("max")
        inputs = live.case.arrays(sizes)
        with live.loaded_for(Profile.fixed(sizes)) as instance:
            live.check(instance.infer(inputs), inputs, f"made for {sizes}")

    def test_bind_copies_the_inputs(self, live: Bench) -> None:
        inputs = live.case.arrays(live.points[0])
        live.loaded.bind(inputs)
        live.loaded.spoil()
        live.loaded.launch()
        live.check(live.loaded.outputs(), inputs, "the arrays that bind gets go away, so it has to copy them")

    def test_slots_do_not_disturb_each_other(self, live: Bench) -> None:
        instance, sizes = live.loaded, live.points[0]
        inputs = [live.case.arrays(sizes, seed) for seed in (1, 2)]
        for slot, arrays in enumerate(inputs):
            instance.bind(arrays, slot)
        for launched in ((0, 1), (1, 0), (0,)):
            for slot in launched:
                instance.launch(slot, n=2)
            for slot in (0, 1):
                what = f"slot {slot} beside another: each needs its own buffers"
                live.check(instance.outputs(slot), inputs[slot], what)

    def test_a_slot_can_be_bound_again_to_another_shape(self, live: Bench) -> None:
        for seed, sizes in enumerate([*live.points, live.points[0]]):
            inputs = live.case.arrays(sizes, seed)
            live.check(live.loaded.infer(inputs), inputs, f"slot 0 bound anew at {sizes}")

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
            _refused(
                Invalid,
                lambda arrays=arrays: instance.bind(arrays),  # type: ignore[misc]
                f"bind with {what}",
                "use `check_inputs` of benchfw.spec.backend",
            )
        live.check(instance.infer(good), good, "after inputs that were refused")

    def test_sizes_outside_of_the_profile_are_refused_or_right(self, live: Bench) -> None:
        if not live.case.axes:
            pytest.skip("the model has no named axis")
        sizes = {name: size + 1 for name, size in live.profile.sizes("max").items()}
        inputs = live.case.arrays(sizes)
        try:
            outputs = live.loaded.infer(inputs)
        except BackendError:
            return
        except CaseError as error:
            pytest.fail(
                f"at {sizes}, outside of the profile, the worker was lost: {error.message}; raise Invalid in bind"
            )
        live.check(outputs, inputs, f"outside of the profile, at {sizes}")
        assert live.info.capabilities.dynamic_shapes, (
            "it serves another size than its artifact was made for: Capabilities.dynamic_shapes is wrong"
        )

    def test_threads_are_those_of_the_context(self, live: Bench) -> None:
        for threads in (1, 2):
            with live.loaded_for(Profile.fixed(live.points[0]), threads=threads) as instance:
                effective = instance.facts().get("threads_effective", threads)
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
        assert grown < allowed, (
            f"{count} times binding {size} bytes to one slot took {grown} bytes of memory for good: keep nothing of an "
            "earlier bind, and let `launch` not refer to its Bound, as such a cycle is not collected during a run"
        )

    def test_launch_allocates_nothing_of_its_own(self, live: Bench) -> None:
        live.loaded.infer(live.case.arrays(live.points[-1]))
        found = live.loaded.facts()["probe"]["allocations"]
        assert not found, f"the plugin's code allocates in launch, in bytes: {found}; allocate in bind instead"

    def test_what_means_nothing_is_not_explained(self, live: Bench) -> None:
        meaning = live.loaded.facts()["probe"]["explains_nothing_as"]
        assert meaning is None, f"explain() {meaning} for an error that it cannot know; it must return None"

    # --- where it runs ----------------------------------------------------------------------------------------------

    def test_its_code_is_code_on_every_python_found(self, bench: Bench) -> None:
        """CPython 3.10 can read it; the interpreters that have its packages run it, the others compile it."""
        failed = []
        for path in sorted((bench.folder / "host" / "code").rglob("*.py")):
            try:
                ast.parse(path.read_bytes(), feature_version=OLDEST)
            except SyntaxError as error:
                failed.append(f"{path.name}:{error.lineno}: workers run on CPython 3.10 too: {error.msg}")
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
            with contextlib.closing(host):
                try:
                    host.worker()
                except MissingDependency:
                    continue
                how: dict[str, Any] = {"root": bench.case.root, "options": bench.case.options}
                instance = host.open(bench.case.inputs, precision=bench.precision, **how)
                profile = Profile.fixed(bench.points[0])
                instance.load(bench.artifact(profile), profile)
                inputs = bench.case.arrays(bench.points[0])
                bench.check(instance.infer(inputs), inputs, f"on {python}")
        assert not failed, "\n".join(failed)

    def test_a_whole_run(self, live: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BENCHFW_CACHE", str(live.host.cache.root))
        outcome = run_scenario(live.scenario(), live.registry, out=live.folder / "results")
        failed = [
            f"{row['case_id']}: {row['status']}: {row['status_reason']}"
            for row in outcome.rows
            if row["status"] != "OK"
        ]
        assert not failed, "\n".join(failed)
        assert outcome.rows, "the run has no case"


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


def _refused(kind: type[BenchfwError], call: Callable[[], object], what: str, remedy: str) -> str:
    """Demand that a call raises an error of this kind, and return its message."""
    try:
        call()
    except kind as error:
        return error.message
    except BenchfwError as error:
        pytest.fail(f"{what} raised {type(error).__name__} ({error.message}), not {kind.__name__}: {remedy}")
    pytest.fail(f"{what} was accepted: {remedy}")


def _case(bench: Bench, options: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return the options of a planned case, and its hash."""
    loaded = bench.scenario(options={**bench.case.options, **options})
    models = backend_options(bench.registry, {bench.info.name})
    plan = make_plan(loaded.scenario, backends=bench.registry.backends, options=models)
    return plan.cases[0].session.options, case_hash(plan.cases[0], {})


def _another(model: Any, options: Mapping[str, Any], name: str, schema: Mapping[str, Any]) -> Any:
    """Return another valid value of an option; None if none is found."""
    now = options[name]
    kinds = [schema, *schema.get("anyOf", [])]
    bounds = [kind[key] for kind in kinds for key in ("minimum", "maximum") if key in kind]
    numbers = [value for value in (now, *bounds) if isinstance(value, int | float)]
    candidates = [value for kind in kinds for value in kind.get("enum", [])]
    candidates += [not now, *(value + step for value in numbers for step in (0, 1, -1, 0.125)), 1, 2, 0.5, "other"]
    for value in candidates:
        if value != now and value is not None:
            with contextlib.suppress(ValueError):
                model.model_validate({**options, name: value})
                return value
    return None
