"""A case over all the processes that measured it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from benchfw.measure.gates.gpu import GpuEvidence
from benchfw.measure.member import Failure, Member
from benchfw.measure.pauses import RoundMedian
from benchfw.scenario import Case
from benchfw.stats import (
    Interval,
    Summary,
    Variance,
    across_builds,
    across_invocations,
    build_components,
    mean_interval,
    variance_components,
)

_T = TypeVar("_T")
_WORST = ("flat", "warmup", "slowdown", "no_steady")


@dataclass
class Record:
    """What was measured of a case.

    Attributes:
        case: The case.
        members: One per invocation, by its number; a case that lost its worker to another one has a new member.
        depth: Outstanding inferences that gave most throughput; None until that was tried.
        lanes: `threads` or `processes`, where the depth is more than 1.
        telemetry_cost: Of the cohort's samplers; None where it was not measured.
        gpu: What NVML has seen of its GPU; None without.
    """

    case: Case
    members: dict[int, Member] = field(default_factory=dict)
    depth: int | None = None
    lanes: str | None = None
    telemetry_cost: float | None = None
    gpu: GpuEvidence | None = None

    @property
    def all(self) -> list[Member]:
        return [self.members[number] for number in sorted(self.members)]

    @property
    def last(self) -> Member:
        return self.members[max(self.members)]

    @property
    def failure(self) -> Failure | None:
        """Why there is no number: a case that fails in one process has none."""
        return next((member.failure for member in self.all if member.failure), None)

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """The warnings of all invocations; of those with the same code and sentence the first."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for member in self.all:
            for row in member.warnings:
                found.setdefault((row["code"], row["message"]), row)
        return list(found.values())

    def note_differences(self) -> None:
        """Say so if the headline is not known as well as the effort asks, because processes differ."""
        headline = self.p50 if len(self.members) > 1 and self.failure is None else None
        width = self.last.settings.rule.median_width
        if headline is None or headline.relative_half_width <= width or not self.converged:
            return
        variance, builds = self.variance, self.builds
        found = None if variance is None else variance.builds if builds else variance.between
        differ = f" by {math.sqrt(found):.1%}" if found is not None else ""
        over, more = (f"{builds} builds", "builds") if builds else (f"{len(self.members)} processes", "invocations")
        self.last.warn(
            "W22",
            headline.relative_half_width,
            width,
            f"the interval over {over} is ±{headline.relative_half_width:.1%}, wanted "
            f"±{width:.2%}: they differ{differ}; more `{more}` make it narrower, more time does not",
        )

    @property
    def accuracy(self) -> list[dict[str, Any]]:
        return [row for member in self.all for row in member.accuracy]

    @property
    def steady_kind(self) -> str | None:
        """The worst class of all invocations; None where one has too few blocks to say."""
        kinds = [member.steady_kind for member in self.all]
        if "no_steady" in kinds:
            return "no_steady"
        known = [kind for kind in kinds if kind is not None]
        return max(known, key=_WORST.index) if known and len(known) == len(kinds) else None

    @property
    def unstable(self) -> str | None:
        """Why numbers change with the heat of the GPU, if they do."""
        return next((member.unstable for member in self.all if member.unstable), None)

    @property
    def contended(self) -> str | None:
        return next((member.contended for member in self.all if member.contended), None)

    @property
    def converged(self) -> bool:
        return all(member.stopping.converged for member in self.all)

    @property
    def summaries(self) -> list[Summary]:
        """Those of every invocation that measured something."""
        return [summary for member in self.all if (summary := member.summary) is not None]

    @property
    def p50(self) -> Interval | None:
        """The median latency with the interval that is fit to be quoted.

        Over several invocations it speaks of the next process too; of a single one it comes from its samples.
        """
        return self._across([summary.p50 for summary in self.summaries])

    @property
    def p99(self) -> Interval | None:
        """The 99th percentile of the latency likewise; None if an invocation has no finite interval for it."""
        return self._across([summary.p99 for summary in self.summaries])

    def throughput(self) -> Interval | None:
        """Return the throughput in samples per second with its interval, as for `p50`."""
        rates = [member.throughput for member in self.all]
        known = [rate for rate in rates if rate]
        if not known or len(known) < len(rates):
            return None
        if len(known) > 1:
            return self._over(self.all, known)
        return throughput_interval(self.all[0])

    @property
    def round_medians(self) -> list[RoundMedian]:
        """The median latency of every measured block of the processes that did not fail."""
        return [
            RoundMedian(
                self.case.case_id, member.number, block.round, block.telemetry, float(np.median(block.latencies))
            )
            for member in self.all
            if member.alive
            for block in member.measured
        ]

    @property
    def variance(self) -> Variance | None:
        """Components of the variance of block medians; None for one invocation, or blocks too few."""
        medians = [np.array([np.median(block.latencies) for block in member.steady_blocks]) for member in self.all]
        if len(medians) < 2 or min(map(len, medians)) < 2:
            return None
        return build_components(_by_build(self.all, medians)) if self.builds else variance_components(medians)

    @property
    def builds(self) -> int | None:
        """How many builds of its engine were measured; None for fewer than two, or without an engine."""
        count = len({member.built for member in self.all if member.built is not None})
        return count if count > 1 else None

    def _over(self, members: Sequence[Member], values: Sequence[float]) -> Interval:
        """Return the mean over invocations, one value each, with its interval; over builds where there are several."""
        if self.builds:
            return across_builds([np.array(group) for group in _by_build(members, values)])
        return across_invocations(np.array(values))

    def _across(self, within: Sequence[Interval | None]) -> Interval | None:
        known = [interval for interval in within if interval is not None]
        if len(known) < 2 or len(known) < len(within):
            return known[0] if len(known) == len(within) == 1 else None
        members = [member for member in self.all if member.summary is not None]
        interval = self._over(members, [of_one.value for of_one in known])
        total = sum(of_one.effective_n for of_one in known)
        return Interval(value=interval.value, low=interval.low, high=interval.high, effective_n=total)


def throughput_interval(member: Member) -> Interval | None:
    """Return the throughput of one process, in samples per second; its interval is that of the time per sample."""
    rate = member.throughput
    if rate is None:
        return None
    interval = mean_interval(member.window_times)
    finite = interval.finite and interval.low > 0
    return Interval(
        value=rate,
        low=1e9 / interval.high if finite else -np.inf,
        high=1e9 / interval.low if finite else np.inf,
        effective_n=interval.effective_n,
    )


def _by_build(members: Sequence[Member], items: Sequence[_T]) -> list[list[_T]]:
    """Return what belongs to invocations, one item each, by their builds."""
    groups: dict[int | None, list[_T]] = {}
    for member, item in zip(members, items, strict=True):
        groups.setdefault(member.built, []).append(item)
    return list(groups.values())
