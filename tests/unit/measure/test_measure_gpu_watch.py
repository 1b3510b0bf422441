"""Who asks for boundaries and when, and which cases are judged by what was read."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchfw.measure import gpu_watch
from benchfw.measure.gpu import HELD_S
from benchfw.measure.gpu_watch import GpuWatch
from benchfw.measure.order import Order
from benchfw.measure.settling import MIN_LOOKS, Settling
from benchfw.measure.slots import Slots

MS = 1_000_000


class Samplers:
    """Telemetry that notes what it was asked for."""

    def __init__(self, gpus: Any = None, ended: str | None = None, visible: int | None = None) -> None:
        facts = {"gpus": gpus or {}, "visible": len(gpus or {}) if visible is None else visible}
        self.facts: dict[str, Any] = {
            "nvml": {"ended": ended, "facts": facts},
            "host": {"ended": None, "facts": {}},
        }
        self.asked: list[bool] = []

    def boundary(self, *, dear: bool) -> None:
        self.asked.append(dear)


def others(value: float, field: str = "foreign_processes:cuda:0") -> dict[str, Any]:
    return {"sampler": "nvml", "field": field, "time_ns": 5, "value": value}


def record(device: str, uuid: str | None = None, failure: Any = None) -> Any:
    """Return a case with one measured block from 10 to 90 ms."""
    warnings: list[Any] = []
    block = SimpleNamespace(phase="measure", round=0, starts=np.array([10 * MS]), ends=np.array([90 * MS]))
    last = SimpleNamespace(
        blocks=[block],
        stretch=None,
        warnings=warnings,
        warn=lambda *finding: warnings.append(finding),
        session=SimpleNamespace(device={"uuid": uuid} if uuid else None),
    )
    case = SimpleNamespace(session=SimpleNamespace(device=device, session_id="s"))
    return SimpleNamespace(case=case, last=last, all=[last], failure=failure, gpu=None)


def watch(samplers: Samplers | None, **more: Any) -> GpuWatch:
    telemetry: Any = samplers
    return GpuWatch(telemetry, **more)


def test_without_the_sampler_nothing_is_asked_or_said() -> None:
    without = Samplers()
    del without.facts["nvml"]
    for samplers in (None, without, Samplers(ended="there is no driver")):
        quiet = watch(samplers)
        quiet.boundary()
        quiet.look_at_held([])
        case = record("cuda:0")
        quiet.judge([case], [])
        assert not quiet.active
        assert case.gpu is None
        assert not (samplers and samplers.asked)


@pytest.mark.parametrize(
    ("rows", "looked"),
    [
        ([], True),
        ([others(0.0), others(0.0, "hidden_processes:cuda:0")], False),
        ([others(0.0), others(1.0)], True),
        ([others(0.0), others(3.0, "hidden_processes:cuda:0")], True),
        ([others(float("nan"))], True),
    ],
)
def test_held_workers_are_looked_at_unless_nobody_else_is_there(
    rows: list[dict[str, Any]], looked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    watch(Samplers()).look_at_held(rows)
    assert slept == ([HELD_S] if looked else [])


def clock(mhz: float, at: int = 50, device: str = "cuda:0") -> dict[str, Any]:
    return {"sampler": "nvml", "field": f"sm_clock:{device}", "time_ns": at * MS, "value": mhz}


FACTS = {"uuid": "GPU-1", "scope": "gpu", "sm_max_mhz": 1980, "refused": {}}


def test_cases_are_judged_by_the_readings_of_their_own_gpu() -> None:
    samplers = Samplers({"cuda:0": FACTS, "cuda:1": {**FACTS, "uuid": "GPU-2"}})
    cases = [record("cuda:0", "GPU-1"), record("cuda:1", "GPU-2"), record("cpu"), record("cuda:0", failure="OOM")]
    watch(samplers, locked_mhz=1500).judge(cases, [clock(1500), clock(1200, device="cuda:1")])
    assert [case.gpu and (case.gpu.sm_mhz, case.gpu.asked_mhz) for case in cases] == [
        (1500, 1500),
        (1200, 1500),
        None,
        None,
    ]
    assert all(case.last.warnings == [] for case in cases), "clocks of two GPUs are not compared"


def test_another_gpu_than_cuda_uses_has_no_figures() -> None:
    case = record("cuda:0", "GPU-2")
    watch(Samplers({"cuda:0": FACTS})).judge([case], [clock(1500)])
    assert case.gpu is None
    ((code, _, _, text),) = case.last.warnings
    assert code == "W12"
    assert "cuda:0 is GPU-2 for CUDA, and NVML read GPU-1" in text


@pytest.mark.parametrize(
    ("cuda", "nvml", "text"),
    [
        (None, "GPU-1", "cuda:0 is one without a UUID for CUDA, and NVML read GPU-1"),
        ("GPU-1", None, "cuda:0 is GPU-1 for CUDA, and NVML read one without a UUID"),
    ],
)
def test_a_gpu_without_a_uuid_is_the_one_that_is_meant_only_where_there_is_one(
    cuda: str | None, nvml: str | None, text: str
) -> None:
    """One that CUDA sees: a run on one of several may be on another than NVML reads."""
    for gpus, visible, figures in (
        (("cuda:0",), 1, True),
        (("cuda:0", "cuda:1"), 2, False),
        (("cuda:0",), 8, False),
    ):
        case = record("cuda:0")
        case.last.session.device = {"uuid": cuda}
        looks = watch(Samplers({gpu: {**FACTS, "uuid": nvml} for gpu in gpus}, visible=visible))
        looks.judge([case], [clock(1500)])
        assert (case.gpu is not None) == figures
        told_of = on("cuda:0")
        told_of.session.device = {"uuid": cuda}
        assert looks.reads(told_of) == figures
        told = [(code, words.partition(": no figures")[0]) for code, _, _, words in case.last.warnings]
        assert told == ([] if figures else [("W12", text)])


def test_a_lower_clock_than_that_of_another_case_is_told_of() -> None:
    fast, slow = record("cuda:0"), record("cuda:0")
    slow.last.blocks[0].starts, slow.last.blocks[0].ends = np.array([110 * MS]), np.array([190 * MS])
    watch(Samplers({"cuda:0": FACTS})).judge([fast, slow], [clock(1980), clock(1755, 150)])
    assert fast.last.warnings == []
    assert [finding[0] for finding in slow.last.warnings] == ["W08"]


def test_energy_is_taken_from_a_stretch_between_two_dear_boundaries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_watch, "STRETCH_S", 0.02)
    monkeypatch.setattr(gpu_watch, "LEAD_S", 0.0)
    samplers, phases = Samplers(), []

    def measure(round_: int, position: int, phase: str) -> Any:
        phases.append((phase, list(samplers.asked)))
        return SimpleNamespace(rewarm=5, n=8)

    def case(device: str, *, has_throughput: bool = True) -> Any:
        session = SimpleNamespace(device=device)
        work = lambda block: block.n - block.rewarm  # noqa: E731
        return SimpleNamespace(
            case=SimpleNamespace(session=session),
            measure=measure,
            order=Order(None, Slots(sizes=[1], sets=1)),
            work=work,
            stretch=None,
            has_throughput=has_throughput,
        )

    on_gpu, on_cpu, flushed = case("cuda:0"), case("cpu"), case("cuda:0", has_throughput=False)
    looks = watch(samplers)
    looks.stretch(on_gpu)
    looks.stretch(on_cpu)
    looks.stretch(flushed)
    assert samplers.asked == [True, True]
    assert {phase for phase, _ in phases} == {"energy"}
    span, samples = on_gpu.stretch
    assert span[0, 1] - span[0, 0] >= 20 * MS
    assert samples == 8 * sum(asked == [True] for _, asked in phases), "all inferences of the stretch, re-warm included"
    assert on_cpu.stretch is flushed.stretch is None


def on(device: str, uuid: str | None = None) -> Any:
    """Return a case that warms up."""
    case = SimpleNamespace(session=SimpleNamespace(device=device))
    return SimpleNamespace(case=case, session=SimpleNamespace(device={"uuid": uuid} if uuid else None))


@pytest.mark.parametrize(
    ("reasons", "held"),
    [(0x0, False), (0x1, False), (0x2, True), (0x100, True), (0x3, False), (0x4, True), (0x5, True), (0x20, True)],
)
def test_a_clock_that_somebody_has_set_is_held_and_one_that_idles_is_not(reasons: int, held: bool) -> None:
    """Below the largest clock, application clocks (0x2) are the state to be measured: it does not come up any more."""
    bits = {"sampler": "nvml", "field": "reasons:cuda:0", "time_ns": 60 * MS, "value": reasons}
    seen = watch(Samplers({"cuda:0": FACTS})).clock(on("cuda:0"), [clock(990, 60), bits], 50 * MS)
    assert seen == (990, 1980, held)
    settling = Settling("its latency")
    for _ in range(MIN_LOOKS):
        settling.note(1000, seen)
    assert settling.settled == held


def test_the_clock_is_the_last_that_was_read_since_a_look_began() -> None:
    reasons = {"sampler": "nvml", "field": "reasons:cuda:0", "time_ns": 70 * MS, "value": 0x4}
    rows = [clock(345, 10), clock(1500, 60), clock(1470, 70), reasons, clock(7, 70, "cuda:1"), clock(float("nan"), 80)]
    looks = watch(Samplers({"cuda:0": FACTS}))
    assert looks.clock(on("cuda:0", "GPU-1"), rows, 50 * MS) == (1470, 1980, True)
    assert looks.clock(on("cuda:0"), rows[:2], 0) == (1500, 1980, False)
    assert looks.clock(on("cuda:0"), rows[:2], 61 * MS) is None, "it was read before"
    assert looks.clock(on("cuda:0", "GPU-2"), rows, 0) is None, "NVML reads another GPU"
    assert looks.clock(on("cuda:1"), rows, 0) is None, "and nothing of this one"
    assert looks.clock(on("cpu"), rows, 0) is None
    assert watch(Samplers({"cuda:0": FACTS}), locked_mhz=1500).clock(on("cuda:0"), rows, 0) == (1470, 1500, True)


@pytest.mark.parametrize(
    ("own", "clocks", "blocks"),
    [
        (1980, [1965], 0),
        (1980, [1605, 1800, 1935, 1950], 3),
        (1440, [1980, 1500, 1455], 2),
        (1980, [], 0),
        (None, [1605], 0),
    ],
    ids=["its own", "held down before", "held down itself", "not read", "not known"],
)
def test_a_case_is_measured_at_its_own_clock(own: float | None, clocks: list[float], blocks: int) -> None:
    rows: list[dict[str, Any]] = []
    left = iter(clocks)
    phases: list[tuple[int, int, str]] = []
    reads: list[int] = []

    def read() -> list[dict[str, Any]]:
        reads.append(len(phases))
        rows.extend(clock(mhz, 50 + len(rows)) for mhz in [next(left, None)] if mhz is not None)
        return rows

    def measure(round_: int, position: int, phase: str) -> Any:
        phases.append((round_, position, phase))
        return SimpleNamespace(rewarm=5)

    case = on("cuda:0", "GPU-1")
    case.sm_mhz, case.measure, case.order = own, measure, Order(None, Slots(sizes=[1], sets=1))
    watch(Samplers({"cuda:0": FACTS})).lead(case, read)
    assert phases == [(-1, -1, "warmup")] * blocks
    assert blocks or len(reads) <= 1, "samplers are asked once before a block, where nothing is amiss"


def test_a_clock_that_never_comes_back_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_watch, "LEAD_S", 0.05)
    case = on("cuda:0")
    case.sm_mhz, case.order = 1980, Order(None, Slots(sizes=[1], sets=1))
    blocks = [SimpleNamespace(rewarm=5)]

    def measure(*_: Any) -> Any:
        blocks.append(SimpleNamespace(rewarm=5))
        return blocks[-1]

    case.measure = measure
    begin = time.monotonic()
    watch(Samplers({"cuda:0": FACTS})).lead(case, lambda: [clock(1605)])
    assert 0.05 <= time.monotonic() - begin < 1.0
    ran = len(blocks)
    watch(Samplers({"cuda:0": FACTS})).lead(case, lambda: [clock(1605)])
    assert (case.sm_mhz, len(blocks)) == (1605, ran), "that is its clock now"


def test_only_a_reading_after_the_last_block_tells_of_the_clock() -> None:
    case = on("cuda:0")
    case.sm_mhz, case.order = 1980, Order(None, Slots(sizes=[1], sets=1))
    looks = watch(Samplers({"cuda:0": FACTS}))
    looks.boundary()
    looks.lead(case, lambda: [clock(1605)])
    assert not hasattr(case, "measure"), "what was read long ago made it run nothing"
