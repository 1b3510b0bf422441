"""What timing costs per iteration: benchfw, optimum-benchmark, Polygraphy and the loop one writes by hand.

`benchmarks/.venv-tools/bin/python benchmarks/overhead.py [--rounds N]`; `benchmarks/setup_tools.sh` makes the
environment. All run in one process and time the same call, `session.run(None, feed)`, of a session that does nothing
and of one of ONNX Runtime with a small model. They take turns in blocks, in an order that is balanced; garbage
collection is off for all, as in benchfw's workers.

Overhead is what an iteration takes from start to start above the bare call, which is a loop that does nothing else.
It is taken round by round, so that a machine that changes its speed changes both.
"""

from __future__ import annotations

import argparse
import gc
import logging
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from optimum_benchmark.scenarios.inference.scenario import InferenceScenario
from optimum_benchmark.trackers.latency import LatencySessionTracker
from polygraphy.backend.onnxrt import OnnxrtRunner

from benchfw.measure.rounds import orders
from benchfw.worker import loops

MODEL = Path(__file__).parents[1] / "scenarios/models/mlp.onnx"
WARMUP_ROUNDS = 5
BARE = "bare loop"

Feed = dict[str, Any]
Times = NDArray[np.float64]


class Nothing:
    """A session of ONNX Runtime without inputs and outputs that computes nothing."""

    def run(self, names: Sequence[str] | None, feed: Feed) -> list[Any]:
        return []

    def get_inputs(self) -> list[Any]:
        return []

    def get_outputs(self) -> list[Any]:
        return []


def call_alone(session: Any, feed: Feed, n: int) -> float:
    launch = partial(session.run, None, feed)
    begin = time.perf_counter_ns()
    for _ in range(n):
        launch()
    return (time.perf_counter_ns() - begin) / n


def bare(session: Any, feed: Feed, n: int) -> float:
    return loops.bare(partial(session.run, None, feed), n)


def benchfw(session: Any, feed: Feed, n: int) -> float:
    """Run the loop of a worker, over its preallocated lists."""
    launch = partial(session.run, None, feed)
    begin = time.perf_counter_ns()
    loops.host_sync(launch, n, STARTS, ENDS)
    return (time.perf_counter_ns() - begin) / n


def optimum(session: Any, feed: Feed, n: int) -> float:
    """Run optimum-benchmark's own method on what it looks at of its scenario; `forward` is the call itself.

    From start to start by its own stamps, as the method computes statistics after the last one.
    """
    tracker = LatencySessionTracker(device="cpu", backend="onnxruntime")
    scenario = SimpleNamespace(
        logger=QUIET,
        latency_tracker=tracker,
        config=SimpleNamespace(duration=0, iterations=n, forward_kwargs=feed),
        backend=SimpleNamespace(forward=session.run),
        inputs=None,
        report=SimpleNamespace(forward=SimpleNamespace()),
        atomic_forward_volume=1,
    )
    InferenceScenario.run_inference_latency_tracking(scenario)
    starts = tracker.start_events
    return float(starts[-1] - starts[0]) * 1e9 / (n - 1)


def polygraphy(session: Any, feed: Feed, n: int) -> float:
    """Ask Polygraphy's runner for each inference and its time, as the loop of its `Comparator.run` does.

    Without what that loop does besides: it logs, and copies the outputs. A tenth of the iterations, as they take long
    enough for the system to give the CPU to someone else within a block.
    """
    n //= 10
    with OnnxrtRunner(session) as runner:
        times = []
        begin = time.perf_counter_ns()
        for _ in range(n):
            runner.infer(feed_dict=feed)
            times.append(runner.last_inference_time())
        return (time.perf_counter_ns() - begin) / n


QUIET = logging.getLogger("quiet")
STARTS = [0] * loops.MAX_BLOCK
ENDS = [0] * loops.MAX_BLOCK
ARMS: dict[str, Callable[[Any, Feed, int], float]] = {
    "call alone": call_alone,
    BARE: bare,
    "bare loop again": bare,
    "benchfw host_sync": benchfw,
    "optimum-benchmark": optimum,
    "Polygraphy": polygraphy,
}


def measure(session: Any, feed: Feed, n: int, rounds: int) -> dict[str, Times]:
    """Return per arm the time of an iteration, in ns, in each of the rounds in which all took turns."""
    names = list(ARMS)
    periods: dict[str, list[float]] = {name: [] for name in names}
    for order in islice(orders(len(names), seed=0), WARMUP_ROUNDS + rounds):
        for place in order:
            gc.collect()
            gc.disable()
            periods[names[place]].append(ARMS[names[place]](session, feed, n))
            gc.enable()
    return {name: np.array(of[WARMUP_ROUNDS:]) for name, of in periods.items()}


def report(what: str, periods: dict[str, Times]) -> None:
    alone = periods.pop("call alone")
    print(f"\n{what}: the call takes {np.median(alone):.0f} ns")
    print(f"median over {len(alone)} rounds, [95 % interval by the bootstrap over rounds]")
    picks = np.random.default_rng(0).integers(0, len(alone), (2000, len(alone)))
    base = periods[BARE] - alone
    for name, of in periods.items():
        above = of - alone
        drawn = np.median(above[picks], axis=1)
        ratio = _shown(np.median(above) / np.median(base), drawn / np.median(base[picks], axis=1), ".2f")
        print(f"{name:18} {_shown(np.median(above), drawn, '.0f'):>24} ns, {ratio} of the bare loop's")


def _shown(value: Any, drawn: Times, form: str) -> str:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def small_model() -> tuple[ort.InferenceSession, Feed]:
    """Return a session on one thread, and one row of input."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(MODEL, sess_options=options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    feed = {
        item.name: random.standard_normal([d if isinstance(d, int) else 1 for d in item.shape], np.float32)
        for item in session.get_inputs()
    }
    return session, feed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=600)
    rounds = parser.parse_args().rounds
    print(f"CPython {platform.python_version()}, ", end="")
    print(", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "optimum-benchmark", "polygraphy")))
    gc.collect()
    gc.freeze()  # so that the collection before each block looks at what that block has made
    report("a call that does nothing, blocks of 400", measure(Nothing(), {}, 400, rounds))
    report("mlp.onnx on ONNX Runtime, blocks of 200", measure(*small_model(), 200, rounds))


if __name__ == "__main__":
    main()
