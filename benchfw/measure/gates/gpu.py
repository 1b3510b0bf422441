"""What NVML says of a case on a GPU: W06, W07, W08, W09, W12, W20, and the verdicts THROTTLED and CONTENDED."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchfw.measure.gates.finding import Finding

CAPPED_SHARE = 0.05
"""Of the time: a power limit that holds the clock now and then is everyday life of a GPU under load."""
CLOCK_DROP = 0.05
"""Below the clock that was asked for: some six steps of 15 MHz. Less may be the rounding of a step, or a short dip."""
CLOCK_DIFFERENCE = 0.01
"""Between cases of a cohort: latencies of what computes differ by as much."""
IDLE_BUSY = 0.05
"""Share of time with a kernel while all workers are held. A driver rounds to percents, and an idle GPU shows 0."""
THERMAL = ("sw_thermal", "hw_thermal", "power_brake")
CAUSES = {
    "power_cap": "the power limit",
    "sync_boost": "a group of GPUs that keep in step",
    "sw_thermal": "heat (the driver)",
    "hw_thermal": "heat (the hardware)",
    "power_brake": "an external power brake",
}


@dataclass(frozen=True, kw_only=True)
class GpuEvidence:
    """What was seen of a GPU while a case was measured on it; None is what NVML does not tell.

    Attributes:
        device: As CUDA counts: `cuda:0`.
        facts: Of the GPU, see `NvmlSampler.facts`.
        asked_mhz: The SM clock that it would have without limits: the largest one, or the one it is locked at.
        sm_mhz, sm_min_mhz: Median and smallest SM clock within measured blocks.
        memory_mhz, memory_min_mhz: Likewise of the memory.
        temperature_c: Highest temperature within them.
        shares: Of the time of measured blocks in which something held the clock down, by the names of `CAUSES`.
        power_w: Mean power of a stretch of its blocks alone.
        energy_j: Energy of one sample, from the same stretch, and the ends of its interval.
        worker_bytes: Most memory that the worker had on it.
        foreign: Most processes of others that were on the GPU at once.
        idle_busy: Utilisation while all workers were held; None if that was not looked at.
    """

    device: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    asked_mhz: float | None = None
    sm_mhz: float | None = None
    sm_min_mhz: float | None = None
    memory_mhz: float | None = None
    memory_min_mhz: float | None = None
    temperature_c: float | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    power_w: float | None = None
    energy_j: tuple[float, float, float] | None = None
    worker_bytes: int | None = None
    foreign: int | None = None
    idle_busy: float | None = None

    @property
    def drop(self) -> float | None:
        """By how much the median clock is below the one that was asked for, relative to that."""
        return None if not self.asked_mhz or self.sm_mhz is None else 1.0 - self.sm_mhz / self.asked_mhz


def throttled(e: GpuEvidence) -> str | None:
    """Return the reason of the verdict THROTTLED: a clock that dropped, and a counter that says why."""
    causes = {name: share for name, share in e.shares.items() if share > _allowed(name)}
    if e.drop is None or e.drop <= CLOCK_DROP or not causes:
        return None
    what = ", ".join(f"{CAUSES[name]} for {share:.0%} of the time" for name, share in causes.items())
    return f"the SM clock was {e.sm_mhz:.0f} MHz, {e.drop:.0%} below {e.asked_mhz:.0f} MHz: held by {what}"


def contended(e: GpuEvidence) -> str | None:
    """Return the reason of the verdict CONTENDED: somebody else computed on the GPU."""
    if e.idle_busy is None or e.idle_busy <= IDLE_BUSY:
        return None
    who = f"{e.foreign} foreign processes" if e.foreign else "processes that are not visible from here"
    return f"{e.device} was busy for {e.idle_busy:.0%} of the time while every worker was held: {who}"


def gpu_findings(e: GpuEvidence) -> Iterator[Finding]:
    """Yield all that is to be said of the GPU of a case, but W08, which takes two."""
    capped, hot = e.shares.get("power_cap", 0.0), {n: e.shares[n] for n in THERMAL if e.shares.get(n, 0.0) > 0}
    if capped > CAPPED_SHARE:
        text = f"the power limit held the clock for {capped:.0%} of the time: compare with cases that it held too"
        yield Finding("W06", capped, CAPPED_SHARE, text)
    if hot:
        worst = max(hot, key=lambda name: hot[name])
        text = (
            f"{CAUSES[worst]} held the clock for {hot[worst]:.1%} of the time; cool the GPU, or lower its power limit"
        )
        yield Finding("W07", hot[worst], 0.0, text)
    if e.foreign:
        text = f"{e.foreign} processes of others are on {e.device}; end them, or choose another GPU: nvidia-smi"
        yield Finding("W09", e.foreign, 0, text)
    elif contended(e):
        text = f"{contended(e)}; end them, or choose another GPU"
        yield Finding("W09", e.idle_busy, IDLE_BUSY, text)
    yield from _state(e.facts)
    refused = e.facts.get("refused") or {}
    if refused:
        text = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        yield Finding("W12", len(refused), 0, f"NVML does not tell all of {e.device}, the columns are null: {text}")
    elif e.facts.get("scope") == "gpu_shared":
        text = f"{e.device} is a MIG slice: clocks, power and temperature are the whole GPU's, and there is no energy"
        yield Finding("W12", None, None, text)


def clock_mismatch(e: GpuEvidence, fastest: GpuEvidence) -> Finding | None:
    """W08: the SM clock of a case was lower than that of another one of its cohort on the same GPU."""
    if not e.sm_mhz or not fastest.sm_mhz:
        return None
    difference = 1.0 - e.sm_mhz / fastest.sm_mhz
    if difference <= CLOCK_DIFFERENCE:
        return None
    text = (
        f"its SM clock, {e.sm_mhz:.0f} MHz, was {difference:.1%} below that of another case, {fastest.sm_mhz:.0f} MHz: "
        "a part of the difference is the clock's; --lock-clocks holds both at one"
    )
    return Finding("W08", difference, CLOCK_DIFFERENCE, text)


def _allowed(cause: str) -> float:
    return 0.0 if cause in THERMAL else CAPPED_SHARE


def _state(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield W20: a state of the GPU that changes what it does from one run to the next."""
    if facts.get("persistence") is False:
        text = "persistence mode is off: the driver unloads between runs and forgets clocks; sudo nvidia-smi -pm 1"
        yield Finding("W20", None, None, text)
    if facts.get("display"):
        yield Finding("W20", None, None, "a display is active on the GPU: what it shows takes time; use another GPU")
    if facts.get("ecc_uncorrected"):
        count = facts["ecc_uncorrected"]
        text = f"{count} uncorrected memory errors since the driver was loaded: outputs may be wrong; replace the GPU"
        yield Finding("W20", count, 0, text)
