"""Made-up measurements whose truth is known, to hold statistics against. Seeded; in nanoseconds around 1 ms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LATENCY = 1e6
CV = 0.02
_SLOW = 1.05
_NOISE = 0.01
_LEAVE_SLOW = 0.05
_PARETO = 2.5


def ar1(random: np.random.Generator, rho: float, traces: int, n: int) -> Floats:
    """Return stationary AR(1) series of unit variance, shape (traces, n)."""
    noise = random.standard_normal((n, traces))
    if rho == 0.0:
        return np.ascontiguousarray(noise.T)
    series = np.empty((n, traces))
    series[0] = noise[0]
    noise *= math.sqrt(1.0 - rho * rho)
    for i in range(1, n):
        np.multiply(series[i - 1], rho, out=series[i])
        series[i] += noise[i]
    return np.ascontiguousarray(series.T)


@dataclass(frozen=True)
class Process:
    """A process that makes latencies.

    Attributes:
        make: Takes a generator, the number of traces and their length; returns shape (traces, n).
        truth: The true q-quantile.
    """

    make: Callable[[np.random.Generator, int, int], Floats]
    truth: Callable[[float], float]


def lognormal(rho: float) -> Process:
    """Return lognormal latencies with a coefficient of variation of 2 %; their logarithms are AR(1)."""
    from scipy.special import ndtri

    return Process(
        lambda random, traces, n: LATENCY * np.exp(CV * ar1(random, rho, traces, n)),
        lambda q: LATENCY * math.exp(CV * float(ndtri(q))),
    )


def two_state(slow_share: float) -> Process:
    """Return latencies that hop between two states 5 % apart, as clocks do, and are slow for 20 at a stretch."""
    from scipy.special import ndtr

    def make(random: np.random.Generator, traces: int, n: int) -> Floats:
        enter = _LEAVE_SLOW * slow_share / (1.0 - slow_share)
        draws = random.random((n, traces))
        slow = np.empty((n, traces), bool)
        slow[0] = draws[0] < slow_share
        for i in range(1, n):
            slow[i] = np.where(slow[i - 1], draws[i] >= _LEAVE_SLOW, draws[i] < enter)
        noise = np.exp(_NOISE * random.standard_normal((traces, n)))
        return np.asarray(LATENCY * np.where(slow.T, _SLOW, 1.0) * noise)

    def truth(q: float) -> float:
        low, high = -1.0, 1.0
        for _ in range(60):
            x = (low + high) / 2.0
            slow, quick = ndtr((x - math.log(_SLOW)) / _NOISE), ndtr(x / _NOISE)
            low, high = (x, high) if slow_share * slow + (1.0 - slow_share) * quick < q else (low, x)
        return LATENCY * math.exp(high)

    return Process(make, truth)


def pareto() -> Process:
    """Return independent latencies with a Pareto tail: 2 % above the least in scale, without a third moment."""
    return Process(
        lambda random, traces, n: LATENCY * (1.0 + CV * random.pareto(_PARETO, (traces, n))),
        lambda q: LATENCY * (1.0 + CV * ((1.0 - q) ** (-1.0 / _PARETO) - 1.0)),
    )


PROCESSES: dict[str, Process] = {
    "lognormal, rho 0": lognormal(0.0),
    "lognormal, rho 0.5": lognormal(0.5),
    "lognormal, rho 0.9": lognormal(0.9),
    "two states, 10 % slow": two_state(0.1),
    "two states, 30 % slow": two_state(0.3),
    "Pareto tail": pareto(),
}

SHAPES: dict[str, tuple[str, Callable[[Floats], Floats]]] = {
    "flat": ("flat", np.zeros_like),
    "warm-up of 20 %, e-fold of 8 blocks": ("warmup", lambda t: np.log1p(0.2 * np.exp(-100.0 * t / 8.0))),
    "3 % faster after 15 of 100 blocks": ("warmup", lambda t: np.where(t < 0.15, math.log(1.03), 0.0)),
    "3 % slower after 15 of 100 blocks": ("slowdown", lambda t: np.where(t < 0.15, 0.0, math.log(1.03))),
    "3 % slower after 80 of 100 blocks": ("no_steady", lambda t: np.where(t < 0.8, 0.0, math.log(1.03))),
    "slow ramp of 4 %": ("no_steady", lambda t: 0.04 * t),
}
"""Courses of a run: the class that each should get, and log latency over time from 0 to 1."""


def courses(shape: str, rho: float, traces: int, *, blocks: int = 100, noise: float = 0.003, seed: int = 0) -> Floats:
    """Return block medians in one of the `SHAPES` with AR(1) noise, shape (traces, blocks)."""
    _, profile = SHAPES[shape]
    random = np.random.default_rng([seed, 4])
    return np.asarray(LATENCY * np.exp(profile(np.arange(blocks) / blocks) + noise * ar1(random, rho, traces, blocks)))


DRIFTS: dict[str, tuple[float, float]] = {
    "none": (0.0, 0.0),
    "slow random, 1 %": (0.01, 0.0),
    "linear, 2 %": (0.0, 0.02),
    "both": (0.01, 0.02),
}
"""Standard deviation of the AR(.9995) drift, and rise of the linear one over the session."""


def sessions(
    drift: str, count: int, *, effect: float, orders: Callable[[int], Iterator[list[int]]], seed: int = 0
) -> Floats:
    """Return medians of blocks of two arms that share one drifting machine, shape (count, 2, rounds = 20).

    Blocks have 50 iterations with noise of 0.5 %, AR(.3).

    Args:
        drift: One of the `DRIFTS`.
        count: Sessions.
        effect: Relative difference of arm B.
        orders: Takes a seed; gives the order of the arms in each round. A A ... B B if it gives orders of 40 blocks.
        seed: Of the noise.
    """
    rounds, per_block = 20, 50
    random = np.random.default_rng([seed, 5])
    total = 2 * rounds * per_block
    sway, rise = DRIFTS[drift]
    logs = 0.005 * ar1(random, 0.3, count, total) + rise * np.arange(total) / total
    if sway:
        logs += sway * ar1(random, 0.9995, count, total)
    medians = np.median(logs.reshape(count, 2 * rounds, per_block), axis=2)
    arms = np.array([_arms(orders(seed + session), 2 * rounds) for session in range(count)])
    medians += math.log1p(effect) * arms
    by_arm = np.argsort(arms, axis=1, kind="stable")
    return np.asarray(LATENCY * np.exp(np.take_along_axis(medians, by_arm, axis=1).reshape(count, 2, rounds)))


def _arms(rounds: Iterator[list[int]], blocks: int) -> list[int]:
    return list(islice((arm for order in rounds for arm in order), blocks))
