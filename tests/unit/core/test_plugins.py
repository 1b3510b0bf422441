"""Discovery of plugins, whole and broken ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchfw.builtin.git import checkout
from benchfw.errors import BuildFailed, Fault, MissingDependency, PluginError, ScenarioError, UnknownName
from benchfw.executors.options import backend_options, step_options
from benchfw.plugins import Registry, discover, load_class, options_model
from benchfw.spec.artifact import FormatInfo, ModelSourceInfo, StepInfo
from benchfw.spec.backend import PRECISIONS, BackendInfo, Capabilities
from benchfw.spec.events import Event, Notice, Stage
from benchfw.spec.hooks import hookimpl
from benchfw.spec.info import SPEC_VERSION
from benchfw.spec.packages import BuiltFor, Bundle, Wants
from benchfw.spec.plan import PlanEdit
from benchfw.testing.options import FakeOptions
from benchfw.worker import imports

Make = Callable[..., str]


def _backend(name: Any, **more: Any) -> BackendInfo:
    return BackendInfo(**{"name": name, "factory": "x:Y", "accepts": ("*",), **more})


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
    assert "FixedBatchOnnx" in registry.steps
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


class _Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_an_exception_that_cannot_be_printed_is_listed_by_its_class(make: Make) -> None:
    def fail() -> None:
        raise _Mute

    assert _reason(discover(extra=[make("mute", benchfw_register_backends=fail)]), "mute") == "_Mute"


def test_a_module_without_hooks_is_listed(make: Make) -> None:
    assert _reason(discover(extra=[make("bare")]), "bare") == "PluginError: no hooks found: is @hookimpl missing?"


def test_an_entry_point_that_is_no_module_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [metadata.EntryPoint("odd", "benchfw.testing.plugin:benchfw_register_backends", "benchfw")]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)
    assert "not a module" in _reason(discover(extra=[]), "odd")


def _wants(**fields: Any) -> Wants:
    return Wants(**{"distributions": ("b",), "versions": "", "text": "t", "remedy": "r", **fields})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 5),
        ("name", ""),
        ("name", "my backend"),
        ("name", "-x"),
        ("name", "x" * 81),
        ("name", ["x"]),
        ("factory", "package.module"),
        ("factory", "package.module:"),
        ("factory", ":Name"),
        ("factory", "package-of-mine:Name"),
        ("factory", None),
        ("options", "package.module"),
        ("options", FakeOptions),
        ("summary", None),
        ("install", ("pip", "install")),
        ("provider", 1),
        ("requires", "onnx>=1.19"),
        ("requires", ["onnx"]),
        ("requires", ("onnx >> 1",)),
        ("requires", (5,)),
        ("requires", ("onnx>=1.19 |",)),
        ("imports", "my_package"),
        ("imports", ("my-distribution",)),
        ("accepts", "onnx"),
        ("accepts", ()),
        ("accepts", ("",)),
        ("spec", "1"),
        ("capabilities", {"precisions": ("fp32",)}),
        ("exact_options", ("optimization",)),
        ("blocking_options", ("asynchronous",)),
        ("bundles", Bundle(packages=("a",))),
        ("bundles", (Bundle(packages=()),)),
        ("bundles", (Bundle(packages=("a>",)),)),
        ("bundles", (Bundle(packages=("a",), python="3.11"),)),
        ("bundles", (Bundle(packages=("a",), cuda="13"),)),  # type: ignore[arg-type]
        ("bundles", (Bundle(packages=("a",), instead_of="b"),)),  # type: ignore[arg-type]
        ("modules", ("a",)),
        ("modules", {"a": "b"}),
        ("built_for", BuiltFor(distribution="a", versions="==1.*")),
        ("built_for", (BuiltFor(distribution="a", versions="1.*"),)),
        ("built_for", (BuiltFor(distribution="a", versions="", cuda_remedy="{nobody}"),)),
        ("built_for", (BuiltFor(distribution="a", versions="", cuda_remedy="{found}"),)),
        ("built_for", (BuiltFor(distribution="a", versions="", wants=(_wants(text="{0}"),)),)),
        ("built_for", (BuiltFor(distribution="a", versions="", wants=(_wants(versions=">"),)),)),
        ("built_for", (BuiltFor(distribution="a", versions="", wants=(_wants(distributions=("",)),)),)),
        ("built_for", (BuiltFor(distribution="a", versions="", wants=[_wants()]),)),  # type: ignore[arg-type]
    ],
)
def test_a_field_that_is_not_what_the_contract_says_is_listed(make: Make, field: str, value: object) -> None:
    info = _backend(**{"name": "mine", field: value})
    registry = discover(extra=[make("malformed", benchfw_register_backends=lambda: [_backend("good"), info])])
    assert f"{field} is {value!r:.80}, not " in _reason(registry, "malformed")
    assert "backend " in _reason(registry, "malformed")
    assert "good" not in registry.backends and "null" in registry.backends


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("precisions", "fp32"),
        ("precisions", ()),
        ("precisions", ("fp31",)),
        ("devices", "cpu"),
        ("devices", ()),
        ("specializes", "no"),
    ],
)
def test_what_a_backend_can_do_is_checked_too(make: Make, field: str, value: Any) -> None:
    info = _backend("mine", capabilities=Capabilities(**{field: value}))
    reason = _reason(discover(extra=[make("malformed", benchfw_register_backends=lambda: [info])]), "malformed")
    assert reason.startswith(f"PluginError: backend 'mine': capabilities: {field} is {value!r}, not ")
    assert field != "precisions" or reason.endswith(", ".join(PRECISIONS))


@pytest.mark.parametrize(
    ("hook", "info"),
    [
        ("model_sources", ModelSourceInfo(scheme="on:nx", format="f", factory="x:Y")),
        ("model_sources", ModelSourceInfo(scheme="mine", format="", factory="x:Y")),
        ("formats", FormatInfo(name="mine", factory="x:Y", begins=("text",))),  # type: ignore[arg-type]
        ("formats", FormatInfo(name="mine", factory="x:Y", begins=(b"",))),
        ("steps", StepInfo(name="FFromG", source="g", target=None, factory="x:Y")),  # type: ignore[arg-type]
        ("steps", StepInfo(name="FFromG", source="g", target="f", factory="x:Y", profiles=("fixed",))),
    ],
)
def test_other_registrations_are_checked_alike(make: Make, hook: str, info: object) -> None:
    registry = discover(extra=[make("malformed", **{f"benchfw_register_{hook}": lambda: [info]})])
    assert ", not " in _reason(registry, "malformed")


def test_whoever_misses_something_is_told_of_broken_and_blocked_plugins(make: Make) -> None:
    registry = discover(extra=[make("bare")], blocked=["torch", "nobody"])
    lines = ["broken: bare (bare): PluginError: no hooks found: is @hookimpl missing?"]
    lines.append("blocked: torch (BENCHFW_BLOCK_PLUGINS)")
    assert registry.unusable() == lines
    assert registry.unmatched == ["nobody"]
    with pytest.raises(UnknownName) as caught:
        registry.backend("nul")
    assert caught.value.hint == "\n".join(["did you mean 'null'?", *lines])
    for unprovided, hint in ((True, "\n".join(lines)), (False, None)):
        with pytest.raises(ScenarioError) as error, registry.explaining():
            raise ScenarioError("s.toml", [Fault((), "no such thing", unprovided=unprovided)])
        assert error.value.hint == hint


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
        with pytest.raises(PluginError, match=f"options '{missing}' of 'a' cannot be imported"):
            options_model(_backend("a", options=missing))
    with pytest.raises(PluginError, match="not a pydantic model"):
        options_model(_backend("a", options="benchfw.testing.fakes:FakeBackend"))


@pytest.mark.parametrize("end", ["raise ValueError('no licence')", "raise SystemExit(0)"])
def test_models_of_options_are_imported_when_they_are_asked_for(
    make: Make, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ending_options.py").write_text(end)
    step = StepInfo(name="FFromG", source="g", target="f", factory="x:Y", options="ending_options:Options")
    name = make(
        "ending",
        benchfw_register_backends=lambda: [_backend("mine", options="ending_options:Options")],
        benchfw_register_steps=lambda: [step],
    )
    registry = discover(extra=[name])
    options = backend_options(registry, registry.backends)
    assert set(options) == set(registry.backends) and len(options) == len(registry.backends)
    assert options["null"] is None and options.get("nobody") is None
    for models, key in ((options, "mine"), (step_options(registry), "FFromG")):
        assert key in models
        with pytest.raises(PluginError, match=f"'ending_options:Options' of '{key}' cannot be imported: "):
            models[key]


@pytest.mark.parametrize(
    ("factory", "error", "words"),
    [
        ("benchfw_made_up.backends:X", BuildFailed, "no module 'benchfw_made_up.backends'"),
        ("benchfw_made_up.backend:X", BuildFailed, "benchfw_made_up.backend has no 'X'"),
        ("benchfw_made_up.cli:X", BuildFailed, "no module 'benchfw.no_such'"),
        ("benchfw_made_up.framework:X", MissingDependency, "needs the package 'no_such_framework'"),
    ],
)
def test_a_worker_tells_a_wrong_factory_from_a_missing_framework(
    factory: str, error: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "benchfw_made_up"
    package.mkdir()
    for module, text in {
        "__init__": "",
        "backend": "",
        "cli": "import benchfw.no_such",
        "framework": "import no_such_framework",
    }.items():
        (package / f"{module}.py").write_text(text)
    for name in [name for name in sys.modules if name.startswith("benchfw_made_up")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match=words) as caught:
        imports.load_class(factory)
    assert error is MissingDependency or factory in str(caught.value)


@pytest.mark.parametrize("error", [SystemExit(0), RuntimeError("no licence")])
def test_a_class_whose_module_does_not_import_is_the_fault_of_its_plugin(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "no_import.py").write_text(f"raise {error!r}")
    with pytest.raises(PluginError, match=f"'a' cannot be imported: {type(error).__name__}: {error}"):
        load_class(BackendInfo(name="a", factory="no_import:Class", accepts=("*",)))


# --- blocking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["torch", "benchfw_torch.plugin", "benchfw-torch", "benchfw_torch", "Benchfw-Torch"])
def test_a_plugin_is_blocked_by_its_name_its_module_or_its_distribution(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCHFW_BLOCK_PLUGINS", f" , {word}")
    monkeypatch.delitem(sys.modules, "benchfw_torch.plugin", raising=False)
    assert "torch" in {point.name for point in metadata.entry_points(group="benchfw")}
    registry = discover(extra=[])
    assert registry.blocked == ["torch"]
    assert "torch-eager" not in registry.backends
    assert "benchfw_torch.plugin" not in sys.modules, "it is not even imported"
    assert "null" in registry.backends


def test_own_plugins_and_those_of_the_environment_are_blocked_alike(make: Make) -> None:
    name = make("made_up", benchfw_register_backends=lambda: [_backend("mine")])
    registry = discover(extra=[name], blocked=["builtin", "benchfw.cli.plugin", name])
    assert registry.blocked == ["builtin", "commands", name]
    assert registry.commands == {}
    assert not {"mine", "null"} & set(registry.backends)
    assert list(registry.executors) == ["local"]


# --- hooks during a run ---------------------------------------------------------------------------------------------


def test_the_shipped_plugins_change_no_plan_and_add_facts_of_git_only(tmp_path: Path) -> None:
    registry = discover(extra=[])
    assert list(registry.plan_edits({}, ())) == []
    assert registry.metadata({}, tmp_path) == {}


def test_a_plugin_sees_a_copy_of_the_scenario(make: Make) -> None:
    def spoil(scenario: Any) -> Any:
        scenario["model"]["ref"] = "other:model"

    registry = discover(extra=[make("spoiler", benchfw_edit_plan=spoil, benchfw_add_metadata=spoil)])
    scenario = {"model": {"ref": "null:model"}}
    assert list(registry.plan_edits(scenario, ())) == []
    registry.metadata(scenario, Path())
    assert scenario == {"model": {"ref": "null:model"}}


@pytest.mark.parametrize(
    "edit",
    [
        lambda: 5,
        lambda: PlanEdit(skip=["a"]),  # type: ignore[arg-type]
        lambda: PlanEdit(first="batch2"),  # type: ignore[arg-type]
        lambda: sys.exit(1),
    ],
)
def test_an_edit_that_makes_no_sense_ends_the_command(make: Make, edit: Callable[[], Any]) -> None:
    registry = discover(extra=[make("wrong", benchfw_edit_plan=lambda: edit())])
    with pytest.raises(PluginError, match=r"the plugin wrong .* benchfw_edit_plan"):
        list(registry.plan_edits({}, ()))


def test_who_raises_at_an_event_is_told_nothing_more_and_the_others_are(make: Make) -> None:
    heard: list[str] = []
    calls: list[Event] = []

    def fail(event: Event) -> None:
        calls.append(event)
        raise ValueError("no network")

    names = [
        make("failing", benchfw_on_event=fail),
        make("hearing", benchfw_on_event=lambda event: heard.append(event.text)),
    ]
    told: list[Event] = []
    tell = discover(extra=names).teller(told.append)
    for text in ("one", "two"):
        tell(Stage(text))
    assert (len(calls), heard) == (1, ["one", "two"])
    assert [isinstance(event, Notice) for event in told] == [False, True, False], "also who is told little is told that"
    assert [event.text for event in told if isinstance(event, Stage)] == [
        "one",
        "warning: the plugin failing raised in benchfw_on_event and is told nothing more: ValueError: no network",
        "two",
    ]


@pytest.mark.parametrize("hook", ["benchfw_on_event", "benchfw_add_metadata", "benchfw_edit_plan"])
def test_a_keyboard_interrupt_is_the_users(make: Make, hook: str) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    registry = discover(extra=[make("interrupting", **{hook: interrupt})])
    calls: Mapping[str, Callable[[], object]] = {
        "benchfw_on_event": lambda: registry.teller(lambda event: None)(Stage("one")),
        "benchfw_add_metadata": lambda: registry.metadata({}, Path()),
        "benchfw_edit_plan": lambda: list(registry.plan_edits({}, ())),
    }
    with pytest.raises(KeyboardInterrupt):
        calls[hook]()


def test_what_a_plugin_prints_goes_to_stderr(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    def talk() -> None:
        print("I am a plugin")

    hooks = ("register_backends", "on_event", "add_metadata", "edit_plan")
    registry = discover(extra=[make("talking", **{f"benchfw_{hook}": talk for hook in hooks})])
    registry.teller(lambda event: None)(Stage("one"))
    registry.metadata({}, Path())
    list(registry.plan_edits({}, ()))
    assert capsys.readouterr() == ("", "I am a plugin\n" * 4)


def test_a_trace_says_what_is_found_and_what_hooks_return(make: Make) -> None:
    def fail() -> None:
        raise ValueError("no network")

    lines: list[str] = []
    name = make("traced", benchfw_edit_plan=lambda: PlanEdit(), benchfw_on_event=fail)
    registry = discover(extra=[name], blocked=["torch"], trace=lines.append)
    list(registry.plan_edits({}, ()))
    registry.teller(lambda event: None)(Stage("one"))
    starts = [line.rpartition(", ")[0] for line in lines]
    assert "builtin (benchfw): 1 backend, 2 model sources, 1 step, 1 format, 2 samplers" in starts
    assert f"torch (benchfw-torch {metadata.version('benchfw-torch')}): blocked" in lines
    assert starts[-3:] == [
        "traced (traced): no registrations",
        "traced: benchfw_edit_plan returned [PlanEdit(skip={}, first=())]",
        "traced: benchfw_on_event raised ValueError('no network')",
    ]


# --- git ------------------------------------------------------------------------------------------------------------


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "init.defaultBranch=trunk")
    run = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_the_commit_of_a_checkout_and_whether_it_is_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "below"
    below.mkdir()
    assert checkout(below) is None, "no checkout"
    _git(tmp_path, "init", "--quiet")
    assert checkout(below) is None, "no commit yet"
    (tmp_path / "s.toml").write_text("one")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "--no-gpg-sign", "-m", "one")
    clean = {"commit": _git(tmp_path, "rev-parse", "HEAD"), "branch": "trunk", "dirty": False}
    assert checkout(below) == clean
    (tmp_path / "elsewhere").write_text("nobody tracks it")
    (below / "results" / "run=1").mkdir(parents=True)
    (below / "results" / "run=1" / "manifest.json").write_text("{}")
    assert checkout(below) == clean, "neither what lies elsewhere nor results"
    (below / "model.py").write_text("nobody tracks it")
    assert checkout(below) == {**clean, "dirty": True}
    (tmp_path / ".gitignore").write_text("model.py")
    assert checkout(below) == clean, "ignored"
    monkeypatch.setenv("GIT_DIR", str(below / "nothing"))
    assert checkout(below) == clean, "variables of another checkout"
    monkeypatch.delenv("GIT_DIR")
    (tmp_path / "s.toml").write_text("two")
    assert checkout(below) == {**clean, "dirty": True}
    assert discover(extra=[]).metadata({}, below) == {"builtin": {"git": {**clean, "dirty": True}}}
    _git(tmp_path, "checkout", "--quiet", "--detach")
    assert checkout(below) == {**clean, "branch": None, "dirty": True}
    (tmp_path / ".git" / "index").write_bytes(b"damaged")
    assert checkout(below) == {**clean, "branch": None, "dirty": None}
    monkeypatch.setenv("PATH", str(below))
    assert checkout(below) is None, "no git on PATH"
