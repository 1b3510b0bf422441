"""What the process of the samplers, which measures nothing else, does with each message."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from benchfw.worker.imports import load_class
from benchfw.worker.pace import MIN_PERIOD_NS
from benchfw.worker.protocol import Message, ok
from benchfw.worker.sampling import Sampling

_CLOSE_S = 1.0
_PAUSE_S = 0.2
_BOUNDARY_S = 2.0
"""A driver that takes longer hangs; the boundary is left out."""
_NICE = 5
"""Samplers make room for what is measured."""


class SamplerHandlers:
    """Handlers of the messages about samplers, and the samplers that run."""

    def __init__(self) -> None:
        self._sampling = Sampling({}, 0)

    def on_sample_start(self, values: Mapping[str, Any]) -> Message:
        """Begin to read samplers: `factories` by their names, ten times per second; `devices` of the run."""
        os.nice(_NICE)
        makers = {name: lambda path=path: load_class(path)() for name, path in values["factories"].items()}
        self._sampling = Sampling(makers, MIN_PERIOD_NS, values.get("devices", ()))
        return ok()

    def on_sample_watch(self, values: Mapping[str, Any]) -> Message:
        """Tell the samplers which workers live: `processes`, their numbers by session."""
        self._sampling.watch(values["processes"])
        return ok()

    def on_sample_pause(self, values: Mapping[str, Any]) -> Message:
        """Read nothing until `sample_resume`; what is being read is waited for, for a moment."""
        self._sampling.pause(_PAUSE_S)
        return ok()

    def on_sample_resume(self, values: Mapping[str, Any]) -> Message:
        self._sampling.resume()
        return ok()

    def on_sample_boundary(self, values: Mapping[str, Any]) -> Message:
        """Read what is read between blocks only; with `dear`, also what takes milliseconds."""
        self._sampling.boundary(_BOUNDARY_S, dear=values["dear"])
        return ok()

    def on_sample_take(self, values: Mapping[str, Any]) -> Message:
        """Return what was read since the last time; see `Sampling.take`."""
        states, arrays = self._sampling.take()
        return Message("ok", {"samplers": states}, arrays)

    def on_sample_stop(self, values: Mapping[str, Any]) -> Message:
        """End and close the samplers; those that hang are left to the end of the process."""
        self._sampling.stop(_CLOSE_S)
        return ok()
