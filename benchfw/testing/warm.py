"""Workers that start in a few milliseconds, for tests that start many."""

from __future__ import annotations

import array
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from benchfw import supervisor
from benchfw.testing import zygote

_ALONE = ("PYTHONPATH", "PYTHONHOME")


class WarmWorkers:
    """Takes the place of `subprocess` in `benchfw.supervisor` within a `with` block.

    Workers on this interpreter are forks of one process that has imported numpy; others start as always. A fork has
    read its environment's variables for threads before it was a worker, and its marks are not seen by `/proc`: this is
    for the fake backends, not for frameworks, and not for tests of how workers start or what they leave behind.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, zygote.MAX_REQUEST)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchfw.testing.zygote", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
        self._socket = ours
        self._lock = threading.Lock()
        self._before: Any = None
        self._here = {name: os.environ.get(name) for name in _ALONE}

    def __enter__(self) -> WarmWorkers:
        self._before = vars(supervisor)["subprocess"]
        vars(supervisor)["subprocess"] = SimpleNamespace(
            **{name: getattr(subprocess, name) for name in ("DEVNULL", "STDOUT", "TimeoutExpired")}, Popen=self._popen
        )
        return self

    def __exit__(self, *error: object) -> None:
        vars(supervisor)["subprocess"] = self._before

    def close(self) -> None:
        """End the process that forks."""
        self._socket.close()
        self._process.wait()

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> Any:
        """Send a request of the zygote's and return its answer."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        with self._lock:
            self._socket.sendmsg([json.dumps(request).encode()], rights)
            return json.loads(self._socket.recv(zygote.MAX_REQUEST))

    def _popen(self, arguments: Sequence[str], **more: Any) -> Any:
        python, code, read_fd, write_fd = arguments
        env = more["env"]
        if python != sys.executable or any(env.get(name) != value for name, value in self._here.items()):
            return subprocess.Popen(arguments, **more)
        request = {"code": code, "env": env, "cwd": os.getcwd()}
        return _Fork(self, self.ask(request, [int(read_fd), int(write_fd), more["stdout"].fileno()]))


class _Fork:
    """What the supervisor uses of a `Popen`."""

    def __init__(self, warm: WarmWorkers, pid: int) -> None:
        self.pid = pid
        self._warm = warm
        self._code: int | None = None
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float) -> int:
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("worker", timeout)
        return code

    def _look(self, timeout: float) -> int | None:
        if self._code is None and select.select([self._handle], [], [], timeout)[0]:
            self._code = self._warm.ask({"poll": self.pid})
            os.close(self._handle)
        return self._code
