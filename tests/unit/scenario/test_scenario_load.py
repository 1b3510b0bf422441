"""Scenario files: what is accepted, and what is said of the rest."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import pytest
import tomllib
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, model_validator

from benchfw.errors import Fault, ScenarioError
from benchfw.scenario import Loaded, from_document, load, make_plan, parse
from benchfw.scenario.schema import FixedSweep
from benchfw.spec.backend import BackendInfo, Capabilities
from benchfw.testing.options import FakeOptions
from benchfw.testing.plugin import benchfw_register_backends

BACKENDS: dict[str, BackendInfo] = {info.name: info for info in benchfw_register_backends()}
BACKENDS["plain"] = BackendInfo(name="plain", summary="", factory="x:Y", accepts=("*",))
OPTIONS: dict[str, Any] = {"fake": FakeOptions, "fake-special": FakeOptions, "plain": None}

GOOD = """\
name = "test"

[model]
ref = "null:net"

[model.inputs.x]
shape = ["batch", 4]

[shapes]
batch = { min = 1, opt = 4, max = 8 }

[[sweep]]
kind = "fixed"
batch = [1, 4]

[[sweep]]
kind = "random-batch"

[[backend]]
use = "fake"

[[backend]]
use = "fake-special"
name = "two.dots.here"
"""


def _parse(text: str, *overrides: str, root: Path = Path()) -> Loaded:
    return parse(text, source="s.toml", root=root, overrides=overrides, backends=BACKENDS, options=OPTIONS)


def _faults(text: str, *overrides: str, root: Path = Path()) -> list[Fault]:
    with pytest.raises(ScenarioError) as caught:
        _parse(text, *overrides, root=root)
    return caught.value.faults


def _fault(text: str, *overrides: str, root: Path = Path()) -> Fault:
    faults = _faults(text, *overrides, root=root)
    assert len(faults) == 1, faults
    return faults[0]


def _line(text: str, part: str) -> int:
    assert text.count(part) == 1, part
    return text[: text.index(part)].count("\n") + 1


def test_a_good_scenario() -> None:
    loaded = _parse(GOOD)
    scenario = loaded.scenario
    assert scenario.name == "test"
    assert scenario.measure.effort == "standard"
    assert scenario.model_name == "net"
    assert scenario.reference == "fake"
    assert [entry.label for entry in scenario.backend] == ["fake", "two.dots.here"]
    assert isinstance(scenario.sweep[0], FixedSweep)
    assert scenario.sweep[0].axes == {"batch": [1, 4]}
    assert loaded.document == tomllib.loads(GOOD)


@pytest.mark.parametrize("key", ["io_scope", "graph", "sync", "cache"])
def test_labels_of_a_device_are_refused_on_the_cpu(key: str) -> None:
    values = {"io_scope": '["pinned"]', "graph": '["on"]', "sync": '["blocking"]', "cache": '["flush"]'}
    text = GOOD.replace('use = "fake"', f'use = "fake"\n{key} = {values[key]}', 1)
    fault = _fault(text)
    assert fault.path == ("backend", 0, key)
    assert "'fake' runs on the CPU" in fault.reason


@pytest.mark.parametrize(
    ("sync", "is_early", "options", "remedy"),
    [
        ('["spin"]', False, "", "return complete, so that nothing spins: leave `sync` out"),
        ('["spin", "blocking"]', False, "", "return complete, so that nothing spins: leave `sync` out"),
        ('["blocking"]', False, "", None),
        ('["spin", "blocking"]', True, "", None),
        ('["spin", "blocking"]', True, "early = true", None),
        ('["blocking"]', True, "early = false", None),
        (
            '["blocking", "spin"]',
            True,
            "early = false",
            "return complete with `early = false`, so that nothing spins: leave `sync` out, or that option",
        ),
    ],
)
def test_a_backend_that_has_waited_cannot_spin(sync: str, is_early: bool, options: str, remedy: str | None) -> None:
    """Its cases would say `blocking`, and the one that was asked for would be missing without a word."""

    class Options(BaseModel):
        early: bool = True

    able = Capabilities(devices=("cuda",), asynchronous=is_early)
    waits = BackendInfo(
        name="waits", factory="x:Y", accepts=("*",), capabilities=able, blocking_options={"early": False}
    )
    given = f'use = "waits"\nsync = {sync}\noptions = {{ {options} }}'
    text = GOOD.replace('use = "fake"', given, 1)

    def read() -> Loaded:
        backends = {**BACKENDS, "waits": waits}
        return parse(text, source="s.toml", root=Path(), backends=backends, options={**OPTIONS, "waits": Options})

    if remedy is None:
        assert read().scenario.backend[0].sync is not None
        return
    with pytest.raises(ScenarioError) as caught:
        read()
    (fault,) = caught.value.faults
    assert (fault.path, fault.line) == (("backend", 0, "sync"), _line(text, "sync = "))
    assert fault.reason == f"launches of 'waits' {remedy}"


@pytest.mark.parametrize("label", ["precision", "io_scope", "graph", "sync", "cache"])
def test_each_list_of_a_backend_multiplies_its_cases(label: str) -> None:
    """6000 sizes are allowed, and not in two ways each."""
    two = {
        "precision": '["fp32", "fp16"]',
        "io_scope": '["device", "pinned"]',
        "graph": '["off", "on"]',
        "sync": '["spin", "blocking"]',
        "cache": '["rotate", "warm"]',
    }
    able = Capabilities(devices=("cuda",), asynchronous=True, cuda_graph=True)
    backends = {"gpu": BackendInfo(name="gpu", factory="x:Y", accepts=("*",), capabilities=able)}
    sizes = [*range(1, 6001)]
    text = GOOD[: GOOD.index("[[sweep]]")].replace("max = 8", "max = 6000")
    text += f'[[sweep]]\nkind = "fixed"\nbatch = {sizes}\n[[backend]]\nuse = "gpu"\n'
    options: dict[str, Any] = {"gpu": None}
    assert parse(text, source="s.toml", root=Path(), backends=backends, options=options)
    with pytest.raises(ScenarioError, match="6000 points on 2 backends are more than 10000 cases"):
        parse(f"{text}{label} = {two[label]}\n", source="s.toml", root=Path(), backends=backends, options=options)


def test_all_kinds_of_faults_at_once_with_their_lines(tmp_path: Path) -> None:
    text = """\
name = "test"
threads = "four"
desciption = "x"

[model]
ref = "null:net"
seed = 1.5
weights = "no-such.pt"

[model.inputs.x]
shape = ["bach", 4]

[model.inputs.ids]
shape = ["batch"]
dtype = "int64"

[shapes]
batch = { min = 4, opt = 1, max = 8 }
depth = { min = 1, opt = 1, max = 1 }

[[sweep]]
kind = "fixed"
batsh = [1]

[[sweep]]
kind = "random-batch"
axis = "dept"

[[sweep]]
kind = "fixd"

[measure]
effort = "quik"
budget = "3 weeks"

[accuracy]
reference = "fakes"

[[backend]]
use = "fakee"

[[backend]]
use = "fake"
precision = ["fp31"]

[[backend]]
use = "fake"
environment = "old"
[backend.options]
latency = 3
scale = "big"

[environments.odl]
python = "python3.10"
"""
    expected = {
        ("threads", "threads", None),
        ("desciption", "desciption", "description"),
        ("model.seed", "seed", None),
        ("model.weights", "weights", None),
        ("model.inputs.x.shape[0]", "bach", "batch"),
        ("model.inputs.ids.high", "[model.inputs.ids]", None),
        ("shapes.batch", "batch = {", None),
        ("shapes.depth", "depth = {", None),
        ("sweep[0].batsh", "batsh", "batch"),
        ("sweep[1].axis", "axis = ", "depth"),
        ("sweep[2].kind", '"fixd"', "fixed"),
        ("measure.effort", "effort", "quick"),
        ("measure.budget", "budget", None),
        ("accuracy.reference", "reference", "fake"),
        ("backend[0].use", '"fakee"', "fake"),
        ("backend[1].precision[0]", '"fp31"', "fp32"),
        ("backend[2].use", 'use = "fake"\nenvironment', None),
        ("backend[2].environment", "environment = ", "odl"),
        ("backend[2].options.latency", "latency = ", "latency_us"),
        ("backend[2].options.scale", "scale", None),
    }
    found = {(fault.key, fault.line, fault.nearest) for fault in _faults(text, root=tmp_path)}
    assert found == {(key, _line(text, part), near) for key, part, near in expected}


def test_the_message_names_file_line_key_reason_and_nearest() -> None:
    with pytest.raises(ScenarioError) as caught:
        _parse(GOOD.replace('use = "fake"\n', 'usee = "fake"\n'))
    assert caught.value.exit_code == 2
    assert caught.value.message.splitlines() == [
        "s.toml:19: backend[0].use: is missing",
        "s.toml:20: backend[0].usee: unknown key (did you mean 'use'?)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "key", "nearest"),
    [
        ("[shapes]", "[shape]\nx = 1\n[shapes]", "shape", "shapes"),
        ('ref = "null:net"', 'ref = "null:net"\nsed = 1', "model.sed", "seed"),
        ("shape = [", 'dtipe = "int8"\nshape = [', "model.inputs.x.dtipe", "dtype"),
        ("opt = 4", "opt = 4, mx = 1", "shapes.batch.mx", "max"),
        ('kind = "random-batch"', 'kind = "random-batch"\nsed = 1', "sweep[1].sed", "seed"),
        ('use = "fake"\n', 'use = "fake"\nprecison = []\n', "backend[0].precison", "precision"),
    ],
)
def test_unknown_keys_have_the_nearest_name(old: str, new: str, key: str, nearest: str) -> None:
    fault = _fault(GOOD.replace(old, new))
    assert (fault.key, fault.nearest, fault.reason) == (key, nearest, "unknown key")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('name = "test"', "name = 5", "name"),
        ('name = "test"', 'name = "test"\nthreads = "4"', "threads"),
        ('name = "test"', 'name = "test"\nthreads = 4.0', "threads"),
        ('name = "test"', 'name = "test"\nthreads = true', "threads"),
        ('name = "test"', 'name = "test"\nthreads = 0', "threads"),
        ('name = "test"', 'name = "test"\nname2 = 1', "name2"),
        ('ref = "null:net"', 'ref = "no scheme"', "model.ref"),
        ("batch = [1, 4]", 'batch = ["1"]', "sweep[0].batch[0]"),
        ("batch = [1, 4]", "batch = [0]", "sweep[0].batch[0]"),
        ("batch = [1, 4]", "batch = []", "sweep[0].batch"),
        ("batch = [1, 4]", "batch = 4", "sweep[0].batch"),
        ("min = 1", "min = 1.0", "shapes.batch.min"),
        ("min = 1", "min = 0", "shapes.batch.min"),
        ("min = 1", "min = 5", "shapes.batch"),
        ('use = "fake"\n', 'use = "fake"\nprecision = "fp32"\n', "backend[0].precision"),
        ('use = "fake"\n', 'use = "fake"\nprecision = []\n', "backend[0].precision"),
        ('use = "fake"\n', 'use = "fake"\noptional = "yes"\n', "backend[0].optional"),
        ('use = "fake"\n', 'use = "fake"\nname = "a/b"\n', "backend[0].name"),
    ],
)
def test_types_are_strict(old: str, new: str, key: str) -> None:
    text = GOOD.replace(old, new)
    assert text != GOOD
    faults = _faults(text)
    assert {fault.key for fault in faults} == {key}
    assert all(fault.line is not None for fault in faults)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [('"3min"', 180.0), ('"90s"', 90.0), ('"1.5 h"', 5400.0), ('" 200ms "', 0.2), ("12", 12.0), ("0.5", 0.5)],
)
def test_durations(text: str, seconds: float) -> None:
    measure = _parse(f"{GOOD}\n[measure]\nbudget = {text}\n[measure.deadlines]\nblock = {text}\n").scenario.measure
    assert measure.budget == pytest.approx(seconds)
    assert measure.deadlines.block == pytest.approx(seconds)
    assert measure.deadlines.build == 1200.0


@pytest.mark.parametrize("text", ['"3"', '"min"', '"-3s"', '"3 days"', '"0s"', "0", "-1", "true", "[1]", "nan", "inf"])
def test_what_is_no_duration(text: str) -> None:
    fault = _fault(f"{GOOD}\n[measure]\nbudget = {text}\n")
    assert fault.key == "measure.budget"
    assert fault.line == GOOD.count("\n") + 3


# --- faults that need more than one value -----------------------------------------------------------------------


def test_an_axis_needs_a_range_and_a_range_an_axis() -> None:
    faults = _faults(GOOD.replace('["batch", 4]', '["batc", 4]'))
    assert {(fault.key, fault.nearest) for fault in faults} == {
        ("model.inputs.x.shape[0]", "batch"),
        ("shapes.batch", "batc"),
    }


@pytest.mark.parametrize(
    ("sweep", "key"),
    [
        ("range = [0, 4]", "range"),
        ("range = [1, 9]", "range"),
        ("range = [4, 1]", ""),
        ("range = [1, 2, 3]", "range"),
        ('range = "min..mx"', "range"),
        ('axis = "length"', "axis"),
        ('draw = "trace"', ""),
        ("trace = [1, 2]", ""),
        ('draw = "trace"\ntrace = [1, 9]', "trace"),
        ('draw = "trace"\ntrace = []', "trace"),
        ("seed = -1", "seed"),
    ],
)
def test_faults_of_random_sweeps(sweep: str, key: str) -> None:
    faults = _faults(GOOD.replace('kind = "random-batch"', f'kind = "random-batch"\n{sweep}'))
    assert {fault.path[:3] for fault in faults} == {("sweep", 1, key) if key else ("sweep", 1)}


@pytest.mark.parametrize(
    ("declared", "key"),
    [
        ('dtype = "int64"', "high"),
        ("low = 1.0", "high"),
        ("low = 1.0\nhigh = 1.0", "high"),
        ("high = 0.0", "high"),
        ('dtype = "float31"', "dtype"),
    ],
)
def test_faults_of_inputs(declared: str, key: str) -> None:
    fault = _fault(GOOD.replace('shape = ["batch", 4]', f'shape = ["batch", 4]\n{declared}'))
    assert fault.key == f"model.inputs.x.{key}"


@pytest.mark.parametrize(
    "declared",
    [
        "high = inf",
        "low = -inf\nhigh = 0.0",
        'dtype = "int64"\nhigh = inf',
        'dtype = "uint8"\nhigh = 300',
        'dtype = "uint8"\nlow = -1\nhigh = 3',
        'dtype = "int8"\nlow = 0.2\nhigh = 0.9',
    ],
)
def test_bounds_that_no_value_can_be_drawn_between_are_faults(declared: str) -> None:
    fault = _fault(GOOD.replace('shape = ["batch", 4]', f'shape = ["batch", 4]\n{declared}'))
    assert fault.key.startswith("model.inputs.x")


@pytest.mark.parametrize("values", ["min = 1, opt = 4, max = 1_000_000_000", "min = 1, opt = 4, max = 50_000"])
def test_a_random_sweep_of_more_sizes_than_a_block_holds_is_a_fault(values: str) -> None:
    text = GOOD.replace("min = 1, opt = 4, max = 8", values)
    text = text.replace('kind = "random-batch"', 'kind = "random-batch"\nrange = "min..max"')
    assert {fault.path[:2] for fault in _faults(text)} == {("sweep", 1)}


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('ref = "null:net"', f'ref = "null:net"\nseed = {2**64}', "model.seed"),
        ('name = "test"', f'name = "test"\nthreads = {2**31}', "threads"),
        ("batch = [1, 4]", f"batch = [{2**31}]", "sweep[0].batch[0]"),
    ],
)
def test_integers_that_the_results_cannot_hold_are_faults(old: str, new: str, key: str) -> None:
    assert _fault(GOOD.replace(old, new)).key == key


def test_too_many_cases() -> None:
    text = GOOD.replace("batch = [1, 4]", f"batch = {list(range(1, 60_000))}")
    assert _fault(text).key == "sweep"


def test_paths_of_weights_and_data(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"")
    (tmp_path / "samples").mkdir()
    good = GOOD.replace('ref = "null:net"', 'ref = "null:net"\nweights = "w.pt"\ndata = "samples"')
    assert _parse(good, root=tmp_path).scenario.model.weights == "w.pt"
    swapped = good.replace('"w.pt"', '"samples"').replace('data = "samples"', 'data = "w.pt"')
    faults = _faults(swapped, root=tmp_path)
    assert {fault.key for fault in faults} == {"model.weights", "model.data"}
    assert {fault.line for fault in faults} == {_line(swapped, "weights"), _line(swapped, "data = ")}


@pytest.mark.parametrize("name", ["a\\u0000b", "x" * 5000])
def test_impossible_file_names_are_faults(name: str) -> None:
    assert _fault(GOOD.replace('ref = "null:net"', f'ref = "null:net"\nweights = "{name}"')).key == "model.weights"


def test_options_are_validated_by_the_model_of_the_backend() -> None:
    text = GOOD.replace('use = "fake"\n', 'use = "fake"\noptions = { latency_us = -1.0, scal = 2.0, at = "never" }\n')
    faults = {fault.key: fault for fault in _faults(text)}
    assert set(faults) == {f"backend[0].options.{name}" for name in ("latency_us", "scal", "at")}
    assert faults["backend[0].options.scal"].nearest == "scale"
    assert "-1.0" in faults["backend[0].options.latency_us"].reason
    assert {fault.line for fault in faults.values()} == {_line(text, "options")}


def test_a_backend_without_options_takes_none() -> None:
    fault = _fault(GOOD + '\n[[backend]]\nuse = "plain"\noptions = { x = 1 }\n')
    assert fault.key == "backend[2].options"


def test_options_of_steps_are_validated_where_steps_are_known() -> None:
    text = GOOD + "\n[steps.Fake]\nscal = 2.0\n[steps.Bare]\nx = 1\n[steps.Fak]\n"
    steps = {"Fake": FakeOptions, "Bare": None}
    with pytest.raises(ScenarioError) as caught:
        parse(text, source="s", root=Path(), backends=BACKENDS, options=OPTIONS, steps=steps)
    found = {(fault.key, fault.line, fault.nearest) for fault in caught.value.faults}
    assert found == {
        ("steps.Fake.scal", _line(text, "scal = 2.0"), "scale"),
        ("steps.Bare", _line(text, "[steps.Bare]"), None),
        ("steps.Fak", _line(text, "[steps.Fak]"), "Fake"),
    }
    assert _parse(text).scenario.steps["Fake"] == {"scal": 2.0}


class Export(BaseModel):
    """Options one of which is right beside some values of another, as those of an exporter."""

    model_config = ConfigDict(extra="forbid")
    exporter: Literal["new", "old"] = "new"
    opset: int = 20

    @model_validator(mode="after")
    def _made_by_the_exporter(self) -> Export:
        if self.exporter == "new" and self.opset < 18:
            raise ValueError("new makes 18 and later")
        return self


def _step_faults(text: str, *overrides: str) -> set[tuple[str, int | None, str | None]]:
    steps = {"Export": Export, "Bare": None}
    try:
        parse(text, source="s", root=Path(), overrides=overrides, backends=BACKENDS, options=OPTIONS, steps=steps)
    except ScenarioError as error:
        return {(fault.key, fault.line, fault.nearest) for fault in error.faults}
    return set()


def test_options_of_steps_of_a_backend_are_validated_where_they_stand() -> None:
    text = GOOD + "\n[backend.steps.Export]\nopse = 16\n[backend.steps.Bare]\nx = 1\n[backend.steps.Exprt]\n"
    assert _step_faults(text) == {
        ("backend[1].steps.Export.opse", _line(text, "opse"), "opset"),
        ("backend[1].steps.Bare", _line(text, "[backend.steps.Bare]"), None),
        ("backend[1].steps.Exprt", _line(text, "[backend.steps.Exprt]"), "Export"),
    }
    fault = _fault(GOOD + "steps.Export = 1\n")
    assert (fault.key, fault.line) == ("backend[1].steps.Export", _line(GOOD + "steps.Export", "steps.Export"))
    assert _fault(GOOD + "step.Export.opset = 20\n").nearest == "steps"
    absent = GOOD + '[[backend]]\nuse = "absent"\noptional = true\nsteps.StepOfItsPlugin = {}\n'
    assert _step_faults(absent) == set(), "it is skipped, whatever it says"


@pytest.mark.parametrize(
    ("shared", "own", "at"),
    [
        ('exporter = "old"', "opset = 16", None),
        ("opset = 18", 'exporter = "old"', None),
        ('exporter = "old"\nopset = 16', 'exporter = "new"', "backend[1].steps.Export"),
        ("opset = 16", 'exporter = "old"', "steps.Export"),
        ("opset = 16", "opset = 17", "both"),
    ],
)
def test_options_of_a_backend_are_judged_beside_those_of_the_file(shared: str, own: str, at: str | None) -> None:
    text = f"{GOOD}steps.Export = {{ {own} }}\n[steps.Export]\n{shared}\n"
    keys = {"backend[1].steps.Export", "steps.Export"} if at == "both" else {at} - {None}
    assert {key for key, _, _ in _step_faults(text)} == keys


def test_set_reaches_the_steps_of_a_backend() -> None:
    loaded = _parse(GOOD, "backend.two.dots.here.steps.Export.opset=16", "backend.0.steps.Bare={}")
    assert [entry.steps for entry in loaded.scenario.backend] == [{"Bare": {}}, {"Export": {"opset": 16}}]
    assert _step_faults(GOOD, "backend.fake.steps.Export.opse=16") == {("backend[0].steps.Export.opse", None, "opset")}


def test_samplers_are_looked_up_where_they_are_known() -> None:
    text = GOOD + '\n[measure]\nsamplers = ["host", "hots", "host"]\n'
    with pytest.raises(ScenarioError) as caught:
        parse(text, source="s", root=Path(), backends=BACKENDS, options=OPTIONS, samplers={"host": None})
    line = _line(text, "samplers")
    found = [(fault.key, fault.line, fault.nearest) for fault in caught.value.faults]
    assert found == [("measure.samplers[1]", line, "host"), ("measure.samplers[2]", line, None)]
    assert _parse(text).scenario.measure.samplers == ["host", "hots", "host"]
    assert _parse(GOOD).scenario.measure.samplers is None


def test_an_unknown_backend_is_a_fault_unless_it_is_optional() -> None:
    fault = _fault(GOOD.replace('use = "fake"\n', 'use = "fakey"\n'))
    assert (fault.key, fault.nearest) == ("backend[0].use", "fake")
    text = GOOD.replace('use = "fake"\n', 'use = "fakey"\noptional = true\noptions = { any = 1 }\n')
    assert _parse(text).scenario.backend[0].optional


@pytest.mark.parametrize("use", ["a/b", "", "a b", "../x"])
def test_the_name_of_an_optional_backend_is_a_name_too(use: str) -> None:
    """It goes into case ids, whose parts are told apart by slashes."""
    assert _fault(GOOD + f'\n[[backend]]\nuse = "{use}"\noptional = true\n').key == "backend[2].use"


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ("", "", "backend[1].use"),
        ("", 'name = "fake"', "backend[1].name"),
        ('name = "x"', 'name = "x"', "backend[1].name"),
    ],
)
def test_names_of_backends_are_unique(first: str, second: str, key: str) -> None:
    head = GOOD[: GOOD.index("[[backend]]")]
    fault = _fault(f'{head}[[backend]]\nuse = "fake"\n{first}\n[[backend]]\nuse = "fake"\n{second}\n')
    assert fault.key == key
    assert "backend[0]" in fault.reason


def test_a_name_makes_one_backend_two() -> None:
    assert len(_parse(GOOD + '\n[[backend]]\nuse = "fake"\nname = "again"\n').scenario.backend) == 3


def test_environments() -> None:
    text = GOOD + '\nenvironment = "old"\n[environments.old]\npython = "python3.10"\nenv = { A = "1" }\n'
    assert _parse(text).scenario.environments["old"].env == {"A": "1"}
    fault = _fault(text.replace("[environments.old]", "[environments.older]"))
    assert (fault.key, fault.nearest) == ("backend[1].environment", "older")
    assert _fault(text.replace('A = "1"', "A = 1")).key == "environments.old.env.A"
    assert _parse(text.replace('python = "python3.10"\n', "")).scenario.environments["old"].python is None


@pytest.mark.parametrize(
    ("name", "table", "key", "reason"),
    [
        ("old", 'packages = ["a==1", "b=1"]', "environments.old.packages[1]", "'b=1' is no requirement"),
        ("old", "packages = [\"a; python_version<'3'\"]", "environments.old.packages[0]", "has a marker or an address"),
        ("old", 'packages = ["a @ https://x/a.whl"]', "environments.old.packages[0]", "has a marker or an address"),
        ("old", 'packages = "a"', "environments.old.packages", "list"),
        ("default", "", "environments.default", "is the name of benchfw's own interpreter"),
        ('"../x"', "", "environments.../x", "is no name"),
    ],
)
def test_faults_of_environments(name: str, table: str, key: str, reason: str) -> None:
    quoted = json.dumps(name.strip('"'))
    fault = _fault(f"{GOOD}\nenvironment = {quoted}\n[environments.{name}]\n{table}\n")
    assert fault.key == key
    assert reason in fault.reason
    assert fault.line is not None and fault.line > GOOD.count("\n")


def test_the_reference_is_a_backend_that_runs_in_fp32() -> None:
    assert _fault(GOOD + '\n[accuracy]\nreference = "two.dots"\n').nearest == "two.dots.here"
    fault = _fault(GOOD + 'precision = ["fp16"]\n[accuracy]\nreference = "two.dots.here"\n')
    assert (fault.key, fault.reason) == ("accuracy.reference", "'two.dots.here' does not run in fp32")


@pytest.mark.parametrize(
    ("table", "line", "key", "nearest", "reason"),
    [
        ("fp16", "rel_l22 = 0.1", "fp16.rel_l22", "rel_l2", "unknown key"),
        ("fp16", "outside_share = 1.5", "fp16.outside_share", None, "less than or equal to 1"),
        ("fp16", "outside_share = -0.1", "fp16.outside_share", None, "greater than or equal to 0"),
        ("fp16", "rel_l2 = 0", "fp16.rel_l2", None, "greater than 0"),
        ("fp16", "rel_l2 = nan", "fp16.rel_l2", None, "got nan"),
        ("fp16", "rel_l2 = inf", "fp16.rel_l2", None, "less than or equal to 1"),
        ("fp16", 'rel_l2 = "1e-2"', "fp16.rel_l2", None, "valid number"),
        ("fp16", "rtol = -1", "fp16.rtol", None, "greater than or equal to 0"),
        ("int8", "cosine = 2", "int8.cosine", None, "less than or equal to 1"),
        ("fp16", "rel_l2_warn = 0.02", "fp16.rel_l2_warn", None, "is 0.02, above 0.006, where `rel_l2` fails"),
        ("fp16.outputs.y", "rel_l2_warn = 0.02", "fp16.outputs.y.rel_l2_warn", None, "is 0.02, above 0.006"),
        ("fp16.outputs.y", "rel = 0.02", "fp16.outputs.y.rel", "rel_l2", "unknown key"),
    ],
)
def test_faults_of_tolerances(table: str, line: str, key: str, nearest: str | None, reason: str) -> None:
    fault = _fault(text := f"{GOOD}\n[accuracy.tolerance.{table}]\n{line}\n")
    assert (fault.key, fault.nearest, fault.line) == (f"accuracy.tolerance.{key}", nearest, _line(text, line))
    assert reason in fault.reason


def test_a_tolerance_of_no_precision_has_the_nearest_name() -> None:
    fault = _fault(text := f"{GOOD}\n[accuracy.tolerance.fp61]\nrel_l2 = 0.1\n")
    assert (fault.key, fault.nearest) == ("accuracy.tolerance.fp61", "fp16")
    assert fault.line == _line(text, "[accuracy.tolerance.fp61]")
    assert _fault(f"{GOOD}\n[accuracy.tolerences.fp16]\nrel_l2 = 0.1\n").nearest == "tolerance"


# --- faults beside faults ---------------------------------------------------------------------------------------


def test_a_backend_without_use_does_not_shift_the_places_of_the_others() -> None:
    head = GOOD[: GOOD.index("[[backend]]")]
    text = f'{head}[[backend]]\nname = "nameless"\n\n[[backend]]\nuse = "fakee"\n\n[[backend]]\nuse = "fake"\n'
    assert {(fault.key, fault.line) for fault in _faults(text)} == {
        ("backend[0].use", _line(text, "[[backend]]\nname")),
        ("backend[1].use", _line(text, '"fakee"')),
    }


def test_a_sweep_without_kind_does_not_shift_the_places_of_the_others() -> None:
    text = GOOD.replace('kind = "fixed"', "").replace('kind = "random-batch"', 'kind = "fixed"\nbatsh = [1]')
    assert {(fault.key, fault.line) for fault in _faults(text)} == {
        ("sweep[0]", _line(text, "[[sweep]]\n\n")),
        ("sweep[1].batsh", _line(text, "batsh")),
    }


def test_a_bad_dimension_is_one_fault_and_hides_no_other() -> None:
    text = GOOD.replace('["batch", 4]', '[-2, "batch", "bach"]')
    faults = _faults(text)
    assert {fault.key for fault in faults} == {"model.inputs.x.shape[0]", "model.inputs.x.shape[2]"}


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('name = "test"', "", "name"),
        ('name = "test"', 'name = "te st"', "name"),
        ('ref = "null:net"', "", "model.ref"),
        ('ref = "null:net"', 'ref = "net"', "model.ref"),
    ],
)
def test_a_fault_of_a_key_without_default_hides_no_other(old: str, new: str, key: str) -> None:
    faults = _faults(GOOD.replace(old, new).replace('use = "fake"\n', 'use = "fakee"\n'))
    assert {fault.key for fault in faults} == {key, "backend[0].use"}


# --- files ------------------------------------------------------------------------------------------------------


def _load(path: Path) -> Loaded:
    return load(path, backends=BACKENDS, options=OPTIONS)


def test_a_file_is_read_and_is_the_root_of_its_paths(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(GOOD, encoding="utf-8")
    loaded = _load(path)
    assert loaded.root == tmp_path.resolve()
    assert loaded.source == str(path)


@pytest.mark.parametrize(
    ("content", "reason", "line"),
    [
        (b'name = "x"\n\nbroken = \n', "not TOML", 3),
        (b"a = 1\na = 2\n", "not TOML", 2),
        (b"a = [\n", "not TOML", None),
        (b'name = "\xff"\n', "is not UTF-8", None),
        (b"#" * ((1 << 20) + 1), "larger than", None),
        (b"x = " + b"[" * 5000, "not TOML", None),
    ],
)
def test_files_that_are_no_scenarios(content: bytes, reason: str, line: int | None, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError) as caught:
        _load(path)
    (fault,) = caught.value.faults
    assert fault.reason.startswith(reason)
    assert line is None or fault.line == line
    assert str(path) in caught.value.message


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ScenarioError) as caught:
            _load(path)
        assert caught.value.faults[0].reason.startswith("cannot be read")
        assert caught.value.hint


def test_integers_of_thousands_of_digits_are_a_fault() -> None:
    digits = "9" * 5000
    assert _fault(f"threads = {digits}\n{GOOD}").reason
    for assignment in (f"threads={digits}", f"backend.{digits}.use=fake"):
        assert _faults(GOOD, assignment)


@pytest.mark.parametrize("text", ["x" + ".x" * 3000 + " = 1\n", "[x" + ".x" * 3000 + "]\n"])
def test_keys_of_thousands_of_parts_are_a_fault(text: str) -> None:
    assert _faults(f"{text}{GOOD}" if text.startswith("x") else f"{GOOD}{text}")


# --- --set ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("name=other", ("name",), "other"),
        ('name="other"', ("name",), "other"),
        ("threads = 3", ("threads",), 3),
        ("measure.effort=quick", ("measure", "effort"), "quick"),
        ("measure.deadlines.block=5s", ("measure", "deadlines", "block"), "5s"),
        ("sweep.0.batch=[2, 8]", ("sweep", 0, "batch"), [2, 8]),
        ("backend.0.precision=['fp16']", ("backend", 0, "precision"), ["fp16"]),
        ("backend.fake.options.scale=2.0", ("backend", 0, "options", "scale"), 2.0),
        ("backend.two.dots.here.options.scale=2.0", ("backend", 1, "options", "scale"), 2.0),
        ("description=a=b", ("description",), "a=b"),
        ("description=", ("description",), ""),
        ("shapes.batch.max=16", ("shapes", "batch", "max"), 16),
        ("sweep.1={kind = 'min-opt-max'}", ("sweep", 1), {"kind": "min-opt-max"}),
    ],
)
def test_set_reaches_every_value(assignment: str, path: tuple[str | int, ...], value: object) -> None:
    here: Any = _parse(GOOD, assignment).document
    for step in path:
        here = here[step]
    assert here == value


def test_later_sets_win() -> None:
    assert _parse(GOOD, "threads=1", "threads=2").scenario.threads == 2


@pytest.mark.parametrize(
    ("assignment", "nearest"),
    [
        ("threads", None),
        ("=3", None),
        (" = 3", None),
        ("name.x=3", None),
        ("name.x.y=3", None),
        ("shapes.batch.min.x=3", None),
        ("sweep.2.kind=fixed", None),
        ("sweep.-1.kind=fixed", None),
        ("sweep.first.kind=fixed", None),
        ("backend.fak.options.scale=2", "fake"),
        ("backend.7=x", None),
        ("sweep.0.batch.0.x=1", None),
    ],
)
def test_sets_that_lead_nowhere(assignment: str, nearest: str | None) -> None:
    with pytest.raises(ScenarioError) as caught:
        _parse(GOOD, assignment)
    assert f"--set {assignment}" in caught.value.message
    assert caught.value.faults[0].nearest == nearest


def test_the_name_of_a_backend_alone_is_a_path_too() -> None:
    fault = _fault(GOOD, "backend.two.dots.here=5")
    assert fault.key == "backend[1]"


def test_faults_of_set_values_say_so_instead_of_a_line() -> None:
    fault = _fault(GOOD, "sweep.0.batch=[0]")
    assert fault.line is None
    assert fault.reason.endswith("(from --set)")
    fault = _fault(GOOD, "backend.fake.options.scal=2")
    assert (fault.line, fault.nearest) == (None, "scale")


# --- nothing else is ever raised --------------------------------------------------------------------------------

_SCALARS: st.SearchStrategy[Any] = (
    st.integers(-2, 12)
    | st.floats()
    | st.booleans()
    | st.text(max_size=5)
    | st.dates()
    | st.sampled_from(["batch", "fixed", "min-opt-max", "random-batch", "trace", "fp16", "fake", "plain", "int64"])
)
_VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
_MUTATED = tomllib.loads(
    GOOD.replace('use = "fake"\n', 'use = "fake"\noptions = { scale = 1.0 }\nenvironment = "e"\n')
    + '[environments.e]\npython = "p"\n[measure]\nbudget = "3s"\n[measure.deadlines]\n[accuracy]\nreference = "fake"\n'
)


def _attempt(call: Callable[[], Loaded]) -> Loaded | None:
    """Return what was loaded, or None if it was refused with faults; anything else is raised."""
    faults: list[Fault] = []
    loaded = None
    try:
        loaded = call()
    except ScenarioError as error:
        faults = error.faults
    assert (loaded is None) == bool(faults)
    assert all(fault.reason for fault in faults)
    return loaded


def _places(value: Any) -> Iterable[tuple[Any, Any]]:
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


@st.composite
def _mutated_documents(draw: st.DrawFn) -> dict[str, Any]:
    document = copy.deepcopy(_MUTATED)
    for _ in range(draw(st.integers(1, 3))):
        place, key = draw(st.sampled_from(list(_places(document))))
        action = draw(st.sampled_from(["replace", "delete", "insert", "rename"]))
        if action == "replace":
            place[key] = draw(_VALUES)
        elif action == "insert":
            if isinstance(place, dict):
                place[draw(st.text(max_size=6) | st.sampled_from(["range", "trace", "draw", "high"]))] = draw(_VALUES)
            else:
                place.append(draw(_VALUES))
        elif action == "delete" or isinstance(place, list):
            del place[key]
        else:
            place[f"{key}x"] = place.pop(key)
        if not document:
            break
    return document


@settings(max_examples=300, deadline=None, derandomize=True)
@given(_mutated_documents())
def test_mutated_documents_load_and_plan_or_are_refused(document: dict[str, Any]) -> None:
    loaded = _attempt(lambda: from_document(document, source="s", root=Path(), backends=BACKENDS, options=OPTIONS))
    if loaded is not None:
        assert make_plan(loaded.scenario, backends=BACKENDS, options=OPTIONS).cases


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(max_size=60) | st.text('[]{}"=.,\n ab1', max_size=60))
def test_arbitrary_text_is_refused(text: str) -> None:
    assert _faults(text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, len(GOOD)), st.integers(0, 12), st.text('[]{}"=.,\n batch1', max_size=6))
def test_mutated_text_loads_or_is_refused(start: int, length: int, insert: str) -> None:
    _attempt(lambda: _parse(GOOD[:start] + insert + GOOD[start + length :]))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(["backend", "sweep", "model", "0", "1", "fake", "two", "dots", "here", "x", ""]))
    .map(".".join)
    .flatmap(lambda key: st.text(max_size=6).map(lambda value: f"{key}={value}"))
)
def test_arbitrary_sets_apply_or_are_refused(assignment: str) -> None:
    _attempt(lambda: _parse(GOOD, assignment))
