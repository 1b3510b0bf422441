"""Fixtures for tests of several parts."""

from __future__ import annotations

import pytest

from benchfw.testing.virtual import VirtualClock
from benchfw.worker import clocks


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    """A virtual clock in place of that of this process, until the test is over."""
    for name in ("now", "sleep", "wait_until", "window"):
        monkeypatch.setattr(clocks, name, getattr(clocks, name))  # put back what `install` replaces
    made = VirtualClock()
    made.install()
    return made
