"""Time an engine of TensorRT by the shortest loops that one writes by hand; prints JSON. Imports nothing of benchfw.

`python bare_tensorrt.py ENGINE SECONDS [zeros]`, with the Python of the environment that built the engine, which must
be of one shape. Inputs are normally distributed, or zeros: what a GPU takes depends on the bits that it turns over. It
needs numpy, tensorrt and cuda-bindings. `agreement.py` calls it.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorrt as trt
from cuda.bindings import runtime as cuda

Launch = Callable[[], object]

DEPTH = 2


def ask(answer: tuple[Any, ...]) -> Any:
    """Return what a call of CUDA answered, without its status."""
    status, *results = answer
    if int(status):
        raise SystemExit(f"CUDA: {status.name}")
    return results[0] if results else None


def make_launch(engine: Any, stream: Any, *, zeros: bool) -> Launch:
    """Return what launches one inference, on buffers of its own."""
    context = engine.create_execution_context()
    random = np.random.default_rng(0)
    for number in range(engine.num_io_tensors):
        name = engine.get_tensor_name(number)
        values = random.standard_normal(engine.get_tensor_shape(name)) * (not zeros)
        host = np.ascontiguousarray(values.astype(trt.nptype(engine.get_tensor_dtype(name))))
        address = ask(cuda.cudaMalloc(host.nbytes))
        ask(cuda.cudaMemcpy(address, host.ctypes.data, host.nbytes, cuda.cudaMemcpyKind.cudaMemcpyHostToDevice))
        context.set_tensor_address(name, address)
    return lambda: context.execute_async_v3(stream)


def as_graph(launch: Launch, stream: Any) -> Launch:
    """Return what replays a launch that was captured."""
    launch()
    ask(cuda.cudaStreamSynchronize(stream))
    ask(cuda.cudaStreamBeginCapture(stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
    launch()
    executable = ask(cuda.cudaGraphInstantiate(ask(cuda.cudaStreamEndCapture(stream)), 0))
    return lambda: cuda.cudaGraphLaunch(executable, stream)


def latencies(launch: Launch, stream: Any, seconds: float) -> tuple[float, float]:
    """Return medians in ns: from before a launch until the stream is idle, and of the launch alone."""
    whole, enqueue = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter_ns()
        launch()
        launched = time.perf_counter_ns()
        cuda.cudaStreamSynchronize(stream)
        whole.append(time.perf_counter_ns() - start)
        enqueue.append(launched - start)
    return statistics.median(whole), statistics.median(enqueue)


def spans(launch: Launch, stream: Any, seconds: float) -> float:
    """Return the median of the time between two events around a launch, in ns."""
    before, after = (ask(cuda.cudaEventCreate()) for _ in range(2))
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        cuda.cudaEventRecord(before, stream)
        launch()
        cuda.cudaEventRecord(after, stream)
        cuda.cudaStreamSynchronize(stream)
        times.append(ask(cuda.cudaEventElapsedTime(before, after)))
    return float(statistics.median(times) * 1e6)


def throughput(launches: Sequence[Launch], stream: Any, seconds: float) -> float:
    """Return inferences per second with as many outstanding as there are `launches`."""
    flags = cuda.cudaEventDisableTiming
    events = [ask(cuda.cudaEventCreateWithFlags(flags)) for _ in launches]
    done = 0
    start = time.perf_counter()
    while time.perf_counter() < start + seconds:
        for launch, event in zip(launches, events):
            cuda.cudaEventSynchronize(event)
            launch()
            cuda.cudaEventRecord(event, stream)
            done += 1
    cuda.cudaStreamSynchronize(stream)
    return done / (time.perf_counter() - start)


def main() -> None:
    path, seconds, zeros = sys.argv[1], float(sys.argv[2]), "zeros" in sys.argv[3:]
    stream = ask(cuda.cudaStreamCreateWithFlags(cuda.cudaStreamNonBlocking))
    with open(path, "rb") as file:
        engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(file.read())
    if engine is None:
        raise SystemExit(f"{path}: TensorRT cannot load it")
    plain = [make_launch(engine, stream, zeros=zeros) for _ in range(DEPTH)]
    found = {}
    for graph, launches in (("off", plain), ("on", [as_graph(launch, stream) for launch in plain])):
        latencies(launches[0], stream, seconds)  # the clock of the device rises
        latency, enqueue = latencies(launches[0], stream, seconds)
        found[graph] = {
            "latency_p50_ns": latency,
            "enqueue_p50_ns": enqueue,
            "compute_p50_ns": spans(launches[0], stream, seconds),
            "inferences_per_s": throughput(launches, stream, seconds),
        }
    print(json.dumps(found))


main()
