"""Samplers that do one thing each, right or wrong. Standard library alone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from typing import Any

from benchfw.errors import MissingDependency
from benchfw.spec.sampler import Sampler


class Counter(Sampler):
    """Counts its readings; its other field cannot be read every third time."""

    def __init__(self) -> None:
        self.readings = 0

    def open(self) -> Mapping[str, str]:
        return {"count": "readings", "now_and_then": "°C"}

    def sample(self) -> Mapping[str, float | None]:
        self.readings += 1
        if self.readings == 3:
            self.third()
        return {"count": self.readings, "now_and_then": None if self.readings % 3 == 0 else 0.5}

    def third(self) -> None:
        """What goes wrong at the third reading: nothing."""


class Absent(Counter):
    """Finds nothing to read."""

    def open(self) -> Mapping[str, str]:
        raise MissingDependency("there is no such sensor here")


class Raises(Counter):
    """Breaks."""

    def third(self) -> None:
        raise OSError(5, "the sensor is gone")


class Hangs(Counter):
    """Waits for what never comes."""

    def third(self) -> None:
        threading.Event().wait()


class Babbles(Counter):
    """Says what nobody asked for."""

    def sample(self) -> Mapping[str, Any]:
        return {**super().sample(), **({"count": "many"} if self.readings == 3 else {})}


class Kills(Counter):
    """Takes the process with it."""

    def third(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
