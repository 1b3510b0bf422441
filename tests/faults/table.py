"""The table of faults. One more is one more line; `python tools/faults.py` then writes docs/reference/faults.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong with the first of the two batches of a backend, which are two cohorts.

    Attributes:
        name: Name of the backend that does it.
        what: What happens, for people.
        at: Method of the backend in which it happens (an option of `fake`), or `hello` for one of the interpreter.
        how: Fault of `fake` that does it, or the interpreter of `INTERPRETERS` that does.
        status: Status of the row.
        words: Part of the row's reason.
        stage: What the worker was asked for, as the row has it.
        signal: Signal that ended the worker, as the row has it.
        warning: Code of a warning that the row has.
        other: Status of the row of the second batch; None where it is that of the first, for the same reason.
        options: More options of `fake`.
        python: Interpreter of `INTERPRETERS` to do it on.
    """

    name: str
    what: str
    at: str
    how: str
    status: str
    words: str = ""
    stage: str | None = None
    signal: str | None = None
    warning: str | None = None
    other: str | None = "OK"
    options: Mapping[str, Any] = field(default_factory=dict)
    python: str | None = None

    @property
    def interpreter(self) -> str | None:
        return self.how if self.at == "hello" else self.python


INTERPRETERS = {
    "not-executable": None,  # a file that may not be run
    "not-a-program": "\x7fnot a program",
    "false": "#!/bin/sh\nexit 1\n",
    "prints-and-hangs": '#!/bin/sh\necho "licence server not reached, trying again"\nexec sleep 3600\n',
    "prints-into-the-pipe": """#!/bin/sh
exec {python} -c '
import os, sys, time
os.write(int(sys.argv[-1]), b"Loading the runtime")
time.sleep(3600)' "$@"
""",
    "without-numpy": '#!/bin/sh\nexec {python} -S "$@"\n',
    "banner": '#!/bin/sh\necho "welcome to the cluster"\nexec {python} "$@"\n',
    "refuses-our-protocol": """#!/bin/sh
exec {python} -c '
import sys
del sys.argv[0]
sys.path.insert(0, sys.argv[0])
from benchfw.worker import protocol
protocol.VERSION = 99
from benchfw.worker.main import main
main()' "$@"
""",
    "another-protocol": """#!/bin/sh
exec {python} -c '
import sys
del sys.argv[0]
sys.path.insert(0, sys.argv[0])
from benchfw.worker import protocol, server
server.Server.on_hello = lambda self, values: protocol.ok(protocol=99)
from benchfw.worker.main import main
main()' "$@"
""",
    "limited": '#!/bin/sh\nulimit -v 1000000 &&\nexec {python} "$@"\n',
    "cgroup": '#!/bin/sh\necho $$ > {cgroup}/cgroup.procs &&\nexec {python} "$@"\n',
}
"""Programs that stand in for an interpreter; `missing` is in no folder at all."""

FAULTS = [
    # --- the interpreter ---
    Fault("python-missing", "does not exist", "hello", "missing", "SKIPPED", "does not start", other=None),
    Fault("python-no-x", "may not be executed", "hello", "not-executable", "SKIPPED", "Permission", other=None),
    Fault("python-data", "is no program", "hello", "not-a-program", "SKIPPED", "Exec format", other=None),
    Fault("python-false", "exits at once", "hello", "false", "CRASH", "exited with 1", "hello", other=None),
    Fault(
        "python-hangs",
        "prints and hangs",
        "hello",
        "prints-and-hangs",
        "TIMEOUT",
        "licence server",
        "hello",
        other=None,
    ),
    Fault(
        "python-pipe", "prints into the pipe", "hello", "prints-into-the-pipe", "INVALID", "header", "hello", other=None
    ),
    Fault("python-no-numpy", "has no numpy", "hello", "without-numpy", "SKIPPED", "has no numpy", "hello", other=None),
    Fault("python-banner", "prints a banner first", "hello", "banner", "OK"),
    Fault(
        "python-refuses", "refuses our protocol", "hello", "refuses-our-protocol", "INVALID", "99", "hello", other=None
    ),
    Fault(
        "python-protocol", "speaks another protocol", "hello", "another-protocol", "INVALID", "99", "hello", other=None
    ),
    # --- the making of an instance ---
    Fault(
        "init-raise", "raises ValueError", "init", "raise", "BUILD_FAILED", "ValueError: asked for", "open", other=None
    ),
    Fault("init-sys-exit", "calls sys.exit(3)", "init", "sys_exit", "CRASH", "exited with 3", "open", other=None),
    # --- prepare ---
    Fault("prepare-raise", "raises ValueError", "prepare", "raise", "BUILD_FAILED", "ValueError: asked for", "prepare"),
    Fault("prepare-build", "raises BuildFailed", "prepare", "BuildFailed", "BUILD_FAILED", "asked for", "prepare"),
    Fault("prepare-segfault", "reads address 0", "prepare", "segfault", "CRASH", "SIGSEGV", "prepare", "SIGSEGV"),
    Fault("prepare-abort", "aborts", "prepare", "abort", "CRASH", "SIGABRT", "prepare", "SIGABRT"),
    Fault("prepare-hang", "sleeps for an hour", "prepare", "hang", "TIMEOUT", "within 4 s", "prepare"),
    Fault("prepare-none", "returns None", "prepare", "none", "INVALID", "prepare", "prepare"),
    # --- load ---
    Fault("load-raise", "raises ValueError", "load", "raise", "BUILD_FAILED", "ValueError: asked for", "load"),
    Fault("load-exit", "calls os._exit(7)", "load", "exit", "CRASH", "exited with 7", "load"),
    Fault(
        "load-illegal", "runs an instruction that the CPU lacks", "load", "illegal", "CRASH", "SIGILL", "load", "SIGILL"
    ),
    Fault("load-missing", "raises MissingDependency", "load", "MissingDependency", "SKIPPED", "asked for", "load"),
    Fault("load-unsupported", "raises Unsupported", "load", "Unsupported", "UNSUPPORTED", "asked for", "load"),
    Fault("load-fell-back", "raises FellBack", "load", "FellBack", "FALLBACK", "asked for", "load"),
    Fault("load-none", "returns None", "load", "none", "INVALID", "NoneType", "load"),
    Fault("load-dtype", "announces a dtype that is none", "load", "odd_dtype", "INVALID", "floaty", "load"),
    Fault("load-shape", "announces a dimension of 12.5", "load", "odd_shape", "INVALID", "12.5", "load"),
    Fault("load-outputs", "announces other outputs than come", "load", "other_outputs", "INVALID", "was announced"),
    Fault("load-flood", "prints 320 MB", "load", "flood", "OK", warning="L01"),
    Fault(
        "load-leak",
        "takes more memory than its limit",
        "load",
        "reserve",
        "OOM",
        "out of host memory",
        "load",
        other="SKIPPED",
        python="limited",
    ),
    Fault(
        "load-oom-kill",
        "takes more memory than its control group may",
        "load",
        "leak",
        "OOM",
        "the kernel killed",
        "load",
        "SIGKILL",
        other="SKIPPED",
        python="cgroup",
    ),
    # --- bind ---
    Fault("bind-invalid", "raises Invalid", "bind", "Invalid", "INVALID", "asked for", "bind"),
    Fault("bind-memory", "raises MemoryError", "bind", "memory", "OOM", "out of host memory", "bind", other="SKIPPED"),
    Fault("bind-none", "returns None", "bind", "none", "INVALID", "NoneType", "bind"),
    # --- launch ---
    Fault("launch-crash", "segmentation fault", "launch", "crash", "CRASH", "SIGSEGV", "block", "SIGSEGV"),
    Fault("launch-kill", "is killed by somebody", "launch", "kill", "CRASH", "SIGKILL", "block", "SIGKILL"),
    Fault("launch-term", "is terminated by somebody", "launch", "terminate", "CRASH", "SIGTERM", "block", "SIGTERM"),
    Fault("launch-exit", "calls os._exit(0)", "launch", "exit0", "CRASH", "exited with 0", "block"),
    Fault("launch-sys-exit", "calls sys.exit(3)", "launch", "sys_exit", "CRASH", "exited with 3", "block"),
    Fault("launch-keyboard", "raises KeyboardInterrupt", "launch", "keyboard", "CRASH", "SIGINT", "block", "SIGINT"),
    Fault("launch-stop", "stops itself", "launch", "stop", "TIMEOUT", "it is stopped", "block"),
    Fault("launch-hang", "sleeps for an hour", "launch", "hang", "TIMEOUT", "within 2 s", "block"),
    Fault("launch-spin", "loops for ever", "launch", "spin", "TIMEOUT", "within 2 s", "block"),
    Fault("launch-deaf", "loops for ever, deaf to SIGTERM", "launch", "spin_deaf", "TIMEOUT", "within 2 s", "block"),
    Fault("launch-deadlock", "waits for a lock that it holds", "launch", "deadlock", "TIMEOUT", "within 2 s", "block"),
    Fault("launch-raise", "raises ValueError", "launch", "raise", "CRASH", "ValueError: asked for", "block"),
    Fault("launch-mute", "raises what has no text", "launch", "mute", "CRASH", "its text raised RuntimeError", "block"),
    Fault("launch-verbose", "raises 6 MB of text", "launch", "verbose", "CRASH", "ValueError: words words", "block"),
    Fault("launch-verbose-own", "raises Invalid with 6 MB", "launch", "verbose_own", "INVALID", "words words", "block"),
    Fault("launch-binary", "raises surrogates and escapes", "launch", "binary", "CRASH", "title", "block"),
    Fault("launch-recurse", "recurses for ever", "launch", "recurse", "CRASH", "RecursionError", "block"),
    Fault("launch-oom", "raises OutOfMemory", "launch", "OutOfMemory", "OOM", "asked for", "block", other="SKIPPED"),
    Fault(
        "launch-explained",
        "raises what `explain` knows as OutOfMemory",
        "launch",
        "framework_memory",
        "OOM",
        "out of fake memory",
        "block",
        other="SKIPPED",
    ),
    Fault(
        "launch-compile",
        "compiles once more",
        "launch",
        "",
        "INVALID",
        "V04: within a measured block: 1 compilations",
        other=None,
        options={"compile_at_total": 50},
    ),
    Fault(
        "launch-early",
        "returns before its work is done",
        "launch",
        "early",
        "INVALID",
        "V02: launch returned before its outputs were complete",
        options={"latency_us": 1000.0},
    ),
    Fault("launch-hoard", "keeps a Python object", "launch", "hoard", "OK"),
    Fault("launch-leak-native", "takes 16 KiB that nobody frees", "launch", "leak_native", "OK"),
    Fault("launch-chatter", "prints a line", "launch", "chatter", "OK"),
    Fault("launch-thread", "starts a thread that never ends", "launch", "thread", "OK"),
    Fault("launch-folder", "removes its working directory", "launch", "lose_folder", "OK"),
    Fault("launch-fds", "closes stdin, stdout and stderr", "launch", "close_standard", "OK"),
    Fault("launch-fork", "forks a child that stays", "launch", "fork", "OK"),
    Fault("launch-fork-session", "forks a child that leaves the session", "launch", "fork_session", "OK"),
    Fault(
        "launch-fork-exit", "exits; a child holds the pipe", "launch", "fork_exit", "CRASH", "exited with 3", "block"
    ),
    Fault(
        "launch-fork-session-exit",
        "exits; a child in another session holds the pipe",
        "launch",
        "fork_session_exit",
        "CRASH",
        "exited with 3",
        "block",
    ),
    Fault(
        "launch-leave-group",
        "hangs in another process group",
        "launch",
        "leave_group",
        "TIMEOUT",
        "within 2 s",
        "block",
    ),
    Fault("launch-garbage", "prints into the pipe", "launch", "garbage", "INVALID", "header", "block"),
    Fault(
        "launch-forge-old", "writes an old answer into the pipe", "launch", "forge_old", "INVALID", "number 1", "block"
    ),
    Fault("launch-forge", "forges the answer", "launch", "forge", "INVALID", "no stamps"),
    Fault("launch-truncated", "exits within its answer", "launch", "announce_exit", "CRASH", "exited with 0", "block"),
    Fault("launch-announce", "hangs within its answer", "launch", "announce_hang", "TIMEOUT", "within 2 s", "block"),
    Fault("launch-close-pipe", "closes the pipe", "launch", "close_pipe", "CRASH", "", "block"),
    Fault(
        "launch-close-hang",
        "closes the pipe and hangs",
        "launch",
        "close_pipe_hang",
        "CRASH",
        "closed its pipe",
        "block",
    ),
    Fault("launch-steal", "reads the parent's next message away", "launch", "steal", "TIMEOUT", "no answer", "block"),
    # --- explain ---
    Fault("explain-raise", "raises ValueError", "explain", "raise", "CRASH", "FrameworkError: unheard of", "block"),
    Fault("explain-nonsense", "returns text", "explain", "nonsense", "CRASH", "FrameworkError: unheard of", "block"),
    # --- outputs ---
    Fault("outputs-raise", "raises ValueError", "outputs", "raise", "CRASH", "ValueError: asked for", "outputs"),
    Fault("outputs-hang", "sleeps for an hour", "outputs", "hang", "TIMEOUT", "within 6 s", "outputs"),
    Fault("outputs-forge", "forges the answer", "outputs", "forge", "INVALID", "0 outputs"),
    Fault("outputs-none", "returns None", "outputs", "none", "INVALID", "NoneType", "outputs"),
    Fault("outputs-shape", "swaps dimensions", "outputs", "transposed", "INVALID", "has shape [12, 2]"),
    Fault("outputs-half", "gives half of the batch", "outputs", "half", "INVALID", "has shape [1, 12]"),
    Fault("outputs-integers", "gives integers for floats", "outputs", "integers", "INVALID", "is int64"),
    Fault("outputs-missing", "gives none", "outputs", "missing", "INVALID", "0 outputs"),
    Fault("outputs-extra", "gives one too many", "outputs", "extra", "INVALID", "2 outputs"),
    Fault("outputs-objects", "gives Python objects", "outputs", "objects", "INVALID", "object", "outputs"),
    Fault("outputs-words", "gives text", "outputs", "words", "INVALID", "<U", "outputs"),
    Fault("outputs-ragged", "gives rows of different lengths", "outputs", "ragged", "INVALID", "output", "outputs"),
    Fault("outputs-many", "gives 100,000", "outputs", "many", "INVALID", "100000 arrays", "outputs"),
    Fault("outputs-nan", "gives NaN", "outputs", "nan", "ACCURACY_FAIL", "24 elements are NaN or infinite"),
    Fault("outputs-zeros", "gives zeros", "outputs", "zeros", "ACCURACY_FAIL", "all elements are zero"),
    Fault(
        "outputs-constant", "gives one constant", "outputs", "constant", "ACCURACY_FAIL", "all elements are the same"
    ),
    Fault(
        "outputs-unfollowing",
        "gives the same for all inputs",
        "outputs",
        "unfollowing",
        "INVALID",
        "V01: 4 different sets of inputs gave the same outputs",
    ),
    Fault("outputs-drift", "gives others after the timing", "outputs", "drifting", "ACCURACY_FAIL", "after the timing"),
    # --- facts ---
    Fault("facts-raise", "raises ValueError", "facts", "raise", "BUILD_FAILED", "ValueError: asked for", "load"),
    Fault("facts-none", "returns None", "facts", "none", "INVALID", "NoneType", "load"),
    Fault("facts-object", "returns what JSON cannot hold", "facts", "unprintable", "INVALID", "object", "load"),
    Fault(
        "facts-numpy",
        "returns a numpy integer",
        "facts",
        "",
        "INVALID",
        "int64",
        "load",
        other=None,
        options={"fact": "numpy"},
    ),
    Fault(
        "facts-text",
        "says that it has `many` threads",
        "facts",
        "",
        "INVALID",
        "not of type int",
        other=None,
        options={"fact": "text"},
    ),
    Fault("facts-later-text", "says so once it has run", "facts", "later_text", "INVALID", "not of type int"),
    Fault(
        "facts-provider",
        "says that another provider runs",
        "facts",
        "",
        "FALLBACK",
        "CPU is in effect",
        other=None,
        options={"provider": "CPU"},
    ),
    Fault("facts-later-provider", "says so once it has run", "facts", "later_provider", "FALLBACK", "CPU is in effect"),
    Fault("facts-precision", "says that another precision runs", "facts", "other_precision", "FALLBACK", "int8 is in"),
    Fault(
        "facts-fallback",
        "says that all nodes run on another provider",
        "facts",
        "fallback",
        "FALLBACK",
        "V05: no node runs on fake",
    ),
    Fault("facts-fallback-partly", "says so of a third of the nodes", "facts", "fallback_partly", "OK"),
    Fault("facts-more-threads", "says that it has more threads than it may", "facts", "more_threads", "OK"),
    Fault("facts-threads", "says that it has 2^80 threads", "facts", "huge_threads", "INVALID", "no machine has"),
    # --- counters ---
    Fault("counters-raise", "raises ValueError", "counters", "raise", "CRASH", "ValueError: asked for", "block"),
    Fault("counters-none", "returns None", "counters", "none", "INVALID", "NoneType", "block"),
    Fault("counters-text", "counts `many`", "counters", "text_counts", "INVALID", "many", "block"),
    Fault("counters-float", "counts halves", "counters", "float_counts", "INVALID", "0.5", "block"),
    Fault("counters-huge", "counts in steps of 2^80", "counters", "huge_counts", "INVALID", "no process", "block"),
    Fault("counters-numpy", "counts in numpy integers", "counters", "numpy_counts", "OK"),
    Fault("counters-rising", "never stops compiling", "counters", "rising", "INVALID", "still compiling"),
    # --- close ---
    Fault("close-raise", "raises ValueError", "close", "raise", "OK", warning="R03"),
    Fault("close-crash", "segmentation fault", "close", "crash", "OK", warning="R03"),
    Fault("close-hang", "sleeps for an hour", "close", "hang", "OK", warning="R03"),
]
