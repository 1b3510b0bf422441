"""Sizes of folders, as commands and the doctor tell them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchfw.store.files import bytes_below, size_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3 << 20, "3.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (3 << 50, "3072.0 TiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size_text(count) == text


def test_what_is_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/one").write_bytes(bytes(100))
    (tmp_path / "a/b/two").write_bytes(bytes(20))
    (tmp_path / "link").symlink_to("a/one")
    assert bytes_below(tmp_path) == 120 + len("a/one"), "a link counts what itself takes"
    assert bytes_below(tmp_path / "none") == 0
