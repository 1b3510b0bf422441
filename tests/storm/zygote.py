"""Runs `benchfw` in forks of a process that has imported everything, so that a storm of runs costs no imports.

Reads lines `[arguments, folder]` and `"wait"` from stdin. Answers each of the first kind with the pid of a process that
leads a group of its own, and each of the second with the wait status of that process.
"""

from __future__ import annotations

import json
import os
import sys

from benchfw.cli import main
from tests.brief import measure_little


def start(arguments: list[str], folder: str) -> int:
    """Fork a process that runs the command line, its output in a file of the folder."""
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    os.chdir(folder)
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)
    sys.argv = ["benchfw", *arguments]
    code = 99
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


measure_little()
pid = 0
for line in sys.stdin:
    request = json.loads(line)
    if request == "wait":
        answer = os.waitpid(pid, 0)[1]
    else:
        answer = pid = start(*request)
    print(answer, flush=True)
