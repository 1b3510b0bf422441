"""docs/concepts/accuracy.md tells the tolerances that hold, and what they were held against."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchfw.spec.accuracy import TOLERANCES, Tolerance

PAGE = (Path(__file__).resolve().parents[2] / "docs/concepts/accuracy.md").read_text(encoding="utf-8")


def rows(heading: str) -> Iterator[list[str]]:
    """Yield the cells of the first table of a section, without its head."""
    section = re.split(r"\n#+ ", PAGE.partition(f"# {heading}\n")[2])[0]
    table = re.search(r"(^\|.*\n)+", section, re.MULTILINE)
    assert table
    lines = table[0].splitlines()
    assert len(lines) > 2
    yield from ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])


def number(cell: str) -> float:
    cell = cell.strip("*")
    return 1.0 if cell == "all" else float(cell.removesuffix("%")) / (100 if cell.endswith("%") else 1)


def test_the_thresholds_are_those_that_hold() -> None:
    told = {}
    for names, fail, warn, rtol, atol, share, cosine in rows("Thresholds"):
        for name in names.split(", "):
            told[name] = Tolerance(
                rel_l2=number(fail),
                rel_l2_warn=number(warn),
                rtol=number(rtol),
                atol=number(atol),
                outside_share=number(share),
                cosine=number(cosine) if cosine else -1.0,
            )
    assert told == TOLERANCES


def test_what_the_calibration_asks_for_is_allowed_or_marked() -> None:
    """A figure above its limit is bold, and no other."""
    for _, _, precision, _, l2, fail, share, most, *_ in rows("Calibration"):
        limits = TOLERANCES[precision]
        assert number(fail) == limits.rel_l2
        assert (number(l2) > limits.rel_l2) == l2.startswith("**")
        if most != "-":
            assert number(most) == pytest.approx(limits.outside_share)
            assert (number(share) > limits.outside_share) == share.startswith("**")
