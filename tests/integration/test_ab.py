"""`benchfw ab`: two arms in turns, from the command line to the exit code. On the virtual clock."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import onnx
import pytest
from onnx import TensorProto, helper

import benchfw
from benchfw import plugins
from benchfw.analysis.gate import VERDICTS
from benchfw.cli import main, session
from benchfw.executors import arm
from benchfw.measure.comparisons import ROUNDS
from benchfw.measure.group import WINDOW_EVERY
from benchfw.measure.session import LiveSession
from benchfw.spec.events import Event, RoundDone
from benchfw.testing.project import FAKES, virtual_backend
from benchfw.testing.warm import WarmWorkers
from benchfw.worker.protocol import Message
from tests.brief import measure_little, small

pytestmark = pytest.mark.quiet

LATENCY_US = 1000.0
SCENARIO = small(
    "ab",
    """\
[measure]
effort = "quick"
invocations = 2
min_time = "50ms"
max_time = "100ms"
settle_time = "50ms"
deadlines = { block = 3.0 }
""",
)


def backend(name: str, factor: float = 1.0, **options: Any) -> str:
    return virtual_backend(name, LATENCY_US * factor, distribution="normal", spread=0.001, seed=-1, **options)


@dataclass(frozen=True)
class Ended:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def run(self) -> benchfw.Results:
        return benchfw.load(self.err.split("results: ")[1].split()[0])

    @property
    def verdicts(self) -> dict[tuple[str, str], str]:
        """Verdict of each backend and metric, from the table."""
        lines = (line.split() for line in self.out.splitlines())
        return {(line[3], line[1]): line[0] for line in lines if len(line) > 4 and line[0] in VERDICTS}


Cli = Callable[..., Ended]


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ab")


@pytest.fixture(scope="module")
def warm_module(_warm: WarmWorkers) -> Iterator[None]:
    with _warm:
        yield


@pytest.fixture(scope="module")
def console(folder: Path, patch: pytest.MonkeyPatch, warm_module: None) -> Callable[..., int]:
    """Run a command in this process, in the module's folder; its runs measure little."""
    measure_little(patch.setattr)
    patch.chdir(folder)
    patch.setenv("BENCHFW_PLUGINS", FAKES)
    patch.setenv("COLUMNS", "160")

    def run(*arguments: str) -> int:
        patch.setattr(sys, "argv", ["benchfw", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        return int(end.value.code or 0)

    return run


@pytest.fixture
def cli(console: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = console(*arguments)
        ended = Ended(code, *capsys.readouterr())
        assert "Traceback" not in ended.err, ended.err
        return ended

    return run


def write(folder: Path, name: str, *backends: str, scenario: str = SCENARIO) -> str:
    (folder / name).write_text(scenario + "".join(backends))
    return name


# --- one comparison, looked at from all sides -------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """The comparison that most tests look at: `slower` is 5 % slower in arm b, `faster` 5 % faster."""

    ended: Ended
    folder: Path

    @property
    def run_id(self) -> str:
        return str(self.ended.run.cases["run_id"].iloc[0])


@pytest.fixture(scope="module")
def compared(folder: Path, console: Callable[..., int]) -> Compared:
    scenario = SCENARIO.replace("invocations = 2", 'invocations = 1\ninterleave = "off"')
    file = write(folder, "two.toml", backend("slower"), backend("faster", 2.0), scenario=scenario)
    changes = (f"{name}.options.latency_us={value}" for name, value in (("slower", 1050.0), ("faster", 1900.0)))
    arguments = [part for change in changes for part in ("--b", f"backend.{change}")]
    with contextlib.redirect_stdout(_Text()) as out, contextlib.redirect_stderr(_Text()) as err:
        code = console("ab", file, *arguments, "--junit", "v.xml", "--markdown", "v.md", "--fail-on", "p50:2%")
    return Compared(Ended(code, str(out), str(err)), folder)


class _Text:
    """A text file in memory that is no terminal."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._parts: list[str] = []

    def write(self, text: str) -> int:
        self._parts.append(text)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False

    def __str__(self) -> str:
        return "".join(self._parts)


def test_a_slower_arm_is_a_regression(compared: Compared) -> None:
    ended = compared.ended
    assert ended.code == 1, ended.out + ended.err
    assert ended.verdicts == {("slower", "p50"): "REGRESSION", ("faster", "p50"): "IMPROVED"}
    assert "Traceback" not in ended.err


def test_cases_have_arms_and_what_they_take_turns_with(compared: Compared) -> None:
    """Whatever the scenario says: comparisons need turns, and more than one process."""
    cases = compared.ended.run.cases
    assert list(zip(cases["arm"], cases["name"], strict=True)) == [
        (arm, name) for arm in ("a", "control", "b") for name in ("slower", "faster")
    ]
    assert set(cases["status"]) == {"OK"}
    assert set(cases["interleave"]) == {"all"}
    assert (cases["invocations"] >= 2).all()
    assert [case_id.split("/")[0] for case_id in cases["case_id"]] == list(cases["arm"])


def test_speed_ups_are_over_the_same_backend_of_the_baseline(compared: Compared) -> None:
    cases = compared.ended.run.cases
    found = {(row["arm"], row["name"]): row["speedup"] for row in cases.to_dict("records")}
    expected = {"slower": 1 / 1.05, "faster": 1 / 0.95}
    for name, speedup in expected.items():
        assert found["a", name] == 1.0
        assert found["control", name] == pytest.approx(1.0, abs=0.01)
        assert found["b", name] == pytest.approx(speedup, rel=0.01)


def test_each_invocation_of_an_arm_is_a_process_of_its_own(compared: Compared) -> None:
    invocations = compared.ended.run.invocations
    assert len(invocations) == len(compared.ended.run.cases) * invocations["invocation"].nunique()
    assert not invocations.duplicated(["case_id", "worker"]).any()


def test_arms_take_turns(compared: Compared) -> None:
    blocks = compared.ended.run.blocks
    measured = blocks[blocks["phase"] == "measure"]
    turns = measured.groupby(["invocation", "round"])["case_id"].nunique()
    assert set(turns) == {6}
    assert (measured.groupby(["case_id", "invocation"])["round"].nunique() == ROUNDS).all()
    assert (measured.groupby(["invocation", "round"])["position"].nunique() == 6).all()


def test_what_was_decided_is_stored_with_its_noise(compared: Compared) -> None:
    found = compared.ended.run.comparisons
    effects, controls = (found[found["role"] == role].set_index("case_id") for role in ("effect", "control"))
    assert {str(case_id).split("/")[2]: verdict for case_id, verdict in effects["verdict"].items()} == {
        "slower": "regression",
        "faster": "improvement",
    }
    for case_id, row in effects.iterrows():
        assert row["baseline"] == str(case_id).replace("b/", "a/", 1)
        control = controls.loc[str(case_id).replace("b/", "control/", 1)]
        assert control["baseline"] == row["baseline"]
        assert 0 < row["noise_floor"] == control["noise_floor"] < 0.02
        assert control["ratio_low"] < 1.0 < control["ratio_high"] or abs(control["ratio"] - 1.0) < 0.01
    assert (found["n"] % ROUNDS == 0).all()


def test_verdicts_are_written_to_files(compared: Compared) -> None:
    suite = ET.parse(compared.folder / "v.xml").getroot()
    cases = list(suite.iter("testcase"))
    assert len(cases) == 2
    assert sum(case.find("failure") is not None for case in cases) == 1
    text = (compared.folder / "v.md").read_text()
    assert "benchfw ab" in text and "REGRESSION" in text and "IMPROVED" in text


def test_the_gate_says_the_same_of_the_stored_run(compared: Compared, cli: Cli) -> None:
    ended = cli("gate", compared.run_id, "--fail-on", "p50:2%")
    assert ended.code == 1
    assert ended.verdicts == compared.ended.verdicts
    assert ended.out == compared.ended.out
    milder = cli("gate", compared.run_id, "--fail-on", "p50:20%")
    assert (milder.code, set(milder.verdicts.values())) == (0, {"PASS"})


def test_the_throughput_of_arms_is_gated(compared: Compared, cli: Cli) -> None:
    ended = cli("gate", compared.run_id, "--fail-on", "throughput:2%", "--json")
    verdicts = {row["name"]: row["verdict"] for row in json.loads(ended.out)["verdicts"]}
    assert (ended.code, verdicts) == (1, {"slower": "REGRESSION", "faster": "IMPROVED"})


def test_a_comparison_is_not_resumed(compared: Compared, cli: Cli) -> None:
    ended = cli("run", "--resume", compared.run_id)
    assert ended.code == 2
    assert "is a comparison: half of one says nothing" in ended.err
    assert "start it anew with benchfw ab" in ended.err


# --- other comparisons ------------------------------------------------------------------------------------------


def test_equal_arms_are_no_regression(folder: Path, cli: Cli) -> None:
    """A backend that is not there, and need not be, is no failure."""
    absent = '[[backend]]\nuse = "nowhere"\noptional = true\n'
    file = write(folder, "equal.toml", backend("x"), backend("y"), absent)
    ended = cli("ab", file, file)
    assert ended.code in (0, 4), ended.out + ended.err
    assert set(ended.verdicts) == {("x", "p50"), ("y", "p50")}
    assert set(ended.verdicts.values()) <= {"PASS", "INCONCLUSIVE"}
    cases = ended.run.cases
    assert set(cases[cases["name"] == "nowhere"]["status"]) == {"SKIPPED"}


def test_two_files_whose_backends_have_other_names(folder: Path, cli: Cli) -> None:
    old, new = write(folder, "old.toml", backend("old")), write(folder, "new.toml", backend("new", 0.95))
    ended = cli("ab", old, new, "--fail-on", "p50:1%,throughput:1%")
    assert ended.code == 0, ended.out + ended.err
    assert set(ended.verdicts.values()) == {"IMPROVED"}
    run = ended.run
    assert list(run.cases["name"]) == ["old", "old", "new"]
    decided = run.comparisons.dropna(subset="verdict")
    assert dict(zip(decided["metric"], decided["verdict"], strict=True)) == {
        "p50": "improvement",
        "throughput": "improvement",
    }


def test_backends_of_one_file(folder: Path, cli: Cli) -> None:
    file = write(folder, "choice.toml", backend("fast"), backend("slow", 1.05))
    ended = cli("ab", file, "--a", "backend=fast", "--b", "backend=slow", "--json")
    data = json.loads(ended.out)
    assert (ended.code, data["exit_code"], ended.err) == (1, 1, "")
    (row,) = data["verdicts"]
    assert (row["verdict"], row["name"], row["level"], row["in_family"]) == ("REGRESSION", "slow", "round", True)
    assert row["baseline_case_id"].startswith("a/model/fast/") and row["case_id"].startswith("b/model/slow/")
    assert row["change_low"] < 0.05 < row["change_high"] or row["change"] == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize(("depths", "taken"), [("[2]", [2, 2, 2]), ("[1, 2]", [2, 2, 1])])
def test_throughput_is_compared_at_the_depth_of_each_arm(
    folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, depths: str, taken: list[int]
) -> None:
    """Arm b takes as long for one inference, but two at once get in each other's way."""
    known = plugins.registry()
    fake = known.backends["fake"]
    threads = replace(fake, name="fake-threads", capabilities=replace(fake.capabilities, releases_gil=True))
    registry = replace(known, backends={**known.backends, threads.name: threads})
    monkeypatch.setattr(plugins, "registry", lambda: registry)
    scenario = SCENARIO.replace("invocations = 2", f"invocations = 2\ndepths = {depths}")
    file = write(folder, "deep.toml", backend("x", use="fake-threads", releases_gil=True), scenario=scenario)
    ended = cli("ab", file, "--b", "backend.x.options.releases_gil=false", "--fail-on", "p50:5%,throughput:5%")
    assert ended.code == 1, ended.out + ended.err
    assert ended.verdicts == {("x", "p50"): "PASS", ("x", "throughput"): "REGRESSION"}
    run = ended.run
    assert list(run.cases["throughput_depth"]) == taken
    found = run.comparisons.set_index(["metric", "role"])
    assert found.loc[("p50", "effect"), "verdict"] == "equivalent"
    assert found.loc[("throughput", "effect"), "verdict"] == "regression"
    ratios = {role: found.loc[("throughput", role), "ratio"] for role in ("effect", "control")}
    assert ratios == pytest.approx({"effect": 2.0, "control": 1.0}, rel=0.02)
    assert found.loc[("p50", "effect"), "ratio"] == pytest.approx(1.0, rel=0.02)
    per_process = found["n"] / run.invocations["invocation"].nunique()
    assert (per_process["p50"] == ROUNDS).all()
    assert (per_process["throughput"] == ROUNDS / WINDOW_EVERY).all(), "the rounds with a window"


def test_each_arm_has_a_root_of_its_own(folder: Path, cli: Cli) -> None:
    """Two work trees, one scenario: the model of each arm is that of its tree."""
    for name, value in (("before", 1.0), ("after", 2.0)):
        (folder / name).mkdir()
        onnx.save(adding(value), folder / name / "net.onnx")
    file = write(folder, "root.toml", backend("x"), scenario=SCENARIO.replace("null:model", "onnx:net.onnx"))
    ended = cli("ab", file, "--a", "root=before", "--b", "root=after")
    assert ended.code in (0, 4), ended.out + ended.err
    (manifest,) = ended.run.manifests
    hashes = [hashlib.sha256((folder / name / "net.onnx").read_bytes()).hexdigest() for name in ("before", "after")]
    assert [manifest["model"]["sha256"], manifest["model_b"]["sha256"]] == hashes
    cases = ended.run.cases
    assert dict(zip(cases["arm"], cases["model_hash"], strict=True)) == {
        "a": hashes[0],
        "control": hashes[0],
        "b": hashes[1],
    }


def adding(value: float) -> onnx.ModelProto:
    """Return a model that adds a number to its input."""
    axes = ["batch", 4]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in ("x", "y")]
    constant = helper.make_tensor("c", TensorProto.FLOAT, [1], [value])
    graph = helper.make_graph([helper.make_node("Add", ["x", "c"], ["y"])], "net", [ends[0]], [ends[1]], [constant])
    return helper.make_model(graph)


def test_an_arm_without_a_number_of_threads_does_not_get_that_of_the_other(
    folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, int] = {}
    ask = LiveSession.ask

    def listening(self: LiveSession, kind: str, timeout: float, /, **values: Any) -> Message:
        if kind == "open":
            given[str(self.session.arm)] = values["context"]["threads"]
        return ask(self, kind, timeout, **values)

    monkeypatch.setattr(LiveSession, "ask", listening)
    monkeypatch.setattr(arm, "usable_cpus", lambda: 3)
    file = write(folder, "threads.toml", backend("x"))
    ended = cli(
        "ab", file, "--a", "threads=1", "--b", "backend.x.options.fault=raise", "--b", "backend.x.options.at=bind"
    )
    assert ended.code == 3
    assert given == {"a": 1, "control": 1, "b": 3}


# --- failures ---------------------------------------------------------------------------------------------------


def test_an_arm_that_crashes(folder: Path, cli: Cli) -> None:
    file = write(folder, "crash.toml", backend("x"))
    ended = cli("ab", file, "--b", "backend.x.options.fault=crash")
    assert ended.code == 3
    assert ended.verdicts == {("x", "p50"): "NOT_COMPARABLE"}
    assert "the case is CRASH: " in ended.out and "SIGSEGV" in ended.out
    run = ended.run
    assert dict(zip(run.cases["arm"], run.cases["status"], strict=True)) == {"a": "OK", "control": "OK", "b": "CRASH"}
    assert run.comparisons.empty


def test_an_arm_with_other_outputs(folder: Path, cli: Cli) -> None:
    file = write(folder, "wrong.toml", backend("x"))
    ended = cli("ab", file, "--b", "backend.x.options.scale=2.0")
    assert ended.code == 5
    assert "the case is ACCURACY_FAIL: before the timing" in ended.out


def test_an_arm_with_a_tolerance_of_its_own_says_so(folder: Path, cli: Cli) -> None:
    file = write(folder, "wide.toml", backend("x"))
    wide = ("--b", "accuracy.tolerance.fp32={rel_l2=0.02,outside_share=1.0}")
    ended = cli("ab", file, "--b", "backend.x.options.scale=1.01", *wide)
    assert "tolerance.rel_l2 1e-05 → 0.02" in ended.out
    cases, warnings = ended.run.cases, ended.run.warnings
    assert dict(zip(cases["arm"], cases["accuracy"], strict=True)) == {"a": "pass", "control": "pass", "b": "warn"}
    (case_id,) = warnings[warnings["code"] == "R05"]["case_id"]
    assert case_id.startswith("b/")


TWICE = SCENARIO.replace("batch = [2]", 'batch = [1]\n[[sweep]]\nkind = "min-opt-max"').replace("opt = 4", "opt = 1")
"""Its first cohort has a case with an artifact for its shape and one with an artifact for all, in one process."""


def test_rounds_of_a_case_that_was_measured_again_do_not_pair(folder: Path, cli: Cli) -> None:
    """In arm b one case takes the worker down, and the other one of it runs again, later and alone.

    That a case failed does not hide that others are slower.
    """
    file = write(folder, "again.toml", backend("x", use="fake-special", at_profile="static"), scenario=TWICE)
    slower = ("--b", "backend.x.options.latency_us=1050")
    ended = cli("ab", file, *slower, "--b", "backend.x.options.fault=crash")
    assert ended.code == 1
    assert "NOT_COMPARABLE, p50 of b/model/x/fp32/static/batch1: the case is CRASH: " in ended.out
    run = ended.run
    statuses = dict(zip(run.cases["case_id"], run.cases["status"], strict=True))
    assert statuses.pop("b/model/x/fp32/static/batch1") == "CRASH"
    assert set(statuses.values()) == {"OK"}
    blocks = run.blocks[run.blocks["phase"] == "measure"]
    first = blocks[(blocks["case_id"] == "b/model/x/fp32/dynamic/batch1") & (blocks["invocation"] == 0)]
    assert list(first["round"]) == list(range(ROUNDS, 2 * ROUNDS)), "the first group had those before"
    total = run.invocations["invocation"].nunique()
    again = run.comparisons[run.comparisons["cohort"] == "batch1"].set_index("role")
    assert (again.loc["effect", "n"], again.loc["control", "n"]) == (ROUNDS * (total - 1), ROUNDS * total)
    decided = run.comparisons.set_index(["cohort", "role"])["verdict"]
    assert decided["batch8", "effect"] == "regression"


# --- interrupted ------------------------------------------------------------------------------------------------


def test_an_interrupted_comparison_is_started_anew(folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def interrupting(_: object) -> Iterator[Callable[[Event], None]]:
        sent: list[Event] = []

        def notify(event: Event) -> None:
            if isinstance(event, RoundDone) and not sent:
                sent.append(event)
                os.kill(os.getpid(), signal.SIGINT)

        yield notify

    monkeypatch.setattr(session, "progress", interrupting)
    file = write(folder, "interrupted.toml", backend("x"))
    ended = cli("ab", file, "--b", "backend.x.options.latency_us=1050")
    assert ended.code == 130
    assert "interrupted by SIGINT; start the comparison anew: half of one says nothing" in ended.err
    assert "--resume" not in ended.err and "REGRESSION" not in ended.out
    (run_id,) = (
        path.name for path in Path("results").glob("run=*") if benchfw.load(path).manifests[0]["state"] == "interrupted"
    )
    refused = cli("run", "--resume", run_id.removeprefix("run="))
    assert refused.code == 2
    assert "start it anew with benchfw ab" in refused.err


# --- mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["both arms are the same", "--a backend=X --b backend=Y"]),
        (["--b", "backend=z"], ["the scenario has no such backend", "it has: x, y"]),
        (["--b", "root=nowhere"], ["--b root=nowhere: there is no such folder"]),
        (["--a", "root=nowhere"], ["--a root=nowhere: there is no such folder"]),
        (["--b", "backend=x"], ["only one of the arms has y-fp32 (any)", "choose one backend per arm"]),
        (["--b", "sweep.0.batch=[4]"], ["only one of the arms has the shapes batch2, batch4", "same sweeps"]),
        (["--b", "nonsense"], ["nonsense"]),
        (["--a", "backend=x", "--b", "backend=y", "--fail-on", "p51:1%"], ["p51"]),
        (["--b", "backend=x", "--sweep", "random-batch"], ["--sweep random-batch", "only fixed"]),
        (
            ["--a", "backend=x", "--b", "backend=y", "--lock-clocks", "1410"],
            ["--lock-clocks was given, and no case runs on a GPU", "leave it out"],
        ),
    ],
)
def test_mistakes_name_the_place_and_the_remedy(folder: Path, cli: Cli, arguments: list[str], words: list[str]) -> None:
    file = write(folder, "mistakes.toml", backend("x"), backend("y"))
    ended = cli("ab", file, *arguments)
    assert ended.code == 2, ended.err
    for text in words:
        assert text in ended.err
