"""How often a sampler may be read."""

from __future__ import annotations

MIN_PERIOD_NS = 100_000_000
"""Never above 10 Hz: calls into a driver contend with what is measured, and counters of the kernel step by 10 ms."""
MAX_PERIOD_NS = 10_000_000_000
COST_SHARE = 0.005
"""Of the time may be spent in calls of one sampler."""

_WINDOW = 50
_SPARED = 2


class Pace:
    """The period of one sampler. It doubles when the sampler costs more than 0.5 % of the time, up to 10 s.

    It is judged by the mean of 50 readings without the two longest ones, which something else may have made long. A
    sampler that has used up what 50 readings may take is judged at once.

    Args:
        period_ns: From one reading to the next, at first.
    """

    def __init__(self, period_ns: int) -> None:
        self.period_ns = period_ns
        self._costs: list[int] = []

    def note(self, cost_ns: int) -> bool:
        """Note what a reading took; True if the period has just become longer."""
        self._costs.append(cost_ns)
        spent = sum(sorted(self._costs)[:-_SPARED])
        allowed = COST_SHARE * self.period_ns * (_WINDOW - _SPARED)
        if spent <= allowed:
            if len(self._costs) == _WINDOW:
                self._costs.clear()
            return False
        self._costs.clear()
        before, self.period_ns = self.period_ns, max(self.period_ns, min(MAX_PERIOD_NS, 2 * self.period_ns))
        return self.period_ns > before
