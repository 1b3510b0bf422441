"""The wish to end a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from benchfw.errors import Interrupted


class Stop:
    """The wish to end a run, made by a signal handler and honoured between blocks.

    Attributes:
        reason: Why, for people; None while nobody wants it.
        at_once: Workers are killed instead of asked to end.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.at_once = False
        self._deferred = False

    def check(self) -> None:
        """Honour the wish.

        Raises:
            Interrupted: Somebody made it.
        """
        if self.reason is not None and not self._deferred:
            raise Interrupted(self.reason)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let a `with` block end first: a block that is measured."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
