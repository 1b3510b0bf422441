"""Verdicts as Markdown and JUnit XML: what stands there, and that strings of strangers do nothing there."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import hypothesis.strategies as st
import pandas as pd
from hypothesis import given, settings
from markdown_it import MarkdownIt

import benchfw
from benchfw.analysis.verdicts import headline, junit, markdown
from tests.unit.analysis.synthetic import Synthetic

GOLDEN = Path(__file__).parents[2] / "golden/gate.md"


def verdicts() -> pd.DataFrame:
    """One of each kind, in a family of five."""
    runs = []
    for seed, slower, better, missing in ((1, 1.0, 1.0, False), (2, 1.25, 0.8, True)):
        made = Synthetic(seed)
        made.case("same", 1.0)
        made.case("slower", 20.0 * slower, batch=8, precision="fp16")
        made.case("faster", 0.5 * better, profile="static")
        made.case("near", 1.0 * (1.03 if missing else 1.0))
        if missing:
            made.fail("gone", "CRASH")
        else:
            made.case("gone", 1.0)
        made.fail("absent", "SKIPPED")
        if missing:
            made.tables["cases"][0] |= {"verdict": "NOT_CONVERGED", "verdict_reason": "median: 1.2 % wide"}
            made.tables["cases"][0]["backend_version"] = "1.3"
        runs.append(made.frames("base" if seed == 1 else "head"))
    return benchfw.gate(runs[1], runs[0], fail_on={"p50": 0.03}, min_delta_ns=20_000)


def test_markdown_is_as_it_was() -> None:
    assert markdown(verdicts()) == GOLDEN.read_text(encoding="utf-8")


def test_a_sentence_says_what_matters_most() -> None:
    frame = verdicts()
    assert headline(frame) == (
        "slower: 1 REGRESSION, 1 INCONCLUSIVE, 1 NOT_COMPARABLE, 1 IMPROVED, 1 PASS of 5: 5 cases, p50"
    )
    assert headline(frame[frame["verdict"] == "PASS"]) == "not slower: 1 PASS of 1: 1 case, p50"
    assert headline(frame[frame["verdict"] == "INCONCLUSIVE"]).startswith("undecided: ")


def test_junit_has_one_test_per_case_and_metric() -> None:
    suite = ET.fromstring(junit(verdicts()))[0]
    assert suite.attrib == {"name": "benchfw gate", "tests": "6", "failures": "1", "errors": "1", "skipped": "2"}
    found = {case.get("classname", "").split("/")[1]: case for case in suite}
    assert {name: case[0].tag for name, case in found.items()} == {
        "slower": "failure",
        "gone": "error",
        "near": "skipped",
        "absent": "skipped",
        "same": "system-out",
        "faster": "system-out",
    }
    assert found["slower"][0].get("type") == "REGRESSION"
    assert {case.get("name") for case in suite} == {"p50"}


FRAME = verdicts()
HOSTILE = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["</testcase>]]>\x1b[31m", "| x | <img src=x> |", "[a](http://b.example)", "@everyone `x`", "\uffff\0\r\n# h"]
)


@settings(deadline=None)
@given(HOSTILE)
def test_strings_of_strangers_do_nothing(text: str) -> None:
    frame = FRAME.assign(name=text, reason=text, differs=text, case_id=text, run_id=text, profile=text)
    suites = ET.fromstring(junit(frame, text))
    assert len(suites[0]) == 6
    shown = markdown(frame, text)
    assert "\x1b" not in shown
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(shown)
    assert len([token for token in tokens if token.type == "tr_open"]) == 6
    assert len([token for token in tokens if token.type == "td_open"]) == 5 * 10
    inline = [child for token in tokens for child in token.children or ()]
    assert not {child.type for child in inline} & {"link_open", "image", "code_inline", "em_open", "s_open"}
    assert all(re.fullmatch("<!-- -->", child.content) for child in inline if child.type == "html_inline")
    blocks = [token.content for token in tokens if token.type == "html_block"]
    assert blocks == ["<details><summary>Why</summary>\n", "</details>\n"]
