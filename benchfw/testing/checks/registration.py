"""Checks of what a plugin says of its backend: they run in the parent and need no framework."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from benchfw.errors import ScenarioError
from benchfw.executors.options import backend_options
from benchfw.measure.rows import case_hash
from benchfw.plugins import options_model
from benchfw.scenario import make_plan
from benchfw.testing.bench import Bench
from benchfw.testing.checks.refusals import refused
from benchfw.testing.imports import import_names

IMPORT_MS = 50.0
HEAVY = {
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
}


class RegistrationChecks:
    """The entry in the registry, its options, and what importing them costs."""

    def test_registration_is_complete(self, bench: Bench) -> None:
        """What is malformed is refused when it is registered; this is what may be missing."""
        info = bench.info
        assert info.summary, "BackendInfo.summary says in one line what this is"
        assert info.provider, "BackendInfo.provider is what the results say runs the model"
        assert info.install or not info.requires, "BackendInfo.install is the command that satisfies `requires`"

    def test_import_is_light(self, bench: Bench) -> None:
        plugin = bench.registry.provider("backend", bench.info.name)
        modules = [plugin.module, bench.info.options.partition(":")[0]]
        heavy = HEAVY | import_names(bench.info.requires)
        modules = [module for module in modules if module]
        looks = [_import_cost(modules) for _ in range(3)]
        names, news = " and ".join(modules), looks[0]["modules"]
        own = {*sys.stdlib_module_names, "benchfw", *(module.partition(".")[0] for module in modules)}
        others = [name for name in news if name not in own]  # who has brought the others comes first
        if not heavy.isdisjoint(news):
            pytest.fail(f"importing {names} imports {', '.join(others)}, which only workers may")
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
        words = refused(
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


def _import_cost(modules: list[str]) -> dict[str, Any]:
    """Import modules in a fresh interpreter that has pydantic and the contract already; return CPU time and modules."""
    code = (
        "import sys, time, json, importlib, pydantic, benchfw.spec, benchfw.spec.hooks\n"
        "class Other(pydantic.BaseModel):\n    model_config = pydantic.ConfigDict(extra='forbid', strict=True)\n"
        "    text: str = pydantic.Field('', description='')\n    number: pydantic.PositiveInt | None = None\n"
        "before, start = set(sys.modules), time.process_time()\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "cost = time.process_time() - start\n"
        "new = list(dict.fromkeys(name.partition('.')[0] for name in reversed(sys.modules) if name not in before))\n"
        "print(json.dumps({'cpu_ms': cost * 1e3, 'modules': new}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


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
