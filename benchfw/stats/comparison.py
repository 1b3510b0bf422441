"""Effects: how much one arm differs from another, as ratios with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchfw.stats.quantiles import CONFIDENCE, quantile
from benchfw.stats.ranks import Null, differences_ranked, mann_whitney, middle, signed_rank, walsh_count, walsh_ranked

Floats = NDArray[np.float64]
Verdict = Literal["regression", "improvement", "equivalent", "inconclusive"]

MIN_ROUNDS = 20
MIN_TAIL = 20
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The ratio of arm B to arm A, and its two-sided interval; 1.02 says that B is 2 % larger.

    Attributes:
        value: The ratio.
        low: Lower end; 0 if the sample is too small to have one.
        high: Upper end; `inf` likewise.
        n: Rounds, or invocations of the smaller arm.
        p_value: Of the hypothesis that the ratio lies within the margin that was asked for (by default, that it is
            1). It is at most 1 - confidence exactly if the interval lies wholly beyond the margin.
        confidence: Of the interval.
    """

    value: float
    low: float
    high: float
    n: int
    p_value: float
    confidence: float

    @property
    def finite(self) -> bool:
        return self.low > 0.0 and math.isfinite(self.high)

    @property
    def percent(self) -> float:
        """The change from A to B, in percent."""
        return 100.0 * (self.value - 1.0)

    @property
    def half_width(self) -> float:
        """Half of the width of the interval of the logarithm, about the relative one; `inf` if it is open."""
        return (math.log(self.high) - math.log(self.low)) / 2.0 if self.finite else math.inf


def paired_effect(log_ratios: Floats, confidence: float = CONFIDENCE, *, margin: float = 0.0) -> Effect:
    """Return the effect of interleaved arms: Hodges-Lehmann, the median of the Walsh averages of rounds.

    The interval inverts the Wilcoxon signed-rank test (Hollander, Wolfe and Chicken, Nonparametric Statistical
    Methods, 3.3): its ends are Walsh averages whose ranks come from the distribution of the test statistic, which is
    exact for up to 50 rounds and normal beyond. A 95 % interval is finite from six rounds on.

    Args:
        log_ratios: ln(median of B / median of A) of each round, at least one, shape (rounds,).
        confidence: Of the interval.
        margin: Of the p-value's hypothesis, as of `decide`.
    """
    ordered = np.sort(np.asarray(log_ratios, np.float64))
    n = len(ordered)
    total = n * (n + 1) // 2
    null = signed_rank(n)
    bound = math.log1p(margin)
    below = walsh_count(ordered, bound), walsh_count(-ordered[::-1], bound)
    ends = _ends(null, total, confidence)
    return _effect(walsh_ranked(ordered, [*middle(total), *ends]), ends, n, null.at_most(min(below)), confidence)


def shift_effect(a: Floats, b: Floats, confidence: float = CONFIDENCE, *, margin: float = 0.0) -> Effect:
    """Return the effect between two independent runs: Hodges-Lehmann, the median of all differences of logarithms.

    The interval inverts the Mann-Whitney test (Hollander, Wolfe and Chicken, 4.3). It is open for arms that are too
    small: at 95 %, two arms of four invocations are the smallest that give one.

    Args:
        a, b: Medians of the invocations of each arm, positive, at least one.
        confidence: Of the interval.
        margin: Of the p-value's hypothesis, as of `decide`.
    """
    logs = np.log(np.asarray(a, np.float64)), np.log(np.asarray(b, np.float64))
    sizes = len(logs[0]), len(logs[1])
    total = sizes[0] * sizes[1]
    null = mann_whitney(*sizes)
    bound = math.log1p(margin)
    differences = logs[1][:, None] - logs[0][None, :]
    below = int((differences <= bound).sum()), int((differences >= -bound).sum())
    ends = _ends(null, total, confidence)
    ranked = differences_ranked(*logs, [*middle(total), *ends])
    return _effect(ranked, ends, min(sizes), null.at_most(min(below)), confidence)


def tail_effect(
    a: Sequence[Floats],
    b: Sequence[Floats],
    q: float,
    *,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    resamples: int = RESAMPLES,
    margin: float = 0.0,
) -> Effect:
    """Return the ratio of the q-quantiles of interleaved arms, by a bootstrap over rounds (percentile interval).

    Whole rounds are drawn, the same ones of both arms, so that dependence within a round and what a round does to
    both arms are kept. The interval is open if there are fewer than 20 rounds or 20 samples beyond the quantile in
    an arm, or if the resamples are too few for the confidence.

    Args:
        a, b: Latencies of each round, the same number of rounds in both, at least one sample each.
        q: Between 0 and 1, exclusive.
        confidence: Of the interval.
        seed: Of the resamples.
        resamples: Number of them.
        margin: Of the p-value's hypothesis, as of `decide`.

    Raises:
        ValueError: The arms have different numbers of rounds.
    """
    if len(a) != len(b):
        raise ValueError(f"arms of {len(a)} and {len(b)} rounds cannot be paired")
    rounds = len(a)
    weights = np.random.default_rng(seed).multinomial(rounds, np.full(rounds, 1.0 / rounds), resamples)
    drawn_a, drawn_b = (resampled_quantiles(arm, weights, q) for arm in (a, b))
    drawn = np.sort(np.log(drawn_b / drawn_a))
    value = quantile(np.concatenate(b), q) / quantile(np.concatenate(a), q)
    skip = math.floor((1.0 - confidence) / 2.0 * (resamples + 1)) - 1
    beyond = min(sum(map(len, arm)) for arm in (a, b)) * min(q, 1.0 - q)
    bound = math.log1p(margin)
    below = min(int((drawn <= bound).sum()), int((drawn >= -bound).sum()))
    known = skip >= 0 and rounds >= MIN_ROUNDS and beyond >= MIN_TAIL
    return Effect(
        value=value,
        low=math.exp(drawn[skip]) if known else 0.0,
        high=math.exp(drawn[resamples - 1 - skip]) if known else math.inf,
        n=rounds,
        p_value=min(1.0, 2.0 * (1 + below) / (resamples + 1)) if known else 1.0,
        confidence=confidence,
    )


def resampled_quantiles(rounds: Sequence[Floats], weights: NDArray[np.int64], q: float) -> Floats:
    """Return the q-quantile of the pooled rounds for each row of weights, shape (resamples, rounds).

    Samples are sorted once. How many lie below the ends of cells of about sqrt(n) sorted samples follows for all
    resamples from one product of matrices; only the cell with the quantile is gone through.
    """
    pooled = np.concatenate(rounds)
    order = np.argsort(pooled)
    values = pooled[order]
    owners = np.repeat(np.arange(len(rounds)), [len(samples) for samples in rounds])[order]
    n, size = len(values), math.isqrt(len(values)) + 1
    cells = -(-n // size)
    table = np.bincount(np.arange(n) // size * len(rounds) + owners, minlength=cells * len(rounds))
    upto = weights @ np.cumsum(table.reshape(cells, -1), axis=0, dtype=np.float64).T
    ranks = np.maximum(1.0, np.ceil(q * upto[:, -1] - 1e-9))[:, None]
    cell = (upto < ranks).sum(axis=1)
    before = np.where(cell > 0, np.take_along_axis(upto, np.maximum(cell - 1, 0)[:, None], axis=1)[:, 0], 0.0)
    places = cell[:, None] * size + np.arange(size)
    inside = np.minimum(places, n - 1)
    counts = np.where(places < n, np.take_along_axis(weights, owners[inside], axis=1), 0)
    offset = (before[:, None] + np.cumsum(counts, axis=1) < ranks).sum(axis=1)
    return np.asarray(values[cell * size + offset], np.float64)


def noise_floor(effect: Effect) -> float:
    """Return the largest difference between equal arms that their interval does not exclude; 0.01 is 1 %.

    Args:
        effect: Of two arms that run the same (A/A).
    """
    if not effect.finite:
        return math.inf
    return math.expm1(max(abs(math.log(effect.low)), abs(math.log(effect.high))))


def decide(effect: Effect, margin: float) -> Verdict:
    """Return what the interval says: larger values are worse.

    `regression` if it lies wholly above 1 + margin, `improvement` if wholly below 1 / (1 + margin), `equivalent` if
    wholly between them, else `inconclusive`. The lower bound is the inverse of the upper one, so that swapping the
    arms swaps the verdicts.
    """
    upper = 1.0 + margin
    if effect.low > upper:
        return "regression"
    if effect.high < 1.0 / upper:
        return "improvement"
    if effect.low > 1.0 / upper and effect.high < upper:
        return "equivalent"
    return "inconclusive"


def time_margin(loss: float) -> float:
    """Return the relative increase of the time per inference that a relative loss of throughput is.

    The throughput is the inverse of that time, so 1 / (1 - loss) - 1: what completes 5 % less takes 5.26 % longer. It
    is the margin, as of `decide`, for a limit on the throughput.

    Args:
        loss: From 0 to below 1; 0.05 is 5 % less throughput.
    """
    return 1.0 / (1.0 - loss) - 1.0


def geometric_mean(ratios: Iterable[Effect | float]) -> float:
    """Return the geometric mean of positive ratios, or of the values of effects.

    Raises:
        ValueError: There is none.
    """
    logs = [math.log(ratio.value if isinstance(ratio, Effect) else ratio) for ratio in ratios]
    if not logs:
        raise ValueError("no ratios to average")
    return math.exp(math.fsum(logs) / len(logs))


def _ends(null: Null, total: int, confidence: float) -> list[int]:
    """Return the ranks of the ends of the interval, none if there is no interval."""
    skip = null.skipped((1.0 - confidence) / 2.0)
    return [skip + 1, total - skip] if skip >= 0 else []


def _effect(ranked: list[float], ends: list[int], n: int, tail: float, confidence: float) -> Effect:
    low, high = ranked[2:] if ends else (-math.inf, math.inf)
    return Effect(
        value=math.exp((ranked[0] + ranked[1]) / 2.0),
        low=math.exp(low),
        high=math.exp(high),
        n=n,
        p_value=min(1.0, 2.0 * tail),
        confidence=confidence,
    )
