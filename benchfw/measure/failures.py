"""What goes wrong with one case becomes the status of its row, and nothing more."""

from __future__ import annotations

import contextlib
import errno
import traceback
from collections.abc import Iterator

from benchfw.errors import (
    BackendError,
    BenchfwError,
    CaseError,
    DeviceLost,
    Invalid,
    OutOfMemory,
    ProtocolError,
    ResultError,
    ScenarioError,
)
from benchfw.measure.exhausted import Exhausted
from benchfw.measure.gates import GateFailed
from benchfw.measure.member import Member


@contextlib.contextmanager
def failures(member: Member, exhausted: Exhausted) -> Iterator[None]:
    """Turn what a backend or worker raises into the status of the member's row.

    Args:
        member: The case.
        exhausted: Is told of a case that ran out of memory.

    Raises:
        BenchfwError: It concerns the run, not the case.
    """
    try:
        yield
    except CaseError as error:
        member.fail(error)
        if isinstance(error, GateFailed):
            member.warn(error.code, error.value, error.threshold, error.message)
        if isinstance(error, ProtocolError | DeviceLost):  # what else it says is worth no more
            member.session.close()
    except ScenarioError as error:  # samples that fit other shapes, but not this one
        member.fail(Invalid(error.message))
    except BenchfwError:
        raise
    except MemoryError as error:
        member.fail(OutOfMemory(f"out of memory in the parent: {error}"))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # every later case would fail alike
            raise ResultError(
                f"inputs cannot be written: {error}", hint="free space in the temporary folder, or set TMPDIR"
            ) from error
        kind = OutOfMemory if error.errno == errno.ENOMEM else BackendError
        member.fail(kind(f"{type(error).__name__}: {error}"))
    except Exception as error:  # a fault of ours shall cost a case of a long run, not the run
        text = f"benchfw itself failed, please report it: {type(error).__name__}: {error}"
        member.fail(CaseError(text), log_tail=traceback.format_exc())
    if member.failure is not None and member.failure.status == OutOfMemory.status:
        exhausted.note(member.case)
        member.session.drop(member.case)


@contextlib.contextmanager
def told_later(but: str = "") -> Iterator[None]:
    """Pass over what goes wrong with one case: it will go wrong again, and be told, when the case is loaded.

    Raises:
        CaseError: Its status is `but`.
    """
    try:
        yield
    except CaseError as error:
        if error.status == but:
            raise
    except BenchfwError:
        raise
    except Exception:
        pass
