"""The parent's end of a worker: hand it its code, start it, ask it, hold it, and find out how it died."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchfw.errors import (
    BACKEND_ERRORS,
    BackendError,
    CaseError,
    MissingDependency,
    OutOfMemory,
    ProtocolError,
    ResultError,
    WorkerCrashed,
    WorkerTimeout,
)
from benchfw.handover import NO_NUMPY
from benchfw.processes import MARK, kill_marked, signal_name, state_of
from benchfw.spec.stop import Stop
from benchfw.worker import cgroups, protocol
from benchfw.worker.protocol import Channel, Message

HELLO_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 5.0
LOG_TAIL_LINES = 40
LOG_LIMIT_BYTES = 16 << 20
"""A log that grows beyond this loses its middle: a worker that floods its output must not fill the disk."""

_LOG_KEPT_BYTES = 256 << 10
_MAX_PROGRESS = 200


class Worker:
    """A worker process in a process group of its own.

    Not in a session of its own: a stopped worker whose parent was killed is then taken away by the kernel (its
    group is orphaned, so it gets SIGHUP and SIGCONT), and would otherwise sleep for ever. The worker also asks to be
    killed with its parent; that is tied to the thread that starts it, which must live as long as the worker.

    Args:
        python: Interpreter to run.
        code: Folder made by `hand_over`.
        log: File that takes the worker's stdout and stderr.
        env: Variables on top of this process's.
        foreign: The interpreter is not this one: Python's own variables are not passed on.
        distributions: Packages whose versions `hello` shall tell.
        timeout: Seconds that it may take to answer `hello`.
        stop: Ends every wait for an answer, unless it is deferred.
        mark: Begins the mark of the worker and its descendants: that of the run.

    Attributes:
        hello: What the worker says of itself.

    Raises:
        MissingDependency: The interpreter cannot be started, or lacks numpy.
        ResultError: The log cannot be written.
        WorkerCrashed, WorkerTimeout, ProtocolError: It did not answer `hello`, or speaks another protocol.
    """

    def __init__(
        self,
        *,
        python: str,
        code: Path,
        log: Path,
        env: Mapping[str, str] | None = None,
        foreign: bool = False,
        distributions: Iterable[str] = (),
        timeout: float = HELLO_TIMEOUT_S,
        stop: Stop | None = None,
        mark: str = "",
    ) -> None:
        self.log = log
        self._dropped_bytes = 0
        self._python = python
        self._stop = stop or Stop()
        self._held = False
        self._listener: Callable[[str], None] | None = None
        self._progress = ""
        self._stage: str | None = "hello"
        self._death: CaseError | None = None
        self._mark = f"{mark}/{secrets.token_hex(8)}"
        self._memory = cgroups.memory_groups()
        self._oom_kills = cgroups.oom_kills(groups=self._memory)
        environ = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", MARK: self._mark}
        if foreign:
            for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
                environ.pop(name, None)
        environ.update(env or {})
        to_worker, from_parent = os.pipe()
        from_worker, to_parent = os.pipe()
        os.set_blocking(from_parent, False)
        self._channel = Channel(from_worker, from_parent, idle=self._look)
        try:
            output = log.open("ab")
        except OSError as error:
            self._channel.close()
            os.close(to_worker)
            os.close(to_parent)
            raise ResultError(f"{log} cannot be written: {error.strerror}") from error
        try:
            with output:
                self._process = subprocess.Popen(
                    [python, str(code), str(to_worker), str(to_parent)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(to_worker, to_parent),
                    env=environ,
                    process_group=0,
                )
        except OSError as error:
            self._channel.close()
            text = f"the interpreter {python} does not start: {error.strerror or error}"
            lacking = isinstance(error, FileNotFoundError | PermissionError) or error.errno == errno.ENOEXEC
            raise (MissingDependency if lacking else WorkerCrashed)(text) from error
        finally:
            os.close(to_worker)
            os.close(to_parent)
        try:
            self.hello = self.ask(
                "hello", timeout, protocol=protocol.VERSION, distributions=sorted(distributions)
            ).values
            self._memory = cgroups.memory_groups(self.pid)  # what starts it may have put it into another group
            if self.hello.get("protocol") != protocol.VERSION:
                raise ProtocolError(
                    f"the worker speaks protocol {self.hello.get('protocol')!r}, this benchfw {protocol.VERSION}"
                )
        except BaseException as error:
            self.kill()
            if isinstance(error, CaseError):
                error.stage, error.log = "hello", str(log)
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, kind: str, timeout: float, /, **values: Any) -> Message:
        """Send one message and return the answer.

        Args:
            kind: Type of the message.
            timeout: Seconds to wait.

        Raises:
            BackendError: The worker reports one; its class is the one raised there.
            OutOfMemory: The kernel killed it for memory.
            WorkerCrashed, WorkerTimeout, ProtocolError: The worker is killed and cannot be asked again.
            Interrupted: The run is to end. A worker that has been asked already is killed: nobody waits for its answer.
        """
        if self._channel.write_fd < 0:
            raise WorkerCrashed(f"the worker is gone, {kind!r} cannot be asked")
        self._stop.check()
        if self.alive:  # what killed it before now was counted before now
            self._stage = kind
            self._oom_kills = cgroups.oom_kills(groups=self._memory)
        try:
            answer = self._exchange(kind, timeout, values)
            self._stage = None
            if answer.type == "error":
                known = BACKEND_ERRORS.get(str(answer.values.get("error")), BackendError)
                raise known(str(answer.values.get("message")), hint=answer.values.get("hint"))
        except CaseError as error:
            error.stage, error.log = self._stage or kind, str(self.log)
            raise
        return answer

    def ask_long(self, kind: str, timeout: float, listener: Callable[[str], None], /, **values: Any) -> Message:
        """Ask as `ask` does, for something that takes long.

        Args:
            kind: Type of the message.
            timeout: Seconds to wait.
            listener: Told a few times per second what the worker said last of how far it is. What it raises ends the
                worker, and the wait.
        """
        self._listener, self._progress = listener, ""
        try:
            return self.ask(kind, timeout, **values)
        finally:
            self._listener = None

    def _exchange(self, kind: str, timeout: float, values: Mapping[str, Any]) -> Message:
        try:
            self._channel.send(Message(kind, values), timeout=timeout)
            answer = self._receive(time.monotonic() + timeout)
        except WorkerTimeout:
            stopped = ", it is stopped" if state_of(self.pid) == "T" else ""
            self.kill()
            text = f"no answer to {kind!r} within {timeout:.0f} s{stopped}"
            raise WorkerTimeout(text, hint=self._last_words()) from None
        except WorkerCrashed:
            answer = None
        except BaseException:  # whatever it was, the next answer would be the one to this question
            self.kill()
            raise
        if answer is None:
            raise self.death()
        return answer

    def _receive(self, deadline: float) -> Message | None:
        """Wait for the answer; None once the worker has closed its pipe."""
        while (answer := self._channel.receive(max(0.0, deadline - time.monotonic()))) is not None:
            if answer.type != "progress":
                break
            self._progress = str(answer.values.get("text", ""))[:_MAX_PROGRESS]
        return answer

    def hold(self) -> None:
        """Stop every thread of the worker, so that its pools cannot spin while another one is measured."""
        if self.alive and not self._held:
            self._signal(signal.SIGSTOP)
            self._held = True

    def resume(self) -> None:
        """Let a held worker go on."""
        if self._held:
            self._signal(signal.SIGCONT)
            self._held = False

    @contextlib.contextmanager
    def running(self) -> Iterator[Worker]:
        """Resume for the length of a `with` block, then hold again."""
        self.resume()
        try:
            yield self
        finally:
            self.hold()

    def close(self) -> None:
        """End the worker: ask it, wait a moment, kill its group. Idempotent."""
        if self.alive and self._channel.write_fd >= 0 and not self._stop.at_once:
            self.resume()
            with contextlib.suppress(Exception):
                self._channel.send(Message("exit"), timeout=1.0)
                self._process.wait(EXIT_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """Kill the worker's process group and its other descendants at once.

        Idempotent: the group's number may be another group's later.
        """
        if self._channel.write_fd < 0:
            return
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_TIMEOUT_S)
        kill_marked(self._mark)
        self._channel.close()
        self._bound_log()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _look(self) -> None:
        """Look, a few times a second, whether waiting for the worker still makes sense.

        A closed pipe is not enough: a process that the worker forked may hold it open.
        """
        self._bound_log()
        if not self.alive:
            raise WorkerCrashed("the worker has ended")
        self._stop.check()
        if self._listener is not None:
            self._listener(self._progress)

    def take_dropped_bytes(self) -> int:
        """Return what the log has lost since this was last asked, because there was too much of it.

        Looks first: a worker that writes fast enough has filled it between two looks.
        """
        self._bound_log()
        dropped, self._dropped_bytes = self._dropped_bytes, 0
        return dropped

    def _bound_log(self) -> None:
        """Drop the middle of a log that is too long. The worker appends, so that it goes on at the new end."""
        with contextlib.suppress(OSError):
            size = self.log.stat().st_size
            if size <= LOG_LIMIT_BYTES:
                return
            with self.log.open("r+b") as file:
                file.seek(size - _LOG_KEPT_BYTES)
                end = file.read(_LOG_KEPT_BYTES)
                file.truncate(_LOG_KEPT_BYTES)
            dropped = size - 2 * _LOG_KEPT_BYTES
            self._dropped_bytes += dropped
            with self.log.open("ab") as file:
                file.write(b"\n[benchfw: %d bytes were dropped here]\n" % dropped + end)

    def death(self) -> CaseError:
        """Say how the process ended; a worker that has closed its pipe ends now or is made to."""
        if self._death is None:
            self._death = self._epitaph()
            self._death.stage, self._death.log = self._stage, str(self.log)
        return self._death

    def _epitaph(self) -> CaseError:
        where = f"in {self._stage!r}" if self._stage else "while it was not asked for anything"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_TIMEOUT_S)
        code = self._process.poll()
        self.kill()
        error: CaseError
        if code is None:
            error = WorkerCrashed(f"the worker closed its pipe {where}", hint=self._last_words())
        elif code == NO_NUMPY and self._stage == "hello":
            error = MissingDependency(f"the interpreter {self._python} has no numpy", hint="install numpy there")
        elif code >= 0:
            error = WorkerCrashed(f"the worker exited with {code} {where}", hint=self._last_words())
        else:
            name = signal_name(-code)
            if -code == signal.SIGKILL and cgroups.oom_kills(groups=self._memory) > self._oom_kills:
                error = OutOfMemory(f"the kernel killed the worker for memory {where}")
            else:
                error = WorkerCrashed(f"the worker was ended by {name} {where}", hint=self._last_words())
            error.signal = name
        return error

    def _last_words(self) -> str | None:
        lines = log_tail(self.log).strip().splitlines()
        return f"last line of its log: {lines[-1].strip()[:300]}" if lines else None


def log_tail(log: Path) -> str:
    """Return the last lines of a worker's log; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_TAIL_LINES:])
