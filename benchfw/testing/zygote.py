"""Forks workers from a process that has imported numpy already, which is most of what starting one takes.

python -m benchfw.testing.zygote SOCKET_FD; see `benchfw.testing.warm`.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from importlib import metadata
from typing import Any

import numpy as np

MAX_REQUEST = 1 << 18
_PR_SET_PDEATHSIG = 1
_LOADED = (ctypes, metadata, np)
"""What workers import. Not benchfw: theirs is the copy that was handed over."""


def serve(channel: socket.socket) -> None:
    """Answer `start` with a pid and `poll` with the exit code of a pid, or None while it runs, until the end comes."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    codes: dict[int, int] = {}
    while True:
        text, ancillary, _, _ = channel.recvmsg(MAX_REQUEST, socket.CMSG_SPACE(3 * array.array("i").itemsize))
        if not text:
            return
        request = json.loads(text)
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        if "poll" in request:
            answer = _poll(request["poll"], codes)
        else:
            answer = os.fork()
            if answer == 0:
                channel.close()
                _work(request, list(descriptors))
        for descriptor in descriptors:
            os.close(descriptor)
        channel.send(json.dumps(answer).encode())


def _poll(pid: int, codes: dict[int, int]) -> int | None:
    if pid not in codes:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            codes[pid] = os.waitstatus_to_exitcode(status)
    return codes.get(pid)


def _work(request: dict[str, Any], descriptors: list[int]) -> None:
    """Become a worker, as if `python FOLDER READ_FD WRITE_FD` had been started."""
    code = 1
    try:
        read_fd, write_fd, output = descriptors
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDONLY)
        for descriptor, target in ((null, 0), (output, 1), (output, 2)):
            os.dup2(descriptor, target)
        os.close(null)
        os.close(output)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        for name in [name for name in sys.modules if name.partition(".")[0] == "benchfw"]:
            del sys.modules[name]
        sys.argv = [request["code"], str(read_fd), str(write_fd)]
        sys.dont_write_bytecode = True
        runpy.run_path(request["code"], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
