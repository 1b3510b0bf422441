"""Checks cannot end each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from benchfw.doctor.findings import Check, Finding, examine, exit_code

FINE = Finding("a", "fine", "OK", "well")


def _raises() -> Iterator[Finding]:
    yield FINE
    raise RuntimeError("on purpose")


def test_a_check_that_raises_is_a_warning_that_names_it() -> None:
    checks = [
        Check("a", "broken", _raises),
        Check("b", "direct", _raises, deadline_s=None),
        Check("a", "c", lambda: [FINE]),
    ]
    text = "this check failed: RuntimeError: on purpose"
    assert list(examine(checks)) == [
        FINE,
        Finding("a", "broken", "WARN", text, "please report this line"),
        FINE,
        Finding("b", "direct", "WARN", text, "please report this line"),
        FINE,
    ]


def test_a_check_that_hangs_is_left_alone() -> None:
    released = threading.Event()

    def hang() -> list[Finding]:
        released.wait()
        return [FINE]

    late = Finding("a", "stuck", "FAIL", "it hangs")
    try:
        found = list(
            examine(
                [
                    Check("a", "slow", hang, deadline_s=0.01),
                    Check("a", "stuck", hang, deadline_s=0.01, late=late),
                    Check("a", "c", lambda: [FINE]),
                ]
            )
        )
    finally:
        released.set()
    assert [(finding.what, finding.level) for finding in found] == [("slow", "WARN"), ("stuck", "FAIL"), ("fine", "OK")]
    assert found[1] is late


def test_only_failures_count_in_the_exit_code() -> None:
    warning, failure = Finding("a", "b", "WARN", "c"), Finding("a", "b", "FAIL", "c")
    assert [exit_code([]), exit_code([FINE, warning]), exit_code([FINE, failure, warning])] == [0, 0, 3]
