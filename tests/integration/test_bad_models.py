"""Bad input, item by item: a status with place and remedy in a run, whose other cases go on, and in the commands.

Beyond one item of each kind: tests/unit/onnx_steps for the steps, tests/unit/core for the readers of files,
tests/unit/scenario for scenarios that contradict themselves.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import benchfw
from benchfw.artifacts import Cache
from benchfw.artifacts.entries import leftovers
from benchfw.cli import main
from benchfw.errors import ScenarioError, UsageError
from benchfw.executors.resume import Resume
from benchfw.plugins import discover
from benchfw.testing.project import FAKES, Project, virtual_backend
from tests.unit.onnx_steps.graphs import convolutions, set_weight

pytestmark = [pytest.mark.framework, pytest.mark.usefixtures("brief", "_warm")]

SCENARIO = """
name = "bad"
threads = 1
[model]
ref = "onnx:m.onnx"
[model.inputs.x]
shape = ["batch", 3, 8, 8]
[shapes]
batch = { min = 1, opt = 2, max = 4 }
[[sweep]]
kind = "fixed"
batch = [2]
[measure]
effort = "quick"
budget = "1s"
"""
GOOD = virtual_backend("good", 1000.0)
"""Takes any model as it is."""
ORT = '[[backend]]\nuse = "ort-cpu"\n'
FOREIGN = """
from benchfw.spec import BackendInfo, StepInfo
from benchfw.spec.hooks import hookimpl


@hookimpl
def benchfw_register_steps():
    return [
        StepInfo(name="ForeignFromOnnx", source="onnx", target="foreign", runtime="foreign", factory="engines:Build")
    ]


@hookimpl
def benchfw_register_backends():
    return [
        BackendInfo(name="foreign", factory="engines:Loads", accepts=("foreign",),
                    options="benchfw.testing.options:FakeOptions")
    ]
"""
ENGINES = """
import struct
from pathlib import Path
from benchfw.spec import Step
from benchfw.testing.fakes import FakeBackend
from benchfw_tensorrt.header import check_engine

class Build(Step):
    def run(self, artifact, *, inputs, profile, precision, destination):
        destination.write_bytes(struct.pack("<4s12xQ4B36x", b"vtrt", 64, 1, 6, 1, 120))
        return {}

class Loads(FakeBackend):
    def load(self, artifact):
        check_engine(Path(artifact.path), "1.7.1.116")
        return super().load(artifact)
"""
"""An engine that another version has built, which the cache would not hand out."""


@dataclass(frozen=True)
class Bad:
    """One item.

    Attributes:
        spoil: Makes it, in a folder with the model `m.onnx`.
        place, remedy: What is said of it.
        backends: Tables of the scenario.
        overrides: Other keys of the scenario.
        statuses: Of the cases, by backend, precision and batch.
        commands: Exit codes of commands, by their arguments.
        full_disk: Nothing above 1 MB can be written.
    """

    spoil: Callable[[Path], None]
    place: str
    remedy: str
    statuses: Mapping[str, str]
    commands: Mapping[str, int]
    backends: str = ORT + GOOD
    overrides: tuple[str, ...] = ()
    full_disk: bool = False


NOTHING_RUNS = {"ort-cpu fp32 2": "BUILD_FAILED", "good fp32 2": "BUILD_FAILED"}
"""All cases use the one model."""
OPENVINO = '[[backend]]\nuse = "openvino"\n'
OTHERS_RUN = {"ort-cpu fp32 2": "BUILD_FAILED", "good fp32 2": "OK"}
SIMPLIFY, INSPECT, BUILD = "simplify m.onnx -o out.onnx", "inspect m.onnx", "build m.onnx --for foreign"
CHECK, QUANTIZE = "check m.onnx --backend ort-cpu --batch 2", "quantize m.onnx -o out.onnx"
EVERY = {
    **dict.fromkeys((SIMPLIFY, BUILD, CHECK, QUANTIZE, "export m.onnx -o out.onnx"), 3),
    "profile m.onnx --backend ort-cpu": 3,
    INSPECT: 2,
}


def cut(folder: Path) -> None:
    content = (folder / "m.onnx").read_bytes()
    (folder / "m.onnx").write_bytes(content[: len(content) // 2])


def foreign(folder: Path) -> None:
    (folder / "m.onnx").write_bytes(b"GIF89a, not a model")


def external(location: str) -> Callable[[Path], None]:
    """Put the weights into a file of their own; `location` is where the model looks for it."""

    def spoil(folder: Path) -> None:
        onnx.save(convolutions(), str(folder / "m.onnx"), save_as_external_data=True, location="w", size_threshold=0)
        model = onnx.load(str(folder / "m.onnx"), load_external_data=False)
        for tensor in model.graph.initializer:
            next(item for item in tensor.external_data if item.key == "location").value = location
        (folder / "m.onnx").write_bytes(model.SerializeToString())

    return spoil


def changed(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        model = onnx.load(str(folder / "m.onnx"))
        change(model)
        onnx.save(model, str(folder / "m.onnx"))

    return spoil


def unknown_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("of.nobody", 1))
    model.graph.node[1].op_type, model.graph.node[1].domain, model.graph.node[1].name = "Wobble", "of.nobody", "odd"


def future_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def nan_weight(model: onnx.ModelProto) -> None:
    set_weight(model, "w3", np.full((4, 8), np.nan, np.float32))


def fixed_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4


def large_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(300_000, np.float32), "w4"))


def no_samples(folder: Path) -> None:
    (folder / "samples").mkdir()


ITEMS = {
    "a truncated ONNX": Bad(cut, "m.onnx is not an ONNX model", "copy or export it again", NOTHING_RUNS, EVERY),
    "a foreign file": Bad(
        foreign,
        "m.onnx is not an ONNX model",
        "copy or export it again",
        NOTHING_RUNS,
        {SIMPLIFY: 3, INSPECT: 2},
    ),
    "external data missing": Bad(
        external("gone"),
        "external data 'gone' of m.onnx does not exist",
        "copy them along, or export the model anew",
        NOTHING_RUNS,
        {SIMPLIFY: 3, INSPECT: 2},
    ),
    "external data outside of its folder": Bad(
        external("../w"),
        "external data '../w' of m.onnx lies outside of the model's folder",
        "put it beside the model or below",
        NOTHING_RUNS,
        {SIMPLIFY: 3, INSPECT: 2},
    ),
    "an unsupported operator": Bad(
        changed(unknown_operator),
        "of.nobody.Wobble (node 'odd')",
        "replace them in the model",
        {**OTHERS_RUN, "openvino fp32 2": "BUILD_FAILED"},
        {CHECK: 3},
        backends=ORT + OPENVINO + GOOD,
    ),
    "an unsupported opset": Bad(
        changed(future_opset),
        "the model has opset 99, ONNX itself ends at ",
        "export it with an older one",
        OTHERS_RUN,
        {CHECK: 3},
    ),
    "a size that the model does not take": Bad(
        changed(fixed_batch),
        "axis 0 of input 'x' is fixed to 4, 2 was asked for",
        "leave it out of the scenario, or export the model with a dynamic axis",
        {"ort-cpu fp32 2": "UNSUPPORTED", "ort-cpu fp32 4": "OK"},
        {},
        backends=ORT,
        overrides=('sweep=[{kind="fixed",batch=[2,4]}]',),
    ),
    "an engine of another version": Bad(
        lambda folder: None,
        "was made by TensorRT-RTX 1.6.1.120, which only that version can load; here is 1.7.1.116",
        "build it again",
        {"foreign fp32 2": "BUILD_FAILED", "good fp32 2": "OK"},
        {},
        backends='[[backend]]\nuse = "foreign"\n' + GOOD,
    ),
    "NaN weights": Bad(
        changed(nan_weight),
        "m.onnx: the weight 'w3' holds NaN",
        "train or export the model again",
        NOTHING_RUNS,
        EVERY | {INSPECT: 0},
    ),
    "an empty calibration folder": Bad(
        no_samples,
        "'samples' has no calibration data",
        "a folder of .npz, .npy or images, or python:MODULE:CALLABLE",
        {"ort-cpu int8 2": "BUILD_FAILED", "ort-cpu fp32 2": "OK"},
        {f"{QUANTIZE} --calibration samples": 3},
        backends='[[backend]]\nuse = "ort-cpu"\nprecision = ["fp32", "int8"]\n',
        overrides=('steps.Int8Onnx.calibration="samples"',),
    ),
    "a full disk": Bad(
        changed(large_weight),
        "cannot be written: OSError: [Errno 27] File too large",
        "make room there",
        OTHERS_RUN,
        {"export m.onnx -o out.onnx --batch 2": 3},
        full_disk=True,
    ),
}
WARM = pytest.mark.usefixtures("warm_workers")
EACH = pytest.mark.parametrize("bad", ITEMS.values(), ids=ITEMS)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A folder with a model, below another one; the plugin `foreign` is installed."""
    code, folder = tmp_path / "code", tmp_path / "project"
    code.mkdir()
    folder.mkdir()
    (code / "foreign.py").write_text(FOREIGN)
    (code / "engines.py").write_text(ENGINES)
    monkeypatch.syspath_prepend(str(code))
    monkeypatch.setenv("BENCHFW_PLUGINS", f"{FAKES},foreign")
    monkeypatch.setenv("BENCHFW_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(folder)
    onnx.save(convolutions(), str(folder / "m.onnx"))
    (tmp_path / "w").write_bytes(bytes(10_000))
    monkeypatch.setenv("BENCHFW_LOCKS", str(tmp_path / "locks"))
    yield Project(folder, discover())
    for name in ("foreign", "engines"):
        sys.modules.pop(name, None)


@pytest.fixture
def disk(request: pytest.FixtureRequest) -> Iterator[None]:
    """No file may grow beyond 1 MB, in this process and its workers, where the item wants that."""
    if not request.getfixturevalue("bad").full_disk:
        request.getfixturevalue("warm_workers")  # which do not inherit limits
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return what the files in a folder hold, and when they were written."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}


def statuses(rows: list[dict[str, object]]) -> dict[str, object]:
    return {f"{row['name']} {row['precision']} {row['batch']}": row["status"] for row in rows}


@EACH
def test_in_a_run_it_is_a_status_with_place_and_remedy_and_the_rest_goes_on(
    project: Project, request: pytest.FixtureRequest, bad: Bad
) -> None:
    bad.spoil(project.folder)
    before = contents(project.folder)
    request.getfixturevalue("disk")
    outcome, results = project.run(SCENARIO + bad.backends, *bad.overrides)
    assert statuses(outcome.rows) == bad.statuses
    assert len(results.cases) == len(outcome.rows)
    for row in outcome.rows:
        if row["status"] != "OK":
            assert bad.place in row["status_reason"] and bad.remedy in row["status_reason"], row["status_reason"]
    assert contents(project.folder) == before
    assert not list(leftovers(Cache.default())), "nothing half made"


@EACH
def test_a_command_says_the_same(
    project: Project,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bad: Bad,
) -> None:
    bad.spoil(project.folder)
    before = contents(project.folder)
    request.getfixturevalue("disk")
    for arguments, code in bad.commands.items():
        monkeypatch.setattr(sys, "argv", ["benchfw", *arguments.split()])
        with pytest.raises(SystemExit) as end:
            main()
        err = capsys.readouterr().err
        assert end.value.code == code, (arguments, err)
        if code:
            assert bad.place in err and bad.remedy in err, (arguments, err)
    assert contents(project.folder) == before


# --- a model that is there and broken -------------------------------------------------------------------------------


@WARM
def test_a_run_of_it_ends_with_a_table_and_code_3(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(project.folder)
    (project.folder / "s.toml").write_text(SCENARIO + GOOD)
    monkeypatch.setattr(sys, "argv", ["benchfw", "run", "s.toml", "-q"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 3
    out = capsys.readouterr().out
    assert "BUILD_FAILED m/good/fp32/any/batch2: " in out and "logs/artifacts.log" in out


@WARM
def test_its_cases_are_repeated_when_asked_for_and_measured_once_it_is_repaired(project: Project) -> None:
    good = (project.folder / "m.onnx").read_bytes()
    text = SCENARIO.replace('[model.inputs.x]\nshape = ["batch", 3, 8, 8]\n', "") + GOOD  # the model says its inputs
    cut(project.folder)
    first, _ = project.run(text)
    for retry in (False, True):
        again, _ = project.run(text, resume=Resume(folder=first.folder, retry_failed=retry))
        assert statuses(again.rows) == {"good fp32 2": "BUILD_FAILED"}
        assert again.rows[0]["status_reason"] == first.rows[0]["status_reason"]
    (project.folder / "m.onnx").write_bytes(good)
    repaired, results = project.run(text, resume=Resume(folder=first.folder, retry_failed=True))
    assert [row["status"] for row in repaired.rows] == ["OK"]
    assert results.manifests[0]["model_hash"] == repaired.rows[0]["model_hash"]
    cut(project.folder)
    with pytest.raises(UsageError, match=r"model_hash: \w+ then, now .*m\.onnx is not an ONNX model"):
        project.run(text, resume=Resume(folder=first.folder))


@WARM
def test_of_two_models_only_the_broken_ones_cases_fail(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.folder / "n.onnx").write_bytes(b"GIF89a, not a model")
    (project.folder / "s.toml").write_text(SCENARIO + GOOD)
    arguments = ["ab", "s.toml", "--b", "model.ref=onnx:n.onnx", "--json", "-q"]
    monkeypatch.setattr(sys, "argv", ["benchfw", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 3, capsys.readouterr()
    cases = benchfw.load(project.results).cases
    found = dict(zip(cases["arm"], cases["status"], strict=True))
    assert found == {"a": "OK", "control": "OK", "b": "BUILD_FAILED"}


# --- a reference that leads nowhere ---------------------------------------------------------------------------------


@WARM
def test_a_model_that_is_not_there_is_a_fault_of_the_scenario(project: Project) -> None:
    os.remove(project.folder / "m.onnx")
    with pytest.raises(ScenarioError, match=r"test\.toml: model\.ref: no such model: .*m\.onnx") as caught:
        project.run(SCENARIO + GOOD)
    assert caught.value.exit_code == 2 and "relative to the scenario file" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ('["batch", 3, 8]', "model.inputs.x.shape: has 3 dimensions, the model 4"),
        ('["batch", 3, 9, 8]', "model.inputs.x.shape[2]: is 9, the model takes 8"),
    ],
)
@WARM
def test_shapes_that_contradict_the_model_are_a_fault_of_the_scenario(
    project: Project, shape: str, reason: str
) -> None:
    with pytest.raises(ScenarioError) as caught:
        project.run(SCENARIO.replace('["batch", 3, 8, 8]', shape) + GOOD)
    assert reason in caught.value.message
