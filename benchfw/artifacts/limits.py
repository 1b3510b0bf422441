"""Sizes and ages as people write them."""

from __future__ import annotations

import os
import re

from benchfw.errors import UsageError

VARIABLE = "BENCHFW_CACHE_LIMIT"
DEFAULT_BYTES = 50 * 10**9

_NUMBER = r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*"
_PREFIXES = "kMGTP"
_SIZE = re.compile(_NUMBER + r"(?:([kmgtp])(i?))?b?\s*", re.IGNORECASE)
_AGE = re.compile(_NUMBER + r"(s|min|h|d|w)\s*")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def parse_size(text: str, place: str) -> int:
    """Return a size in bytes: `20GB` (10^9 each), `512 MiB` (2^20 each), `1000`.

    Args:
        text: The size.
        place: Where it stands, for the message.

    Raises:
        UsageError: It reads otherwise.
    """
    found = _SIZE.fullmatch(text)
    if not found:
        raise UsageError(f"{place}: {text!r:.40} is no size", hint="a number and MB, GB, MiB or GiB, as in 20GB")
    power = _PREFIXES.lower().index(found[2].lower()) + 1 if found[2] else 0
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def parse_age(text: str, place: str) -> float:
    """Return an age in seconds: `30d`, `12h`.

    Args:
        text: The age.
        place: Where it stands, for the message.

    Raises:
        UsageError: It reads otherwise.
    """
    found = _AGE.fullmatch(text)
    if not found:
        raise UsageError(f"{place}: {text!r:.40} is no age", hint="a number and s, min, h, d or w, as in 30d")
    return float(found[1]) * _SECONDS[found[2]]


def cache_limit() -> int:
    """Return how large the cache may grow, in bytes: `BENCHFW_CACHE_LIMIT`, or 50 GB.

    Raises:
        UsageError: The variable holds no size.
    """
    configured = os.environ.get(VARIABLE)
    return parse_size(configured, VARIABLE) if configured else DEFAULT_BYTES
