"""Discovery of plugins, whole and broken ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from benchfw.errors import PluginError, UnknownName
from benchfw.plugins import Registry, discover, options_model
from benchfw.spec.artifact import ModelSourceInfo, StepInfo
from benchfw.spec.backend import BackendInfo
from benchfw.spec.hooks import hookimpl
from benchfw.spec.info import SPEC_VERSION
from benchfw.testing.options import FakeOptions

Make = Callable[..., str]


def _backend(name: str, **more: Any) -> BackendInfo:
    return BackendInfo(name=name, summary="", factory="x:Y", accepts=("*",), **more)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a function that makes a module with these hooks importable."""

    def module(name: str, **hooks: Callable[[], Any]) -> str:
        made = ModuleType(name)
        for hook, function in hooks.items():
            setattr(made, hook, hookimpl(function))
        monkeypatch.setitem(sys.modules, name, made)
        return name

    return module


def _reason(registry: Registry, name: str) -> str:
    (broken,) = (plugin for plugin in registry.broken if plugin.name.startswith(name))
    return broken.reason


def test_the_builtin_plugin_is_always_there() -> None:
    registry = discover(extra=[])
    assert "null" in registry.backends
    assert {"null", "onnx"} <= set(registry.model_sources)
    assert "StaticOnnxFromOnnx" in registry.steps
    assert registry.owners["backend null"] == "benchfw"


def test_everything_that_a_plugin_registers(make: Make) -> None:
    name = make(
        "made_up",
        benchfw_register_backends=lambda: [_backend("mine")],
        benchfw_register_model_sources=lambda: [ModelSourceInfo(scheme="mine", summary="", format="f", factory="x:Y")],
        benchfw_register_steps=lambda: [StepInfo(name="FFromG", source="g", target="f", factory="x:Y")],
    )
    registry = discover(extra=[name])
    assert registry.backend("mine") == _backend("mine")
    assert registry.model_source("mine").format == "f"
    assert registry.steps["FFromG"].source == "g"
    assert [registry.owners[key] for key in ("backend mine", "model source mine", "step FFromG")] == ["made_up"] * 3
    assert name not in [plugin.name for plugin in registry.broken]


def test_plugins_of_the_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [make(f"env_{n}", benchfw_register_backends=lambda n=n: [_backend(f"mine-{n}")]) for n in range(2)]
    monkeypatch.setenv("BENCHFW_PLUGINS", ",".join(names))
    assert {"mine-0", "mine-1"} <= set(discover().backends)
    monkeypatch.setenv("BENCHFW_PLUGINS", "")
    assert "mine-0" not in discover().backends


def test_of_two_plugins_with_one_name_the_first_is_kept_and_both_are_named(make: Make) -> None:
    first = make("plugin_one", benchfw_register_backends=lambda: [_backend("mine", provider="one")])
    second = make("plugin_two", benchfw_register_backends=lambda: [_backend("other"), _backend("mine", provider="two")])
    registry = discover(extra=[first, second])
    assert registry.backends["mine"].provider == "one"
    assert "other" not in registry.backends, "a plugin is registered wholly or not at all"
    reason = _reason(registry, "plugin_two")
    assert reason == "DuplicateName: backend 'mine' is registered by plugin_one and by plugin_two"


def test_a_plugin_that_registers_one_name_twice_is_broken(make: Make) -> None:
    name = make("twice", benchfw_register_backends=lambda: [_backend("mine", provider="one"), _backend("mine")])
    registry = discover(extra=[name])
    assert "mine" in _reason(registry, "twice")
    assert "mine" not in registry.backends


def test_the_same_name_for_different_things_is_no_duplicate(make: Make) -> None:
    name = make(
        "both",
        benchfw_register_backends=lambda: [_backend("onnx")],
        benchfw_register_steps=lambda: [StepInfo(name="null", source="g", target="f", factory="x:Y")],
    )
    registry = discover(extra=[name])
    assert "onnx" in registry.backends and "null" in registry.steps


def test_an_import_error_is_listed_and_everything_else_works(make: Make) -> None:
    good = make("good", benchfw_register_backends=lambda: [_backend("mine")])
    registry = discover(extra=["no_such_module_anywhere", good])
    assert _reason(registry, "no_such_module_anywhere").startswith("ModuleNotFoundError")
    assert "mine" in registry.backends and "null" in registry.backends


def test_a_hook_that_raises_is_listed(make: Make) -> None:
    def fail() -> list[BackendInfo]:
        raise RuntimeError("no licence")

    registry = discover(extra=[make("failing", benchfw_register_backends=fail)])
    assert _reason(registry, "failing") == "RuntimeError: no licence"


def test_a_misspelt_hook_is_listed(make: Make) -> None:
    registry = discover(extra=[make("misspelt", benchfw_register_backend=lambda: [_backend("mine")])])
    assert "benchfw_register_backend" in _reason(registry, "misspelt")
    assert "mine" not in registry.backends


def test_a_newer_contract_is_listed(make: Make) -> None:
    name = make("newer", benchfw_register_backends=lambda: [_backend("mine", spec=SPEC_VERSION + 1)])
    registry = discover(extra=[name])
    assert f"contract {SPEC_VERSION + 1}, this benchfw has {SPEC_VERSION}" in _reason(registry, "newer")
    assert "mine" not in registry.backends


@pytest.mark.parametrize("answer", [["text"], [None], 5, [5]])
def test_a_hook_that_returns_nonsense_is_listed(make: Make, answer: object) -> None:
    registry = discover(extra=[make("nonsense", benchfw_register_backends=lambda: answer)])
    assert _reason(registry, "nonsense")
    assert "null" in registry.backends


def test_a_hook_may_return_nothing(make: Make) -> None:
    registry = discover(extra=[make("nothing", benchfw_register_backends=lambda: None)])
    assert "nothing" not in [plugin.name.split()[0] for plugin in registry.broken]


def test_unknown_names_have_the_nearest_or_all() -> None:
    registry = discover(extra=[])
    with pytest.raises(UnknownName, match="the backend 'nul'") as caught:
        registry.backend("nul")
    assert caught.value.hint == "did you mean 'null'?"
    with pytest.raises(UnknownName, match="the model source 'qqqq'") as caught:
        registry.model_source("qqqq")
    assert caught.value.hint and "onnx" in caught.value.hint


def test_options_models() -> None:
    assert options_model(_backend("a")) is None
    assert options_model(_backend("a", options="benchfw.testing.options:FakeOptions")) is FakeOptions
    for missing in ("no_such_module:X", "benchfw.testing.options:NoSuch"):
        with pytest.raises(PluginError, match="'a' cannot be imported"):
            options_model(_backend("a", options=missing))
