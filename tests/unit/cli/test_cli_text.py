"""What comes from files, plugins and workers cannot act on a terminal."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from benchfw.analysis.text import name_text
from benchfw.cli import backends, console, main
from benchfw.cli.progress import _Live, progress
from benchfw.cli.report import report
from benchfw.cli.text import json_printable, printable, say
from benchfw.errors import BenchfwError
from benchfw.spec.events import CaseDone, CohortStarted, Stage

HOSTILE = (
    "\x1b[31mred\x1b]8;;http://x\x1b\\link\x07\x1b[2J\x9b1;1H\x9d0;title\x9c\x00\x08\r"
    "\u202egnp.exe\u2066\u200b\u2028\x85\x7f\udcff\U000e0041[red]x[/red][link=http://x]y[/link]:smile:"
)


def is_harmless(text: str) -> bool:
    return all(part.isprintable() for part in text.split("\n")) and "[red]" in text and ":smile:" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 模型 100 µs", "plain ü 模型 100 µs"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b\u202e\U000e0041\udc80", "\\x9b\\u202e\\U000e0041\\udc80"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\xa0\u3000", "\xa0\u3000"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_what_would_act_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_lines_are_kept_where_they_are_meant_and_look_like_none_of_ours() -> None:
    assert printable("a\nerror: b\x1b\r\n", lines=True) == "a\n    error: b\\x1b\\r\n    "


def _row(**changes: Any) -> dict[str, Any]:
    names = dict.fromkeys(("scenario", "model", "device", "case_id", "name", "profile", "log"), HOSTILE)
    return names | {
        "threads": 2,
        "effort": "quick",
        "sweep": "fixed",
        "precision": HOSTILE,
        "batch": None,
        "shape": json.dumps({HOSTILE: 4}),
        "status": "OK",
        "status_reason": HOSTILE,
        "verdict": HOSTILE,
        "latency_p50_ns": 3.0,
        **changes,
    }


def test_reports(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [_row(), _row(status="SKIPPED"), _row(status="CRASH", status_reason=f"{HOSTILE}\nSKIPPED forged: x")]
    report(rows, HOSTILE, Path(HOSTILE.replace("\0", "")), as_json=False)
    out = capsys.readouterr().out
    assert is_harmless(out)
    assert "\nSKIPPED forged" not in out
    assert "\\x1b[31mred" in out and "\\u202egnp.exe" in out


def test_reports_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "300")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    report([_row(), _row(status="CRASH")], "r", Path(), as_json=False)
    out = terminal.getvalue()
    assert "\x1b[1m" in out, "rich's own styles stay"
    for part in ("\x1b[31m", "\x1b]", "\x1b[2J", "\x9b", "\u202e", "\x07"):
        assert part not in out


def test_what_others_print_through_a_console_is_harmless_too(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("x", title=HOSTILE)
    table.add_row(Text(HOSTILE))
    console.print_table(console.make_console(), table)
    console.make_console().print(HOSTILE, soft_wrap=True)
    assert is_harmless(capsys.readouterr().out)


def test_json_is_lossless_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({HOSTILE: [HOSTILE, "ü 模型"]})
    out = capsys.readouterr().out
    assert is_harmless(out) and "ü 模型" in out
    assert json.loads(out) == {HOSTILE: [HOSTILE, "ü 模型"]}
    assert json_printable('"\\n \U000e0041"') == '"\\n \\udb40\\udc41"'


def test_json_is_ascii_where_the_stream_is(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace"))
    console.print_json({"x": f"ü 模型 {HOSTILE}"})
    sys.stdout.flush()
    assert json.loads(raw.getvalue().decode("ascii")) == {"x": f"ü 模型 {HOSTILE}"}


EVENTS = (
    Stage(HOSTILE),
    CohortStarted(1, 2, HOSTILE, 1),
    CaseDone({"case_id": HOSTILE, "status": "CRASH", "status_reason": HOSTILE}),
)


def test_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with progress() as notify:
        for event in EVENTS:
            notify(event)
    assert is_harmless(capsys.readouterr().err)
    monkeypatch.setenv("COLUMNS", "400")
    with _Live() as live:
        for event in EVENTS:
            live.show(event)
    assert is_harmless(capsys.readouterr().err)


def test_listings_of_plugins(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    item = {"name": HOSTILE, "summary": HOSTILE, "plugin": HOSTILE, "versions": {HOSTILE: HOSTILE}, "ready": True}
    broken = [{"name": HOSTILE, "reason": f"{HOSTILE}\nready"}]
    nothing = dict.fromkeys(("model_sources", "steps", "executors", "samplers"), ())
    backends._show({"backends": [item], "broken": broken, "blocked": [HOSTILE], "blocks_nothing": [HOSTILE], **nothing})
    assert is_harmless(capsys.readouterr().out)


def _toml(text: str) -> str:
    """Write a string that TOML takes, with as much of it unescaped as it allows."""
    return json.dumps(text.replace("\udcff", "").replace("\x7f", ""), ensure_ascii=False)


def _main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["benchfw", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_messages_of_errors(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = HOSTILE.replace("\0", "").replace("/", "")
    (tmp_path / name).write_text(f"{_toml(HOSTILE)} = 1\n")
    for arguments in (("plan", str(tmp_path / name)), ("plan", str(tmp_path / f"none{name}")), (HOSTILE,)):
        assert _main(monkeypatch, *arguments) == 2
        assert is_harmless(capsys.readouterr().err)


def test_plans(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        f'name = "s"\n[model]\nref = {_toml("null:" + HOSTILE)}\n[[sweep]]\nkind = "fixed"\n[[backend]]\nuse = "null"\n'
    )
    assert _main(monkeypatch, "plan", str(tmp_path / "s.toml")) == 0
    out, err = capsys.readouterr()
    assert is_harmless(out + err)


def test_other_errors_of_the_system_are_messages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**options: object) -> int:
        raise PermissionError(13, "Permission denied", HOSTILE)

    monkeypatch.setattr("benchfw.cli.cli.main", fail)
    assert _main(monkeypatch) == BenchfwError.exit_code
    err = capsys.readouterr().err
    assert err.startswith("error: ") and is_harmless(err)


def test_a_message_that_nobody_can_read_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as closed:  # not for writing
        monkeypatch.setattr(sys, "stderr", closed)
        say("hello")


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({"cache": "rotate", "enqueue_p50_ns": 5.0}, "x"),
        ({"cache": "flush", "enqueue_p50_ns": 5.0, "graph": "on"}, "x graph flush"),
        ({"cache": "warm", "enqueue_p50_ns": 5.0, "sync": "blocking"}, "x blocking warm"),
        ({"cache": "warm", "enqueue_p50_ns": None, "sync": "blocking"}, "x"),  # the rule on a CPU
    ],
)
def test_a_name_tells_what_is_not_the_usual_on_a_device(labels: dict[str, Any], text: str) -> None:
    assert name_text({"name": "x", "precision": "fp32", "io_scope": "device", **labels}) == text
