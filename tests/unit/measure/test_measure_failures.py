"""What goes wrong with a case is its own, and what it leaves behind is not used again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from benchfw.errors import BackendError, OutOfMemory
from benchfw.measure.exhausted import Exhausted
from benchfw.measure.failures import failures
from benchfw.spec.backend import BackendInfo
from benchfw.worker.protocol import Message

INFO = BackendInfo(name="x", summary="", factory="x:Y", accepts=("*",))


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


def test_an_instance_follows_a_closing_only_of_what_was_loaded(members: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed to load has taught libraries nothing: the next one takes what they keep for a process."""
    member = members.member()
    session, case, made = member.session, member.case, member.instance.made
    fails = iter([True, False, False, False])

    def ask(kind: str, timeout: float, /, **values: Any) -> Message:
        if kind == "load" and next(fails):
            raise OutOfMemory("512 MiB")
        return Message("ok", {"build_s": 0.0, "load_s": 0.0, "facts": {}, "io": {"inputs": [], "outputs": []}})

    monkeypatch.setattr(type(session), "is_open", property(lambda self: True))
    for name, value in {
        "ask": ask,
        "start_worker": lambda: None,
        "_worker": SimpleNamespace(alive=True, close=list),
    }.items():
        monkeypatch.setattr(session, name, value)
    session.session.__dict__["info"] = INFO
    with pytest.raises(OutOfMemory):
        session.instance(case, lambda: made)
    assert not session.instance(case, lambda: made).follows_closed
    session.drop(case)
    assert session.instance(case, lambda: made).follows_closed
    session.close()
    assert not session.instance(case, lambda: made).follows_closed
