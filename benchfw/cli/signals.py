"""Signals that end a command in good order."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def handled(handle: Callable[[int], None]) -> Iterator[None]:
    """Give SIGINT, SIGTERM and SIGHUP to a function for the length of a `with` block.

    A signal that is ignored (`nohup`) stays so. What the function raises is raised where the program is; if that is
    `KeyboardInterrupt`, later signals are ignored: nothing may disturb what is written or cleaned up then.
    """

    def received(number: int, frame: FrameType | None) -> None:
        try:
            handle(number)
        except KeyboardInterrupt:
            for each in before:
                signal.signal(each, signal.SIG_IGN)
            raise

    before = {}
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:
            before[each] = signal.signal(each, received)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into one `KeyboardInterrupt`."""

    def handle(number: int) -> None:
        raise KeyboardInterrupt

    with handled(handle):
        yield
