"""How much is measured: efforts, and the settings of one run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Effort:
    """When a case has enough data (docs/concepts/measurement.md).

    Attributes:
        median_width: Half of the interval of the median over the median, at most.
        throughput_width: The same for the throughput of a random sequence.
        min_s, max_s: Time in measured blocks, at least and at most.
        settle_s: Time that warm-up waits for a steady machine, at most.
        max_n: Iterations, at most; enough of them stand in for `min_s`.
        min_blocks, min_effective, min_tail: Blocks, independent samples, and independent samples beyond the quantile,
            at least.
    """

    median_width: float
    throughput_width: float
    min_s: float
    max_s: float
    settle_s: float
    max_n: int = 2_000_000
    min_blocks: int = 20
    min_effective: float = 50.0
    min_tail: float = 20.0


EFFORTS = {
    "quick": Effort(median_width=0.01, throughput_width=0.01, min_s=1.0, max_s=10.0, settle_s=3.0, max_n=500_000),
    "standard": Effort(median_width=0.005, throughput_width=0.005, min_s=3.0, max_s=60.0, settle_s=10.0),
    "report": Effort(median_width=0.0025, throughput_width=0.0025, min_s=30.0, max_s=300.0, settle_s=30.0),
}


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
    """

    effort: str
    budget_s: float | None
    interleave: str
    threads: int
    seed: int
    build_s: float = 1200.0
    load_s: float = 300.0
    block_s: float = 30.0

    @property
    def rule(self) -> Effort:
        return EFFORTS[self.effort]
