"""What a gate fails on, as people write it: `p50:3%,p99:8%` and `20us`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from benchfw.analysis.evidence import METRICS
from benchfw.errors import UsageError
from benchfw.store.export import did_you_mean

_UNITS = {"ns": 1.0, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+"
_PART = re.compile(rf"([A-Za-z0-9_]+):({_NUMBER})%", re.ASCII)
_DURATION = re.compile(rf"({_NUMBER})\s*({'|'.join(_UNITS)})")


def parse_fail_on(text: str) -> dict[str, float]:
    """Return the relative change that fails each metric; `p50:3%,p99:8%` gives `{"p50": 0.03, "p99": 0.08}`.

    Raises:
        UsageError: It reads otherwise, or a metric is unknown or stands twice.
    """
    limits: dict[str, float] = {}
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        if not found:
            raise UsageError(
                f"--fail-on {text!r:.80}: {part.strip()!r:.40} is not METRIC:PERCENT%", hint="as in p50:3%,p99:8%"
            )
        if found[1] in limits:
            raise UsageError(f"--fail-on {text!r:.80}: {found[1]} stands there twice", hint="give one limit per metric")
        limits[found[1]] = float(found[2]) / 100.0
    return check_fail_on(limits)


def check_fail_on(limits: Mapping[str, float]) -> dict[str, float]:
    """Return limits if they are sound.

    Raises:
        UsageError: There is none, a metric is unknown, or a limit is not from 0 to below 1 (1000 for latencies).
    """
    if not limits:
        raise UsageError("nothing to fail on", hint="as in --fail-on p50:3%")
    for name, limit in limits.items():
        if name not in METRICS:
            raise UsageError(
                f"there is no metric {name!r:.80}{did_you_mean(str(name), METRICS)}", hint=f"of {', '.join(METRICS)}"
            )
        highest = 1.0 if METRICS[name].more_is_better else 1000.0
        if not (isinstance(limit, int | float) and 0.0 <= limit < highest):
            raise UsageError(
                f"{limit!r:.40} is no limit for {name}", hint=f"a share from 0 to below {highest:.0f}; 0.03 is 3 %"
            )
    return dict(limits)


def parse_duration_ns(text: str) -> float:
    """Return a time in nanoseconds: `20us`, `1.5ms`.

    Raises:
        UsageError: It reads otherwise.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text!r:.40} is no time", hint="a number and ns, us, ms or s, as in 20us")
    return check_duration_ns(float(found[1]) * _UNITS[found[2]])


def check_duration_ns(value: float) -> float:
    """Return a time if it is one.

    Raises:
        UsageError: It is negative or not finite.
    """
    if not (isinstance(value, int | float) and 0.0 <= value < math.inf):
        raise UsageError(f"{value!r:.40} is no time", hint="nanoseconds, from 0")
    return float(value)
