"""What is read of the surroundings while a run measures: the contract of samplers.

Samplers live in one process of their own, beside the workers: stdlib only, CPython 3.10 and later, as there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchfw.spec.info import NamedInfo


@dataclass(frozen=True, kw_only=True)
class SamplerInfo(NamedInfo):
    """A source of telemetry, as `samplers = [NAME]` in `[measure]` takes it. `factory` names a `Sampler`."""


class Sampler(ABC):
    """Reads a few figures, ten times per second at most. Made without arguments, in the sampler process.

    Attributes:
        devices: What the run measures on: `cpu`, `cuda:0`, …; set before `open`.
    """

    devices: Sequence[str] = ()

    @abstractmethod
    def open(self) -> Mapping[str, str]:
        """Get ready, and return the unit of every field that `sample` may give (`MHz`, `bytes`, `ratio`, `°C`, …).

        Raises:
            MissingDependency: There is nothing to be read on this machine; the run goes on without this sampler.
        """

    def watch(self, processes: Mapping[str, int]) -> Mapping[str, str]:
        """Take note of the workers that live now, and return the units of further fields that `sample` may give.

        Called between readings whenever a worker has started, with all of them; one may have ended since.

        Args:
            processes: The number of each process by its session. A later worker of a session has the same name.
        """
        return {}

    @abstractmethod
    def sample(self) -> Mapping[str, float | None]:
        """Return the figures of now; None for one that cannot be read at the moment.

        A field that was not asked for this time, because it costs much or its process has ended, is left out. Readings
        shall take well below a millisecond: those of a sampler that takes more than 0.5 % of the time get rarer.

        What it raises ends this sampler, not the run.
        """

    def boundary(self, *, dear: bool) -> Mapping[str, float | None]:
        """Return figures that are read between blocks only, where nothing is timed: cumulative counters above all.

        `open` announces them too. Called between readings, before and after a measured block.

        Args:
            dear: Also those that take milliseconds; asked for before and after a stretch of seconds.
        """
        return {}

    def facts(self) -> Mapping[str, Any]:
        """Return what the manifest shall tell of it, as JSON can hold it. Called after `open` and after boundaries."""
        return {}

    def close(self) -> None:  # noqa: B027  (an empty default is right: most samplers hold nothing)
        """Free everything. Called once, also after a failure."""
