"""Entry of a worker process: `python FOLDER READ_FD WRITE_FD`.

FOLDER holds the code that the parent hands over and nothing else; its `__main__` calls `main`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import sys
import traceback

from benchfw.errors import BACKEND_ERRORS, BenchfwError, Invalid, ProtocolError, WorkerError
from benchfw.worker.protocol import Channel, Message
from benchfw.worker.server import Server

_PR_SET_PDEATHSIG = 1
_MAX_TEXT = 10_000
_NO_NAMES = frozenset({"error", "exception"})


def main() -> None:
    """Answer messages until the parent closes the pipe or asks to stop."""
    read_fd, write_fd = int(sys.argv[1]), int(sys.argv[2])
    for descriptor in (read_fd, write_fd):
        os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when a run is interrupted
    _prefer_as_victim()
    _die_with_parent()
    channel = Channel(read_fd, write_fd)
    server = Server(channel.send)
    while (message := channel.receive()) is not None:
        if message.type == "exit":
            return
        try:
            reply = server.answer(message)
        except Exception as error:
            reply = _error(message.type, error)
        try:
            channel.send(reply)
        except (ProtocolError, TypeError, ValueError) as error:  # an answer that cannot be sent: objects, numpy scalars
            channel.send(_error(message.type, Invalid(f"the answer to {message.type!r} cannot be sent: {error}")))
        except WorkerError:  # the parent has gone
            return


def _error(stage: str, error: Exception) -> Message:
    """Describe an exception for the wire: errors of our tree keep their class, others say their own."""
    with contextlib.suppress(Exception):  # a backend may have closed stderr, an exception may fail to print
        traceback.print_exc()  # into the log of the session
        sys.stderr.flush()
    name = type(error).__name__
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        name, text, hint = "OutOfMemory", f"out of host memory in {stage}: {_words(error)}".rstrip(": "), None
    elif isinstance(error, BenchfwError):
        text, hint = str(error.message)[:_MAX_TEXT], None if error.hint is None else str(error.hint)[:_MAX_TEXT]
        name = "Invalid" if isinstance(error, ProtocolError) else name
    else:
        text, hint = f"{_class_of(error)}: {_words(error)}", None
        name = "BuildFailed" if stage in ("open", "prepare", "load", "step", "resolve") else "BackendError"
    known = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in BACKEND_ERRORS), name)
    known = known if known in BACKEND_ERRORS else "BackendError"
    return Message("error", {"error": known, "stage": stage, "message": text, "hint": hint})


def _class_of(error: Exception) -> str:
    """Return the name of a class, with its module where many have that name: `cv2.error`."""
    kind = type(error)
    bare = kind.__module__ == "builtins" or kind.__name__.lower() not in _NO_NAMES
    return kind.__name__ if bare else f"{kind.__module__}.{kind.__name__}"


def _words(error: Exception) -> str:
    """Return the text of a foreign exception, which may fail to give one and may be longer than anybody reads."""
    try:
        return str(error)[:_MAX_TEXT]
    except Exception as failure:
        return f"(its text raised {type(failure).__name__})"


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies.

    Without it a worker that is being stopped in the very moment in which its parent dies would sleep for ever: the
    kernel looks for stopped jobs of an orphaned process group only once. Where there is no prctl, the closed pipe
    ends a worker that runs.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _prefer_as_victim() -> None:
    """Let the kernel take this process, not the parent, when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass
