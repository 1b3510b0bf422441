"""What PyTorch does on a CUDA device beside running models. Imported in workers, for cases on such a device alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchfw.errors import Unsupported
from benchfw_torch.reasons import reason
from benchfw_torch.tensors import named_outputs

_STREAMS: dict[torch.device, torch.cuda.Stream] = {}


def enter(device: torch.device) -> torch.cuda.Stream:
    """Make a device and a stream of its own the current ones, for good, and return the stream.

    Not per instance: a worker holds several, and `launch` shall have nothing to enter. All of them share one stream.
    """
    torch.cuda.set_device(device)
    if device not in _STREAMS:
        _STREAMS[device] = torch.cuda.Stream(device)
        torch.cuda.set_stream(_STREAMS[device])
    return _STREAMS[device]


def set_tf32(allowed: bool) -> None:
    """Allow TF32 in products and convolutions of float32, or forbid it; by default PyTorch allows it in the latter."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def facts() -> dict[str, Any]:
    """Return the switches that decide what is computed how, and the peaks of the allocator in bytes."""
    return {
        "matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "flash_sdp": torch.backends.cuda.flash_sdp_enabled(),
        "allocated_peak_bytes": torch.cuda.max_memory_allocated(),
        "reserved_peak_bytes": torch.cuda.max_memory_reserved(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def counters() -> dict[str, int]:
    """Return how often the allocator has asked the device for memory, which waits for the device."""
    return {"device_allocations": int(torch.cuda.memory_stats().get("num_device_alloc", 0))}


def capture(launch: Callable[[], object]) -> torch.cuda.CUDAGraph:
    """Capture a launch into a graph, with a pool of its own: what it allocates must stay where it is for the replays.

    `torch.cuda.graph` would empty the allocator's cache first, and other cases of this worker would have to fill it
    again while they are measured.

    Raises:
        Unsupported: It cannot be captured.
    """
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin(capture_error_mode="thread_local")
    try:
        try:
            launch()
        finally:
            graph.capture_end()
    except RuntimeError as error:  # the first of them: ending a capture that is broken raises too
        first = error.__context__ if isinstance(error.__context__, RuntimeError) else error
        raise Unsupported(f"a launch cannot be captured into a CUDA graph: {reason(first)}") from error
    return graph


def copies_in(hosts: Mapping[str, Tensor], devices: Mapping[str, Tensor]) -> Callable[[], None]:
    """Return what enqueues copies of inputs from page-locked memory, which the first call allocates."""
    pairs: list[tuple[Tensor, Tensor]] = []

    def copy_in() -> None:
        if not pairs:
            pairs.extend((devices[name], host.pin_memory()) for name, host in hosts.items())
        for target, source in pairs:
            target.copy_(source, non_blocking=True)

    return copy_in


def copies_out(result: list[Any]) -> Callable[[], None]:
    """Return what enqueues copies of outputs to page-locked memory, which the first call allocates.

    Args:
        result: Holds what the model has returned last.
    """
    hosts: list[Tensor] = []

    def copy_out() -> None:
        tensors = named_outputs(result[0]).values()
        if not hosts:
            hosts.extend(torch.empty_like(tensor, device="cpu", pin_memory=True) for tensor in tensors)
        for target, source in zip(hosts, tensors):
            target.copy_(source, non_blocking=True)

    return copy_out
