"""What is said of folders and of the terminal."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from benchfw.doctor import storage
from benchfw.doctor.findings import Finding, examine
from benchfw.doctor.storage import Folder, Terminal

GIB = 1 << 30


def look(folder: Folder, free: int = 100 * GIB) -> Finding:
    (found,) = examine(storage.checks([folder], free=lambda path: free))
    return found


@pytest.mark.parametrize(
    ("free", "level"),
    [(5 * GIB, "OK"), (5 * GIB - 1, "WARN"), (500 << 20, "WARN"), ((500 << 20) - 1, "FAIL"), (0, "FAIL")],
)
def test_free_space(free: int, level: str, tmp_path: Path) -> None:
    found = look(Folder("results", tmp_path, "choose another"), free)
    assert found.level == level
    assert ("choose another" in found.remedy) == (level != "OK")
    assert look(Folder("locks", tmp_path, "choose another", needed=False), free).level == "OK"


def test_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_bytes(bytes(3_000_000))
    (tmp_path / "dangling").symlink_to("nowhere")
    assert look(Folder("cache", tmp_path, "", sized=True)).text == f"{tmp_path}, 100.0 GiB free, 2.9 MiB in it"


def test_a_folder_that_is_made_when_it_is_needed(tmp_path: Path) -> None:
    found = look(Folder("results", tmp_path / "a/b", ""))
    assert (found.level, found.text) == ("OK", f"{tmp_path / 'a/b'}, 100.0 GiB free, made when it is needed")
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/below", Path("/proc/nothing"), None):
        found = look(Folder("results", path, "choose another"))
        assert (found.level, found.remedy) == ("FAIL", "choose another"), path
        assert look(Folder("locks", path, "choose another", needed=False)).level == "WARN"


def test_a_notice_is_a_warning(tmp_path: Path) -> None:
    found = look(Folder("cache", tmp_path, "BENCHFW_CACHE", notice="it goes with this process"))
    assert (found.level, found.text, found.remedy) == ("WARN", "it goes with this process", "BENCHFW_CACHE")


def test_no_folder_for_temporary_files() -> None:
    def find() -> str:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    assert storage.temporary(find) is None
    assert storage.temporary(lambda: "/somewhere") == Path("/somewhere")


@pytest.mark.parametrize(
    ("terminal", "levels", "text"),
    [
        (Terminal(width=120, colour="truecolor", encoding="utf-8"), ["OK", "OK"], "120 columns, colours: truecolor"),
        (Terminal(width=110, colour=None, encoding="UTF8"), ["OK", "OK"], "110 columns, no colours"),
        (Terminal(width=80, colour="256", encoding="utf_8"), ["WARN", "OK"], "tables of results are cut"),
        (Terminal(width=None, colour=None, encoding="ascii"), ["OK", "WARN"], "not a terminal"),
    ],
)
def test_terminals(terminal: Terminal, levels: list[str], text: str) -> None:
    found = list(examine([storage.terminal_check(terminal)]))
    assert [finding.level for finding in found] == levels
    assert text in found[0].text
    assert all(bool(finding.remedy) == (finding.level != "OK") for finding in found)
