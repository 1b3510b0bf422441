"""Trials of the statistics on traces whose truth is known, for benchmarks/proof.py and the tests."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from benchfw.measure.rounds import orders
from benchfw.measure.settings import EFFORTS
from benchfw.measure.stopping import Evidence, Stopping, Target
from benchfw.stats import (
    Effect,
    Interval,
    across_invocations,
    decide,
    holm_confidences,
    mean_interval,
    modes,
    noise_floor,
    paired_effect,
    quantile_interval,
    shift_effect,
    steady_state,
    tail_effect,
)
from benchfw.testing.traces import LATENCY, PROCESSES, SHAPES, Floats, ar1, courses, sessions

WIDTHS = {0.5: 0.005, 0.99: 0.02}
"""Targets of optional stopping; that of the median is the one of the effort `standard`."""

LENGTHS = {
    ("lognormal, rho 0", 0.5): 500,
    ("lognormal, rho 0.5", 0.5): 1000,
    ("lognormal, rho 0.9", 0.5): 3000,
    ("two states, 10 % slow", 0.5): 12_000,
    ("two states, 30 % slow", 0.5): 4000,
    ("Pareto tail", 0.5): 500,
    ("lognormal, rho 0", 0.99): 2500,
    ("lognormal, rho 0.5", 0.99): 3500,
    ("lognormal, rho 0.9", 0.99): 15_000,
    ("two states, 10 % slow", 0.99): 10_000,
    ("two states, 30 % slow", 0.99): 4000,
    ("Pareto tail", 0.99): 2500,
}
"""Iterations that give the effective samples from which on the intervals promise something."""

_BATCH = 100
_CAP = 20_000
_CAP_SLOWEST = 40_000
MARGIN = 0.01

Design = Callable[[int], Iterator[list[int]]]
DESIGNS: dict[str, Design] = {
    "in turns": lambda seed: orders(2, seed),
    "A … A B … B": lambda seed: iter([[0] * 20 + [1] * 20]),
}


# --- coverage ---------------------------------------------------------------------------------------------------


def quantile_coverage(name: str, q: float, traces: int, seed: int = 0) -> tuple[float, float]:
    """Return the share of intervals that hold the true quantile, and the median of the effective samples."""
    truth = PROCESSES[name].truth(q)
    intervals = [quantile_interval(trace, q) for trace in _traces(name, traces, LENGTHS[name, q], seed)]
    return covered(intervals, truth), float(np.median([interval.effective_n for interval in intervals]))


def stopped_coverage(
    name: str, q: float, traces: int, seed: int = 0, *, early: bool = False
) -> tuple[float, float, float]:
    """Return coverage, median length and share of converged traces if the real rule decides when to stop.

    The rule is that of the effort `standard`: at 1 ms it looks after 3000 iterations for the first time. `early` drops
    the least time, and has blocks of 15 iterations instead of 100, so that it looks from 300 iterations on.
    """
    cap = _CAP_SLOWEST if (name, q) == ("lognormal, rho 0.9", 0.99) else _CAP
    ends = [_until_stopped(trace, q, early) for trace in _traces(name, traces, cap, seed)]
    intervals = [rule.intervals[0] for rule, _ in ends]
    lengths = [n for _, n in ends]
    converged = float(np.mean([rule.converged for rule, _ in ends]))
    return covered(intervals, PROCESSES[name].truth(q)), float(np.median(lengths)), converged


def _until_stopped(trace: Floats, q: float, early: bool) -> tuple[Stopping, int]:
    per_block = 15 if early else 100
    standard = EFFORTS["standard"]
    effort = replace(standard, max_iterations=len(trace), min_time=0.0 if early else standard.min_time)
    rule = Stopping(effort, (Target(f"p{100 * q:g}", WIDTHS[q], q=q),))
    n = 0
    while not rule.done:
        n += per_block
        rule.look(n, n // per_block, n * LATENCY / 1e9, partial(_evidence, trace, n, n // per_block))
    return rule, n


def _evidence(trace: Floats, n: int, blocks: int) -> Evidence:
    """Return what the rule sees of a trace whose steady state is not in question."""
    return Evidence(latencies=trace[:n].astype(np.int64), windows=np.ones(blocks), blocks=blocks, steady=None)


def covered(intervals: list[Interval] | list[Effect], truth: float) -> float:
    """Return the share of intervals that hold the truth."""
    return float(np.mean([interval.low <= truth <= interval.high for interval in intervals]))


def mean_coverage(rho: float, blocks: int, traces: int, seed: int = 0) -> float:
    """Coverage of the interval of a mean, from the means of blocks of 50 AR(1) iterations."""
    series = 1e6 * (1.0 + 0.02 * ar1(np.random.default_rng([seed, 1]), rho, traces, 50 * blocks))
    means = series.reshape(traces, blocks, 50).mean(axis=2)
    return covered([mean_interval(row) for row in means], 1e6)


def invocation_coverage(count: int, traces: int, seed: int = 0) -> float:
    """Coverage of the interval across `count` invocations that differ by 1 %."""
    logs = 0.01 * np.random.default_rng([seed, 2]).standard_normal((traces, count))
    return covered([across_invocations(1e6 * np.exp(row)) for row in logs], 1e6)


def paired_coverage(rounds: int, tail: str, traces: int, seed: int = 0) -> float:
    """Coverage of the effect of interleaved arms; ratios of rounds are `normal` or Student's `t` with 2 degrees."""
    random = np.random.default_rng([seed, 3])
    size = (traces, rounds)
    noise = random.standard_normal(size) if tail == "normal" else random.standard_t(2, size)
    return covered([paired_effect(math.log(1.02) + 0.01 * row) for row in noise], 1.02)


def shift_coverage(count: int, traces: int, seed: int = 0) -> float:
    """Coverage of the shift between two runs of `count` invocations each."""
    logs = 0.01 * np.random.default_rng([seed, 4]).standard_normal((traces, 2, count))
    return covered([shift_effect(np.exp(a), 1.02 * np.exp(b)) for a, b in logs], 1.02)


def tail_coverage(rounds: int, traces: int, seed: int = 0, q: float = 0.99, per_round: int = 200) -> float:
    """Coverage of the ratio of p99s of arms that share a drift of 1 % and have AR(.5) latencies."""
    random = np.random.default_rng([seed, 6])
    effects = []
    for _ in range(traces):
        drift = 0.01 * ar1(random, 0.9, 1, rounds)[0]
        logs = drift[None, :, None] + 0.02 * ar1(random, 0.5, 2 * rounds, per_round).reshape(2, rounds, per_round)
        a, b = np.exp(logs)
        effects.append(tail_effect(list(a), list(1.02 * b), q, resamples=999))
    return covered(effects, 1.02)


def _traces(name: str, traces: int, n: int, seed: int) -> Iterator[Floats]:
    random = np.random.default_rng([seed, 0])
    for first in range(0, traces, _BATCH):
        yield from PROCESSES[name].make(random, min(_BATCH, traces - first), n)


# --- classes, verdicts ------------------------------------------------------------------------------------------


def classified(shape: str, rho: float, traces: int, seed: int = 0) -> float:
    """Return the share of courses of a run that get the class they should get."""
    wanted, _ = SHAPES[shape]
    found = (steady_state(course) for course in courses(shape, rho, traces, seed=seed))
    return float(np.mean([steady is not None and steady.kind == wanted for steady in found]))


def effects(drift: str, design: str, count: int, effect: float, seed: int = 0) -> list[Effect]:
    """Return the effect that each of `count` sessions finds."""
    medians = sessions(drift, count, effect=effect, orders=DESIGNS[design], seed=seed)
    return [paired_effect(np.log(b / a)) for a, b in medians]


def verdict_shares(found: list[Effect], margin: float) -> dict[str, float]:
    """Return the share of each verdict."""
    verdicts = Counter(decide(effect, margin) for effect in found)
    return {verdict: count / len(found) for verdict, count in verdicts.items()}


def two_sided(shares: dict[str, float]) -> float:
    """Return the share of verdicts that claim a difference."""
    return shares.get("regression", 0.0) + shares.get("improvement", 0.0)


def noise_floors(drift: str, count: int, seed: int = 0) -> dict[str, float]:
    """Return the medians of three noise floors from the same A/A rounds, and the error that they should bound."""
    logs = np.log(sessions(drift, count, effect=0.0, orders=DESIGNS["in turns"], seed=seed))
    ratios = logs[:, 1] - logs[:, 0]
    found = [paired_effect(row) for row in ratios]
    random = np.random.default_rng(seed)
    rounds = ratios.shape[1]
    resampled = [np.median(row[random.integers(0, rounds, (200, rounds))], axis=1) for row in ratios]
    return {
        "95th percentile of the true error": float(np.quantile([abs(math.log(e.value)) for e in found], 0.95)),
        "end of the A/A interval": float(np.median([noise_floor(e) for e in found])),
        "95th percentile over resampled rounds": float(np.median([np.quantile(np.abs(r), 0.95) for r in resampled])),
        "95th percentile over single rounds": float(np.median([np.quantile(np.abs(row), 0.95) for row in ratios])),
    }


def family_errors(members: int, beyond: int, families: int, seed: int = 0, rounds: int = 30) -> dict[str, float]:
    """Return the share of families with a false verdict.

    The first `beyond` members differ by far more than the margin, all others by exactly the margin: none of these
    may be called a regression.
    """
    random = np.random.default_rng([seed, 7])
    truth = math.log1p(MARGIN) + np.where(np.arange(members) < beyond, 0.1, 0.0)
    false = Counter[str]()
    for ratios in truth[None, :, None] + 0.01 * random.standard_normal((families, members, rounds)):
        p_values = [paired_effect(row, margin=MARGIN).p_value for row in ratios]
        for name, confidences in (("Holm", holm_confidences(p_values)), ("no correction", [0.95] * members)):
            verdicts = [decide(paired_effect(row, level), MARGIN) for row, level in zip(ratios, confidences)]
            false[name] += any(verdict == "regression" for verdict in verdicts[beyond:])
    return {name: false[name] / families for name in ("Holm", "no correction")}


MIXTURES: dict[str, Callable[[np.random.Generator, int, int], Floats]] = {
    **{name: process.make for name, process in PROCESSES.items()},
    "normal": lambda random, traces, n: 1e6 * (1.0 + 0.03 * random.standard_normal((traces, n))),
    "Pareto tail without a variance": lambda random, traces, n: 1e6 * (1.0 + 0.02 * random.pareto(1.5, (traces, n))),
    "clock of 50 ns at 1 µs": lambda random, traces, n: (
        50.0 * np.round(20.0 * np.exp(0.02 * random.standard_normal((traces, n))))
    ),
}


def bimodal(name: str, n: int, traces: int, seed: int = 0) -> float:
    """Return the share of traces that have two modes."""
    samples = MIXTURES[name](np.random.default_rng([seed, 8]), traces, n)
    return float(np.mean([modes(trace) is not None for trace in samples]))
