"""What goes wrong with a case is its own, and what it leaves behind is not used again."""

from __future__ import annotations

from typing import Any

import pytest

from benchfw.errors import BackendError, OutOfMemory
from benchfw.measure.exhausted import Exhausted
from benchfw.measure.failures import failures


@pytest.mark.parametrize(
    ("error", "dropped"), [(OutOfMemory("512 MiB"), True), (MemoryError(), True), (BackendError("broken"), False)]
)
def test_what_ran_out_of_memory_is_loaded_anew(
    error: Exception, dropped: bool, members: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = members.member()
    session, instance = member.session, member.instance
    monkeypatch.setattr(type(session), "is_open", property(lambda self: True))
    monkeypatch.setattr(session, "_load", lambda case, made, key: instance)
    session.instance(member.case, lambda: instance.made)
    with failures(member, Exhausted()):
        raise error
    assert session.asked == ([("close", {"instance": instance.key})] if dropped else [])
    loaded: list[object] = []
    monkeypatch.setattr(session, "_load", lambda case, made, key: loaded.append(made) or instance)
    session.instance(member.case, lambda: instance.made)
    assert len(loaded) == dropped
