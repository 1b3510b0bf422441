"""What the latencies of a case look like: W04, W05, W14, W15, W17, W18.

They are for cases of one shape: latencies of a mixture spread over its sizes by design.
"""

from __future__ import annotations

from benchfw.measure.gates.finding import Finding
from benchfw.stats import Effect, Modes

ROBUST_CV = 0.025
"""trtexec's bound (sampleReporting.cpp), which takes it of the plain coefficient; one outlier cannot raise this one."""
OUTLIER_SHARE = 0.01
"""From 1 % on, outliers are the 99th percentile."""
AUTOCORRELATION = 50.0
"""Iterations that tell as much as one: 100 ms blocks of a 1 ms inference then hold two independent samples each."""
OVERHEAD_SHARE = 0.01
INSTRUMENTATION = 0.01


def spread(robust_cv: float | None) -> Finding | None:
    """W04: latencies vary."""
    if robust_cv is None or robust_cv <= ROBUST_CV:
        return None
    text = f"latencies spread by {robust_cv:.1%} (robust coefficient of variation); look for other work on the machine"
    return Finding("W04", robust_cv, ROBUST_CV, text)


def outliers(share: float | None) -> Finding | None:
    """W05: more than some latencies are far from the others."""
    if share is None or share <= OUTLIER_SHARE:
        return None
    text = f"{share:.1%} of the latencies are far off and count all the same; see when they came in `iterations`"
    return Finding("W05", share, OUTLIER_SHARE, text)


def bimodal(modes: Modes | None) -> Finding | None:
    """W17: latencies have two modes, so that a median may lie where hardly any latency is."""
    if modes is None:
        return None
    (fast, slow), (_, share) = modes.positions, modes.shares
    text = (
        f"latencies have two modes, {fast / 1e3:.4g} and {slow / 1e3:.4g} µs, {share:.0%} of them in the slower one: "
        "the median can jump between them; look for changes of the clock or of where threads run"
    )
    return Finding("W17", slow / fast - 1.0, None, text)


def dependent(autocorrelation_time: float | None) -> Finding | None:
    """W18: neighbours resemble each other for long, so that the run holds few independent samples."""
    if autocorrelation_time is None or autocorrelation_time <= AUTOCORRELATION:
        return None
    text = f"one in {autocorrelation_time:.0f} iterations tells something new: the machine drifts; allow more time"
    return Finding("W18", autocorrelation_time, AUTOCORRELATION, text)


def overhead(overhead_ns: float, latency_ns: float) -> Finding | None:
    """W15: the loop itself is a visible part of the latency.

    Args:
        overhead_ns: Of a null inference in the same worker.
        latency_ns: Mean of the case.
    """
    share = overhead_ns / max(1.0, latency_ns)
    if share <= OVERHEAD_SHARE:
        return None
    text = (
        f"benchfw's own {overhead_ns:.0f} ns are {share:.1%} of the latency; compare with cases of like latency alone"
    )
    return Finding("W15", share, OVERHEAD_SHARE, text)


def instrumentation(effect: Effect | None) -> Finding | None:
    """W14: stamping costs more than 1 %, beyond doubt.

    Args:
        effect: Time of stamped launches over that of the same launches without stamps.
    """
    if effect is None or effect.low - 1.0 <= INSTRUMENTATION:
        return None
    cost = effect.value - 1.0
    text = f"taking stamps lengthens an inference by {cost:.1%}; take its throughput for the time per inference"
    return Finding("W14", cost, INSTRUMENTATION, text)
