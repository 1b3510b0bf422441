"""What the times of a device say of those of the host: V03, W02, W03, W14, W16."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchfw.measure.blocks import Block
from benchfw.measure.gates import GateFailed
from benchfw.measure.gates.finding import Finding
from benchfw.stats import Effect, paired_effect

SPAN_SHARE = 0.5
SPAN_LEAST_NS = 50_000
"""A shorter wait can be the host's own delay in noticing that a stream is done: up to 28 µs where it sleeps."""
LAUNCH_BOUND = 0.8
"""trtexec's bound (sampleReporting.cpp): above, the device probably waits for the host in between."""
SHORT_NS = 10_000
"""Twenty times the resolution of events: 5 % of a shorter span are their rounding."""


def check_stream(blocks: Sequence[Block]) -> None:
    """Compare the times of a device with those that the host waited for it, in isolated inferences.

    Args:
        blocks: Instrumented ones, of one inference at a time.

    Raises:
        GateFailed: V03: the device says less than half of what the host waited. The events are not on the stream that
            does the work.
    """
    isolated = [block for block in blocks if block.spans is not None and block.enqueued is not None]
    if not isolated:
        return
    waits = np.concatenate([block.ends - block.enqueued for block in isolated if block.enqueued is not None])
    spans = np.concatenate([block.spans.sum(axis=1) for block in isolated if block.spans is not None])
    wait_ns, span_ns = float(np.median(waits)), float(np.median(spans))
    if wait_ns > SPAN_LEAST_NS and span_ns < SPAN_SHARE * wait_ns:
        raise GateFailed(
            "V03",
            f"events on the backend's stream span {span_ns / 1e3:.0f} µs, and the host waited {wait_ns / 1e3:.0f} µs",
            value=span_ns,
            threshold=SPAN_SHARE * wait_ns,
            hint="`stream` must be the one that launch enqueues on",
        )


def launch_bound(enqueue_ns: float | None, span_ns: float | None) -> Finding | None:
    """W02: enqueueing takes nearly as long as the work, so that the device waits for the host."""
    if not enqueue_ns or not span_ns or enqueue_ns <= LAUNCH_BOUND * span_ns:
        return None
    share = enqueue_ns / span_ns
    text = (
        f"launch-bound: enqueueing takes {enqueue_ns / 1e3:.4g} µs, {share:.0%} of the {span_ns / 1e3:.4g} µs on the "
        'device, which waits for the host in between; try graph = "on", or a larger batch'
    )
    return Finding("W02", share, LAUNCH_BOUND, text)


def transfer_bound(copies_ns: float | None, compute_ns: float | None) -> Finding | None:
    """W03: copies from and to the host take as long as the work."""
    if not copies_ns or not compute_ns or copies_ns < compute_ns:
        return None
    text = (
        f"transfer-bound: copies take {copies_ns / 1e3:.4g} µs, the inference {compute_ns / 1e3:.4g} µs; "
        "keep data on the device, or make it smaller"
    )
    return Finding("W03", copies_ns / compute_ns, 1.0, text)


def short(span_ns: float | None) -> Finding | None:
    """W16: spans are near the resolution of events."""
    if not span_ns or span_ns >= SHORT_NS:
        return None
    text = f"{span_ns / 1e3:.2g} µs on the device are near the 0.5 µs that its events resolve; take the throughput"
    return Finding("W16", span_ns, SHORT_NS, text)


def instrumentation(effect: Effect | None, threshold: float) -> Finding | None:
    """W14: events lengthen inferences, beyond doubt.

    Args:
        effect: Latency of instrumented blocks over that of plain ones.
        threshold: What it may cost.
    """
    if effect is None or effect.low - 1.0 <= threshold:
        return None
    cost = effect.value - 1.0
    text = f"events lengthen an inference by {cost:.1%}: times on the device are too large by up to so much"
    return Finding("W14", cost, threshold, text)


def instrumentation_effect(blocks: Sequence[Block]) -> Effect | None:
    """Return the latency of instrumented blocks over that of the plain blocks of the same rounds; None without any.

    Args:
        blocks: Of one case and process.
    """
    plain = {block.round: _median(block) for block in blocks if block.phase == "measure"}
    pairs = [
        (_median(block), plain[block.round]) for block in blocks if block.phase == "events" and block.round in plain
    ]
    ratios: NDArray[np.float64] = np.array([np.log(instrumented / other) for instrumented, other in pairs])
    return paired_effect(ratios) if len(ratios) else None


def _median(block: Block) -> float:
    return float(np.median(block.latencies))
