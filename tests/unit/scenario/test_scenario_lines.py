"""Lines of key paths in TOML documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tomllib
from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.scenario.lines import find_line, line_table

Path = tuple[str | int, ...]


def _value_at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document


def test_plain_keys_and_tables() -> None:
    lines = line_table('name = "x"\n\n[model]\n# a comment\nref = "y"\nseed = 1\n[measure]\neffort = "quick"\n')
    assert lines == {
        ("name",): 1,
        ("model",): 3,
        ("model", "ref"): 5,
        ("model", "seed"): 6,
        ("measure",): 7,
        ("measure", "effort"): 8,
    }


def test_dotted_keys_and_dotted_tables() -> None:
    lines = line_table("a.b.c = 1\na.b.d = 2\n[x.y]\nz.w = 3\n")
    assert lines["a", "b", "c"] == 1
    assert lines["a", "b", "d"] == 2
    assert lines["x", "y"] == 3
    assert lines["x", "y", "z", "w"] == 4


def test_tables_that_only_dotted_keys_name_have_the_line_of_the_first() -> None:
    """Else an unknown key such as `modle.ref = ""` or `[environmens.old]` is reported without a line."""
    lines = line_table("a.b.c = 1\na.b.d = 2\n[x.y]\nz.w = 3\n[x.v]\n")
    found = {path: find_line(lines, path) for path in [("a",), ("a", "b"), ("x",), ("x", "y", "z")]}
    assert found == {("a",): 1, ("a", "b"): 1, ("x",): 3, ("x", "y", "z"): 4}


def test_inline_tables() -> None:
    lines = line_table("first = 1\nbatch = { min = 1, inner = { opt = 2 }, list = [1, { x = 3 }] }\n")
    for path in (
        ("batch",),
        ("batch", "min"),
        ("batch", "inner", "opt"),
        ("batch", "list", 1),
        ("batch", "list", 1, "x"),
    ):
        assert lines[path] == 2


def test_arrays_over_several_lines() -> None:
    lines = line_table("sizes = [\n  1,\n  # two\n  2, 3,\n  [4,\n   5],\n]\nend = 1\n")
    assert [lines["sizes", index] for index in range(4)] == [2, 4, 4, 5]
    assert (lines["sizes", 3, 0], lines["sizes", 3, 1]) == (5, 6)
    assert lines[("end",)] == 8


def test_arrays_of_tables() -> None:
    lines = line_table('[[backend]]\nuse = "a"\n\n[[backend]]\nuse = "b"\n[backend.options]\nthreads = 1\n')
    assert lines[("backend",)] == 1
    assert lines["backend", 0] == 1
    assert lines["backend", 0, "use"] == 2
    assert lines["backend", 1] == 4
    assert lines["backend", 1, "use"] == 5
    assert lines["backend", 1, "options"] == 6
    assert lines["backend", 1, "options", "threads"] == 7
    assert ("backend", 0, "options") not in lines


def test_nested_arrays_of_tables_count_within_their_element() -> None:
    lines = line_table("[[a]]\n[[a.b]]\nx = 1\n[[a.b]]\nx = 2\n[[a]]\n[[a.b]]\nx = 3\n[a.b.c]\ny = 4\n")
    assert lines["a", 0, "b", 0, "x"] == 3
    assert lines["a", 0, "b", 1, "x"] == 5
    assert lines["a", 1, "b", 0, "x"] == 8
    assert lines["a", 1, "b", 0, "c", "y"] == 10


@pytest.mark.parametrize("key", ['"a b"', "'a b'", '"a\\u0020b"'])
def test_quoted_keys(key: str) -> None:
    lines = line_table(f"\n{key} = 1\n[t.{key}]\nx.{key} = 2\n")
    assert lines[("a b",)] == 2
    assert lines["t", "a b"] == 3
    assert lines["t", "a b", "x", "a b"] == 4


def test_a_quoted_dot_is_no_separator() -> None:
    assert line_table('x."a.b".c = 1\n')["x", "a.b", "c"] == 1


def test_non_ascii_text_and_windows_line_ends() -> None:
    lines = line_table('name = "größe ü"\r\n"schlüssel" = 1\r\n[t]\r\nx = """\r\n\r\n"""\r\ny = 1\r\n')
    assert lines[("schlüssel",)] == 2
    assert lines["t", "x"] == 4
    assert lines["t", "y"] == 7


def test_find_line_falls_back_to_the_enclosing_table() -> None:
    lines = line_table("[a]\nx = 1\n")
    assert find_line(lines, ("a", "x")) == 2
    assert find_line(lines, ("a", "missing", 3, "deep")) == 1
    assert find_line(lines, ("b",)) is None
    assert find_line(lines, ()) is None


_KEYS = st.text("ab.-_ é\"'", min_size=1, max_size=4)
_TREES = st.recursive(
    st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k, ensure_ascii=False)} = {_inline(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(map(_inline, value)) + "]" if isinstance(value, list) else str(value)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.dictionaries(_KEYS, st.dictionaries(_KEYS, _TREES, max_size=4), max_size=4))
def test_every_path_of_the_table_leads_to_a_value_of_its_line(document: dict[str, dict[str, Any]]) -> None:
    text, expected = "", dict[Path, int]()
    for table, pairs in document.items():
        text += f"[{json.dumps(table, ensure_ascii=False)}]\n"
        expected[(table,)] = text.count("\n")
        for key, value in pairs.items():
            text += f"{json.dumps(key, ensure_ascii=False)} = {_inline(value)}\n"
            expected[table, key] = text.count("\n")
    assert tomllib.loads(text) == document
    lines = line_table(text)
    assert {path: lines[path] for path in expected} == expected
    for path, line in lines.items():
        _value_at(document, path)
        assert line == expected[path[:2]]
