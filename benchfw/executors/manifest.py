"""What a run says of itself: written at its beginning and end, compared when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from benchfw.executors.resume import Resume, differences, refuse
from benchfw.store import provenance
from benchfw.store.writer import RunWriter


class Manifest:
    """The manifest of a run while it is written.

    Args:
        writer: The only writer of the run.
        resume: How the run is gone on with; None for a new one.
        before: The manifest that a resumed run has.

    Attributes:
        changes: What has changed since the run began, and was passed over by `force`.
    """

    def __init__(self, writer: RunWriter, resume: Resume | None, before: Mapping[str, Any]) -> None:
        self._writer = writer
        self._resume = resume
        self.before = before
        self.changes: list[str] = []
        self._data: dict[str, Any] = dict(before)

    @property
    def attempt(self) -> int:
        """How often the run was gone on with."""
        return len(self._data["attempts"]) - 1

    def begin(self, **origin: Any) -> None:
        """Begin an attempt.

        Args:
            **origin: What is written when the run begins and stays as it is.
        """
        attempt = {"started": _now(), "command": provenance.command(), "load_average": provenance.load_average()}
        self._data = {**origin, **self.before, "attempts": [*self.before.get("attempts", []), attempt]}
        self._write(state="running")

    def state(self, now: Mapping[str, Any]) -> None:
        """Write what is true now; in a resumed run, compare it with what was true when that began.

        Raises:
            UsageError: It differs, and nobody insists.
        """
        known = [key for key in now if key in self.before]  # the run may have been killed before it wrote them all
        changes = differences({key: self.before[key] for key in known}, {key: now[key] for key in known})
        if changes and self._resume is not None and not self._resume.force:
            raise refuse(self._writer.run_id, changes)
        self.changes += changes
        self._write(**{key: value for key, value in now.items() if self.before.get(key) is None})

    def state_worker(self, session_id: str, hello: Mapping[str, Any]) -> list[str]:
        """Write what a session runs on; if that is known already, return what differs, unless it is passed over."""
        key, workers = f"workers.{session_id}", self._data.get("workers", {})
        runs_on = {name: hello.get(name) for name in ("python", "numpy", "packages")}
        if session_id not in workers:
            self._write(workers={**workers, session_id: runs_on})
            return []
        changes = differences({key: workers[session_id]}, {key: runs_on})
        if self._resume is None or not self._resume.force:
            return changes
        self.changes += [change for change in changes if change not in self.changes]
        return []

    def add(self, **facts: Any) -> None:
        """Keep what is known of this attempt until its end is written."""
        self._data["attempts"][-1] |= facts

    def finish(self, state: str, **more: Any) -> None:
        """End the attempt."""
        ended = {"state": state, "ended": _now(), "load_average_end": provenance.load_average()}
        if self.changes:
            ended["forced"] = self.changes
        self._data["attempts"][-1] |= ended
        self._write(state=state, **more)

    def withdraw(self) -> None:
        """Leave the manifest of a run that is not gone on with as it was."""
        self._writer.write_manifest(self.before)

    def _write(self, **more: Any) -> None:
        self._data |= more
        self._writer.write_manifest(self._data)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
