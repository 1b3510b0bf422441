"""How much is measured: efforts, and the settings of one run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Effort:
    """When a case has enough data (docs/concepts/measurement.md). Each limit is also a key of `[measure]`.

    Attributes:
        median_width: Half of the interval of the median over the median, at most.
        p99_width: The same for the 99th percentile; None if it is no target.
        throughput_width: The same for the throughput.
        min_time, max_time: Time in measured blocks and windows of a case, in seconds, over all its invocations.
        settle_time: Time that warm-up waits for a steady machine, at most, in seconds.
        invocations: Fresh processes per case.
        builds: Of each engine. Invocations take turns with them, and there are as many of these at least.
        depths: Numbers of outstanding inferences that are tried for the throughput; the best one is measured.
        max_iterations: Iterations of a case, at most; enough of them stand in for `min_time`.
        min_blocks: Steady blocks of each invocation, at least.
        min_effective, min_tail: Independent samples, and independent samples beyond the quantile, at least.
    """

    median_width: float
    throughput_width: float
    min_time: float
    max_time: float
    settle_time: float
    p99_width: float | None = None
    invocations: int = 1
    builds: int = 1
    depths: tuple[int, ...] = (1,)
    max_iterations: int = 2_000_000
    min_blocks: int = 20
    min_effective: float = 50.0
    min_tail: float = 20.0

    def of_one_invocation(self) -> Effort:
        """Return what one of several invocations has to do.

        The mean of K invocations is known sqrt(K) times as well as each of them is by its own samples.
        """
        root = math.sqrt(self.invocations)
        return replace(
            self,
            median_width=self.median_width * root,
            p99_width=None if self.p99_width is None else self.p99_width * root,
            throughput_width=self.throughput_width * root,
            min_time=self.min_time / self.invocations,
            max_time=self.max_time / self.invocations,
            max_iterations=max(1, self.max_iterations // self.invocations),
        )


_DEPTHS = (1, 2, 4, 8)
EFFORTS = {
    "quick": Effort(
        median_width=0.01, throughput_width=0.01, min_time=1.0, max_time=10.0, settle_time=3.0, max_iterations=500_000
    ),
    "standard": Effort(
        median_width=0.005,
        p99_width=0.02,
        throughput_width=0.005,
        min_time=3.0,
        max_time=60.0,
        settle_time=10.0,
        invocations=3,
        depths=_DEPTHS,
    ),
    "report": Effort(
        median_width=0.0025,
        p99_width=0.01,
        throughput_width=0.0025,
        min_time=30.0,
        max_time=300.0,
        settle_time=30.0,
        invocations=5,
        depths=_DEPTHS,
    ),
}
LIMITS = tuple(item.name for item in fields(Effort) if item.name not in ("min_effective", "min_tail"))
"""Limits that a scenario may set."""


def effort_of(name: str, limits: Mapping[str, Any]) -> Effort:
    """Return an effort with some of its limits replaced; a limit of None stays."""
    given: dict[str, Any] = {key: value for key, value in limits.items() if value is not None}
    if "depths" in given:
        given["depths"] = tuple(given["depths"])
    effort = replace(EFFORTS[name], **given)
    return replace(effort, invocations=max(effort.invocations, effort.builds))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a run that are the same for all its cases.

    Attributes:
        effort: Name of the effort.
        budget_s: Time for warm-up and blocks of the whole run, in seconds; None for no bound.
        interleave: `all`, `session` or `off`.
        threads: Threads of every backend.
        seed: Seed of inputs and of the order of cases.
        build_s, load_s, block_s: Deadlines, in seconds.
        cpus: CPUs that the run may use.
        may_repeat: Outputs may be constant, or the same for different inputs.
        profile: Inferences of each case that are profiled by layer; 0 for none.
        lock_clocks: MHz that the clocks of the GPUs are locked at; None to leave them alone.
        limits: Limits of the effort that the scenario replaces, by their names.
    """

    effort: str
    budget_s: float | None
    interleave: str
    threads: int
    seed: int
    build_s: float = 1200.0
    load_s: float = 300.0
    block_s: float = 30.0
    cpus: int = 1
    may_repeat: bool = False
    profile: int = 0
    lock_clocks: int | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def depths(self) -> tuple[int, ...]:
        """Numbers of outstanding inferences to try: those of the scenario, else of the effort, as far as CPUs go."""
        if self.limits.get("depths"):
            return self.rule.depths
        return tuple(depth for depth in self.rule.depths if depth <= max(1, self.cpus))

    @property
    def device_depths(self) -> tuple[int, ...]:
        """The same for launches on a stream: of those of an effort two at least, or the device idles in between."""
        if self.limits.get("depths"):
            return self.rule.depths
        return self.rule.depths if max(self.rule.depths) > 1 else _DEPTHS[:2]

    @property
    def rule(self) -> Effort:
        """When a case has enough data, over all its invocations."""
        return effort_of(self.effort, self.limits)
