"""What must be refused, and how."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchfw.errors import BenchfwError


def refused(kind: type[BenchfwError], call: Callable[[], object], what: str, remedy: str) -> str:
    """Demand that a call raises an error of this kind, and return its message."""
    try:
        call()
    except kind as error:
        return error.message
    except BenchfwError as error:
        pytest.fail(f"{what} raised {type(error).__name__} ({error.message}), not {kind.__name__}: {remedy}")
    pytest.fail(f"{what} was accepted: {remedy}")
