"""Seeded service times of the fake backend. Needs numpy alone.

Everything random is drawn beforehand, as a ring of factors; time and calls then bend them: drift, step, warm-up.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

RING = 1 << 16
"""Launches after which the random factors come again. Nothing jumps where the ring closes."""
LEAST = 0.01
"""No factor is below this: a service takes time, however far it drifts."""


def factors(options: Mapping[str, Any], size: int = RING) -> NDArray[np.float64]:
    """Return the random factors of successive launches, float64 [size], for the options of `FakeOptions`.

    All but those of `two-state` have mean 1 in the limit; a seed below 0 gives other factors each time.
    """
    seed = options["seed"]
    random = np.random.default_rng(None if seed < 0 else seed)
    return np.maximum(DISTRIBUTIONS[options["distribution"]](random, size, options), LEAST)


def correlated_normals(random: np.random.Generator, size: int, rho: float) -> NDArray[np.float64]:
    """Return a ring of standard normal values with lag-1 autocorrelation `rho`, float64 [size].

    The AR(1) process x[i] = rho x[i-1] + sqrt(1 - rho^2) e[i] with indices modulo `size`, solved by Fourier transform:
    it is stationary, and its last value is followed by its first.
    """
    transfer = np.sqrt(1 - rho**2) / (1 - rho * np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size))
    ring: NDArray[np.float64] = np.fft.irfft(np.fft.rfft(random.standard_normal(size)) * transfer, size)
    return ring


def _constant(random: np.random.Generator, size: int, options: Mapping[str, Any]) -> NDArray[np.float64]:
    return np.ones(size)


def _normal(random: np.random.Generator, size: int, options: Mapping[str, Any]) -> NDArray[np.float64]:
    ring: NDArray[np.float64] = 1 + options["spread"] * random.standard_normal(size)
    return ring


def _lognormal(random: np.random.Generator, size: int, options: Mapping[str, Any]) -> NDArray[np.float64]:
    return _lognormal_of(random.standard_normal(size), options["spread"])


def _ar1(random: np.random.Generator, size: int, options: Mapping[str, Any]) -> NDArray[np.float64]:
    return _lognormal_of(correlated_normals(random, size, options["rho"]), options["spread"])


def _two_state(random: np.random.Generator, size: int, options: Mapping[str, Any]) -> NDArray[np.float64]:
    """The two levels in turn, for geometrically distributed numbers of launches, times lognormal noise."""
    dwells = random.geometric(1 / options["dwell"], size)
    changes = np.cumsum(dwells)
    states = np.searchsorted(changes, np.arange(size), side="right") % 2
    return np.where(states == 1, options["level"], 1.0) * _lognormal(random, size, options)


def _pareto(random: np.random.Generator, size: int, options: Mapping[str, Any]) -> NDArray[np.float64]:
    """P(X > x) = (x_min / x)^tail, with the x_min that makes the mean 1."""
    tail = options["tail"]
    ring: NDArray[np.float64] = (tail - 1) / tail * (1 + random.pareto(tail, size))
    return ring


def _lognormal_of(normals: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """Return lognormal values with mean 1 and standard deviation `spread` from standard normal ones."""
    sigma2 = math.log1p(spread**2)
    ring: NDArray[np.float64] = np.exp(math.sqrt(sigma2) * normals - sigma2 / 2)
    return ring


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int, Mapping[str, Any]], NDArray[np.float64]]] = {
    "constant": _constant,
    "normal": _normal,
    "lognormal": _lognormal,
    "ar1": _ar1,
    "two-state": _two_state,
    "pareto": _pareto,
}
"""Makers of the ring, by the name of the distribution."""


class Services:
    """Service times of one instance: all slots draw from one stream, as they share one machine.

    Args:
        options: Those of `FakeOptions`.
        clock: Returns ns; drift, and what the options give in seconds, count from the first service.
    """

    def __init__(self, options: Mapping[str, Any], clock: Callable[[], int]) -> None:
        self._options = options
        self._clock = clock
        self._bends = any(options[name] for name in ("drift", "step", "warmup"))
        self._random = options["distribution"] != "constant"
        self._ring = itertools.cycle(factors(options).tolist()) if self._random else itertools.repeat(1.0)
        self._calls = 0
        self._began: int | None = None

    def of(self, base_ns: int) -> Callable[[], int]:
        """Return a function that gives the ns of the next service, `base_ns` times whatever applies to it."""
        if not (self._random or self._bends):
            return itertools.repeat(base_ns).__next__
        draw = self._ring.__next__
        if not self._bends:
            return lambda: int(base_ns * draw())
        bend = self._bend
        return lambda: int(base_ns * draw() * bend())

    def _bend(self) -> float:
        """Return the factor of this call and instant."""
        now = self._clock()
        if self._began is None:
            self._began = now
        factor = bend(self._options, self._calls, (now - self._began) / 1e9)
        self._calls += 1
        return factor


def bend(options: Mapping[str, Any], calls: int, seconds: float) -> float:
    """Return the product of drift, step and warm-up after so many calls and seconds; `LEAST` at least.

    (1 + drift t) (1 + step, from its call or second on) (1 + warmup exp(-n / fold)), n in calls or seconds.
    """
    factor = 1 + options["drift"] * seconds
    since = seconds if options["step_unit"] == "seconds" else calls
    if since >= options["step_at"]:
        factor *= 1 + options["step"]
    if options["warmup"]:
        since = seconds if options["warmup_unit"] == "seconds" else calls
        factor *= 1 + options["warmup"] * math.exp(-since / options["warmup_fold"])
    return factor if factor > LEAST else LEAST
