"""Where steps run, and when what they made of before will do; with workers that are made up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchfw.artifacts import Builder, Cache, Made, Wanted
from benchfw.errors import MissingDependency
from benchfw.spec import Artifact, Profile, StepInfo
from benchfw.spec.artifact import ALWAYS

SIMPLIFY = StepInfo(name="Simplify", source="onnx", target="onnx", factory="x:Simplify", on_request=True)
ENGINE = StepInfo(
    name="EngineFromOnnx",
    source="onnx",
    target="engine",
    runtime="r",
    factory="x:Engine",
    requires=("r>=2",),
    uses=("helper",),
    reads=(ALWAYS,),
)


class FakeWorker:
    """Writes what it is asked for, and notes where."""

    alive = True

    def __init__(self, environment: str, packages: Mapping[str, str], ran: list[tuple[str, str]]) -> None:
        self.hello = {"packages": packages, "python": "3.10.1"}
        self.environment, self._ran = environment, ran
        self.gpu = "A"
        self.gpus: dict[str, str] = {}
        self.told: list[tuple[str, str]] = []
        self.closed = False

    def ask_long(self, kind: str, timeout: float, beat: Any, **values: Any) -> Any:
        gpu = self.gpus.get(values["device"], self.gpu)
        if kind == "step_reads":
            return Answer({"reads": {"gpu": gpu}})
        self._ran.append((values["factory"], self.environment))
        self.told.append((values["factory"], values["device"]))
        Path(values["destination"]).write_text(gpu)
        return Answer({"meta": {}})

    def close(self) -> None:
        self.closed = True


class Answer:
    def __init__(self, values: dict[str, Any]) -> None:
        self.values = values


class Shop:
    """A builder, and its workers by environment."""

    def __init__(self, folder: Path) -> None:
        self.workers: dict[str, FakeWorker] = {}
        self.ran: list[tuple[str, str]] = []
        self.packages = {"default": {}, "old": {"r": "2.1"}, "new": {"r": "3.0", "helper": "1"}}
        self.folder = folder
        self.builder = self.make_builder()

    def make_builder(self) -> Builder:
        def start(environment: str) -> Any:
            self.workers[environment] = FakeWorker(environment, self.packages[environment], self.ran)
            return self.workers[environment]

        return Builder(
            start=start,
            cache=Cache(self.folder / "cache"),
            steps={step.name: step for step in (SIMPLIFY, ENGINE)},
            options=lambda name, options: {},
            timeout=1.0,
        )

    def engine(self, environment: str, device: str = "cpu") -> Made:
        model = self.folder / "m.onnx"
        model.write_text("model")
        source = Artifact(format="onnx", path=str(model), sha256="0" * 64)
        wanted = Wanted(accepts=("engine",), given={"Simplify": {}}, environment=environment, device=device)
        return self.builder.make(source, wanted, inputs=(), profile=Profile({}))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path)
    yield made
    made.builder.close()


def test_engines_are_built_where_they_run_and_all_else_here(shop: Shop) -> None:
    old, new = shop.engine("old"), shop.engine("new")
    assert shop.ran == [("x:Simplify", "default"), ("x:Engine", "old"), ("x:Engine", "new")]
    assert old.artifact.path != new.artifact.path  # the versions that made them differ
    assert old.notes == new.notes == ()  # and neither is made again
    shop.builder.end_worker()
    assert all(worker.closed for worker in shop.workers.values()) and len(shop.workers) == 3


def test_engines_are_built_on_the_device_that_runs_them(shop: Shop) -> None:
    shop.builder._worker_in("old").gpus = {"cuda:0": "A", "cuda:1": "B", "cuda:2": "A"}  # type: ignore[attr-defined]
    made = [shop.engine("old", f"cuda:{number}") for number in (0, 1, 2, 0)]
    assert [Path(each.artifact.path).read_text() for each in made] == ["A", "B", "A", "A"]
    assert made[0].artifact == made[2].artifact == made[3].artifact, "equal devices share an engine"
    assert [note for each in made for note in each.notes] == []
    assert shop.workers["old"].told == [("x:Engine", "cuda:0"), ("x:Engine", "cuda:1")]
    assert shop.workers["default"].told == [("x:Simplify", "cpu")], "a graph is of no device"


def test_an_environment_that_lacks_what_builds_is_named(shop: Shop) -> None:
    with pytest.raises(MissingDependency) as raised:
        shop.engine("default")
    assert raised.value.message.startswith("the step EngineFromOnnx needs r>=2")
    shop.packages["old"] = {"r": "1.0"}
    with pytest.raises(MissingDependency) as raised:
        shop.engine("old")
    assert raised.value.message == "the step EngineFromOnnx in the environment 'old' needs r>=2, 1.0 is installed"


def test_what_a_step_reads_of_the_machine_decides_whether_an_artifact_will_do(shop: Shop) -> None:
    first = shop.engine("old").artifact
    shop.builder.close()
    noted: list[str] = []
    for gpu, times in (("A", 1), ("B", 2), ("B", 2), ("A", 2)):
        shop.builder = shop.make_builder()
        shop.builder._worker_in("old").gpu = gpu  # type: ignore[attr-defined]
        made = shop.engine("old")
        shop.builder.close()
        assert (made.artifact.path == first.path) is (gpu == "A")
        assert shop.ran.count(("x:Engine", "old")) == times
        noted.extend(made.notes)
    assert noted == [f"{Path(first.path).parent.name}: gpu was 'A', is now 'B'"]
