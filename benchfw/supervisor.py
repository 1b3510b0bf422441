"""The parent's end of a worker: hand it its code, start it, ask it, hold it, and find out how it died."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchfw.errors import (
    BACKEND_ERRORS,
    BackendError,
    MissingDependency,
    PluginError,
    ProtocolError,
    WorkerCrashed,
    WorkerTimeout,
)
from benchfw.worker import protocol
from benchfw.worker.protocol import Channel, Message

HELLO_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 5.0
LOG_TAIL_LINES = 40
_CORE = ("__init__.py", "errors.py", "spec", "worker")
_PARENT_ONLY = ("hooks.py",)
_MAIN = "from benchfw.worker.main import main\n\nmain()\n"


def hand_over(folder: Path, factories: Iterable[str]) -> Path:
    """Copy into `folder` the code that workers need, and only that code.

    Workers may run on another interpreter, which must not see this one's site-packages with their compiled
    modules. So they get the worker-safe part of benchfw and the whole package of each plugin that they serve.

    Args:
        folder: An empty folder.
        factories: `package.module:Class` of what the workers will import.

    Raises:
        PluginError: A plugin's package is not to be found.
    """
    core = Path(__file__).parent
    for name in _CORE:
        _copy(core / name, folder / "benchfw" / name)
    for package in sorted({_package(factory) for factory in factories}):
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise PluginError(f"the package {package!r} of a plugin is not to be found")
        origin = Path(spec.origin)
        source = origin.parent if spec.submodule_search_locations else origin
        target = folder.joinpath(*package.split("."))
        _copy(source, target if source.is_dir() else target.with_suffix(".py"))
    (folder / "__main__.py").write_text(_MAIN, encoding="utf-8")
    return folder


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

    Raises:
        WorkerCrashed, WorkerTimeout, ProtocolError: It did not answer `hello`.
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
    ) -> None:
        self.log = log
        self._held = False
        environ = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        if foreign:
            for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
                environ.pop(name, None)
        environ.update(env or {})
        to_worker, from_parent = os.pipe()
        from_worker, to_parent = os.pipe()
        os.set_blocking(from_parent, False)
        self._channel = Channel(from_worker, from_parent)
        try:
            with log.open("ab") as output:
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
            raise MissingDependency(f"the interpreter {python} does not start: {error}") from error
        finally:
            os.close(to_worker)
            os.close(to_parent)
        try:
            self.hello = self.ask(
                "hello", HELLO_TIMEOUT_S, protocol=protocol.VERSION, distributions=sorted(distributions)
            ).values
        except BaseException:
            self.kill()
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
            WorkerCrashed, WorkerTimeout, ProtocolError: The worker is killed and cannot be asked again.
        """
        try:
            self._channel.send(Message(kind, values), timeout=timeout)
            answer = self._channel.receive(timeout)
        except WorkerTimeout:
            self.kill()
            raise WorkerTimeout(f"no answer to {kind!r} within {timeout:.0f} s", hint=self._last_words()) from None
        except ProtocolError:
            self.kill()
            raise
        except WorkerCrashed:
            answer = None
        if answer is None:
            raise WorkerCrashed(f"{self._epitaph()} in {kind!r}", hint=self._last_words())
        if answer.type == "error":
            error = BACKEND_ERRORS.get(answer.values.get("error", ""), BackendError)
            raise error(str(answer.values.get("message")), hint=answer.values.get("hint"))
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
        if self.alive and self._channel.write_fd >= 0:
            self.resume()
            with contextlib.suppress(Exception):
                self._channel.send(Message("exit"), timeout=1.0)
                self._process.wait(EXIT_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """Kill the worker's process group at once. Idempotent: its number may be another group's later."""
        if self._channel.write_fd < 0:
            return
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_TIMEOUT_S)
        self._channel.close()

    def tail(self) -> str:
        """Return the last lines of the log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _epitaph(self) -> str:
        """Say how the process ended; it has closed its pipe, so that it ends now or is made to."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_TIMEOUT_S)
        code = self._process.poll()
        self.kill()
        if code is None:
            return "the worker closed its pipe"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"the worker was ended by {signal.Signals(-code).name}"
        return f"the worker exited with {code}"

    def _last_words(self) -> str | None:
        lines = self.tail().strip().splitlines()
        return f"last line of its log: {lines[-1].strip()}" if lines else None


def _package(factory: str) -> str:
    """Return the package to hand over for a factory: a plugin's top level, or benchfw's own sub-package."""
    parts = factory.partition(":")[0].split(".")
    return ".".join(parts[:2]) if parts[0] == "benchfw" else parts[0]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc", *_PARENT_ONLY)
        shutil.copytree(source, target, ignore=ignore, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
