"""Figures about benchfw itself, as ratios where speed is concerned: `python benchmarks/figures.py [NAME …]`.

null   the loop on nothing against the loop that one writes by hand, in one process
stream the loops for a device on nothing: what they cost beside calls to the device
ort    ONNX Runtime on ResNet-18 at batch 8 through benchfw against a bare loop with the same session options,
       interleaved, each in a process of its own, with a second bare loop beside it (A/A)
help   CPU time of `benchfw --help` above that of Python
disk   bytes per iteration on disk
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchfw.environments import thread_variables
from benchfw.handover import hand_over
from benchfw.store.writer import RunWriter
from benchfw.supervisor import Worker
from benchfw.worker import loops

THREADS = 2
BATCH = 8
SHAPE = (BATCH, 3, 112, 112)
ROUNDS = 40
PER_BLOCK = 8
REWARM = 3

BARE = """
import json, os, sys, time
import numpy as np, onnxruntime as ort
path, inputs, threads = sys.argv[1:]
options = ort.SessionOptions()
options.intra_op_num_threads = int(threads)
options.inter_op_num_threads = 1
session = ort.InferenceSession(path, sess_options=options, providers=["CPUExecutionProvider"])
binding = session.io_binding()
name = session.get_inputs()[0].name
binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(np.load(inputs)))
out = session.get_outputs()[0]
binding.bind_ortvalue_output(out.name, ort.OrtValue.ortvalue_from_numpy(np.empty(out.shape, np.float32)))
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = time.perf_counter_ns()
        session.run_with_iobinding(binding)
        times.append(time.perf_counter_ns() - start)
    print(json.dumps(times), flush=True)
"""


class Bare:
    """The loop that one writes by hand, in a process that is held between its turns as benchfw's workers are."""

    def __init__(self, model: Path, inputs: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", BARE, str(model), str(inputs), str(THREADS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.run(2)

    def run(self, n: int) -> float:
        """Return the median of a block in ns, without its first iterations."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write(f"{n}\n")
        self._process.stdin.flush()
        times = json.loads(self._process.stdout.readline())
        self._process.send_signal(signal.SIGSTOP)
        return float(np.median(times[min(REWARM, n - 1) :]))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def _worker(folder: Path, factory: str) -> Worker:
    code = hand_over(folder / "code", [factory])
    return Worker(python=sys.executable, code=code, log=folder / "log", env=thread_variables(THREADS))


def null() -> None:
    with tempfile.TemporaryDirectory() as name:
        worker = _worker(Path(name), "benchfw.builtin.null:NullBackend")
        for _ in range(3):
            answer = worker.ask("overhead", 60, n=4000, rounds=25).values
            harness, bare = answer["harness_overhead_ns"], answer["bare_loop_ns"]
            print(f"null loop {harness:.0f} ns, bare loop {bare:.0f} ns, ratio {harness / bare:.2f}")
        worker.close()


def stream() -> None:
    n = loops.MAX_BLOCK
    starts, enqueued, ends = ([0] * n for _ in range(3))

    def nothing(*arguments: object) -> None:
        pass

    launches, stamps = [nothing] * n, (starts, enqueued, ends)
    rows: list[tuple[Any, Any]] = [(None, None)] * n
    variants: dict[str, Callable[[], None]] = {
        "plain": lambda: loops.stream_latency(launches, nothing, *stamps),
        "with events": lambda: loops.stream_events(launches, rows, nothing, None, nothing, *stamps),
    }
    for name, run in variants.items():
        taken = []
        for _ in range(25):
            run()
            taken.append(np.diff(starts))
        periods = np.concatenate(taken)
        median, tail = np.quantile(periods, [0.5, 0.99])
        print(f"stream loop, {name}: {median:.0f} ns, 99th percentile {tail:.0f} ns")


def ort() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = folder / "x.npy"
        np.save(inputs, np.random.default_rng(0).standard_normal(SHAPE, np.float32))
        worker = _worker(folder, "benchfw_onnxruntime.backend:OrtCpu")
        model = _export(folder)
        context = {
            "device": "cpu",
            "threads": THREADS,
            "precision": "fp32",
            "cache_dir": name,
            "root": name,
            "inputs": [],
        }
        options = {
            "threads": None,
            "inter_op_threads": 1,
            "optimization": "all",
            "spinning": True,
            "denormal_as_zero": False,
        }
        artifact = {"format": "onnx", "path": str(model), "sha256": "", "precision": "fp32", "meta": {}}
        factory = "benchfw_onnxruntime.backend:OrtCpu"
        worker.ask("open", 60, instance="a", factory=factory, options=options, context=context)
        worker.ask("prepare", 60, instance="a", artifact=artifact, profile={"axes": {}})
        worker.ask("load", 60, instance="a")
        worker.ask("bind", 60, instance="a", slot=0, files={"input": str(inputs)})

        def through_benchfw(n: int) -> float:
            with worker.running():
                stamps = worker.ask("block", 60, instance="a", slot=0, n=n).arrays
            return float(np.median((stamps["ends"] - stamps["starts"])[REWARM:]))

        first, second = Bare(model, inputs), Bare(model, inputs)
        worker.hold()
        arms: dict[str, Callable[[int], float]] = {
            "benchfw": through_benchfw,
            "bare": first.run,
            "bare again": second.run,
        }
        _compare(arms)
        first.close()
        second.close()
        worker.close()


def _compare(arms: dict[str, Callable[[int], float]]) -> None:
    """Run randomised rounds and print the ratio of medians to the bare loop, with its 95 % interval."""
    random = np.random.default_rng(1)
    medians: dict[str, list[float]] = {arm: [] for arm in arms}
    for number in range(ROUNDS + 3):
        for place in random.permutation(len(arms)):
            arm = list(arms)[place]
            median = arms[arm](PER_BLOCK + REWARM)
            if number >= 3:
                medians[arm].append(median)
    base = np.array(medians["bare"])
    print(f"bare loop: median {np.median(base) / 1e6:.2f} ms over {ROUNDS} rounds of {PER_BLOCK}")
    for arm in ("benchfw", "bare again"):
        logs = np.log(np.array(medians[arm]) / base)
        half = 1.96 * logs.std(ddof=1) / np.sqrt(len(logs))
        low, high = np.expm1([logs.mean() - half, logs.mean() + half])
        print(f"{arm} against bare: {np.expm1(logs.mean()):+.2%} [{low:+.2%}, {high:+.2%}]")


def _export(folder: Path) -> Path:
    """Export ResNet-18 in a process of its own, so that this one stays small."""
    path = folder / "resnet18.onnx"
    code = f"""
import torch
from benchfw_torch.resnet import ResNet18
torch.manual_seed(0)
torch.onnx.export(ResNet18().eval(), (torch.randn{SHAPE},), {str(path)!r}, input_names=["input"],
                  output_names=["output"], dynamo=True, external_data=False)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return path


def help_() -> None:
    bare = _cpu_seconds([sys.executable, "-c", "pass"])
    benchfw = _cpu_seconds([str(Path(sys.executable).with_name("benchfw")), "--help"])
    print(f"benchfw --help: {benchfw:.3f} s CPU, Python {bare:.3f} s, above it {benchfw - bare:.3f} s")


def _cpu_seconds(command: list[str]) -> float:
    """Return the least CPU time of seven processes."""
    times = []
    for _ in range(7):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def disk() -> None:
    random = np.random.default_rng(0)
    for n in (1_000, 100_000):
        latencies = (5e6 * np.exp(0.02 * random.standard_normal(n))).astype(np.int64)
        starts = 10**15 + np.cumsum(latencies + random.integers(100, 400, n))
        columns = {
            "case_id": ["resnet18/ort-cpu/fp32/static/batch8"] * n,
            "block": (np.arange(n) // 20).astype(np.int32),
            "phase": ["measure"] * n,
            "batch": np.full(n, 8, np.int32),
            "start_ns": starts,
            "host_latency_ns": latencies,
        }
        with tempfile.TemporaryDirectory() as name:
            writer = RunWriter(Path(name))
            writer.write_cohort("batch8", {"iterations": columns})
            size = sum(path.stat().st_size for path in writer.folder.rglob("*.parquet"))
        print(f"{n} iterations: {size} bytes, {size / n:.1f} per iteration")


FIGURES = {"null": null, "stream": stream, "ort": ort, "help": help_, "disk": disk}

if __name__ == "__main__":
    for figure in sys.argv[1:] or FIGURES:
        print(f"--- {figure}")
        FIGURES[figure]()
