"""What the README says of backends is what the plugins register, and what the page of verified backends lists."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import date
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchfw.artifacts.routes import ANY
from benchfw.plugins import discover
from benchfw.requirements import alternatives
from benchfw.spec.backend import BackendInfo

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "nowhere yet"


def rows(page: str, head: str) -> list[list[str]]:
    """Return the cells of a table, by the beginning of its first line."""
    text = (ROOT / page).read_text(encoding="utf-8")
    table = text[text.index(head) :].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("| ").split(" |")] for line in table.splitlines()[2:]]


@pytest.fixture(scope="module")
def registered() -> dict[str, BackendInfo]:
    return {name: info for name, info in discover().backends.items() if ANY not in info.accepts}


@pytest.fixture(scope="module")
def listed() -> dict[str, list[str]]:
    found = rows("README.md", "| backend | is | needs |")
    assert len({row[0] for row in found}) == len(found)
    return {row[0].strip("`"): [cell.strip() for cell in row[1:]] for row in found}


def test_every_backend_stands_in_the_readme_and_nothing_else(
    registered: dict[str, BackendInfo], listed: dict[str, list[str]]
) -> None:
    assert listed.keys() == registered.keys()


def test_what_a_backend_needs_is_what_it_registers(
    registered: dict[str, BackendInfo], listed: dict[str, list[str]]
) -> None:
    for name, info in registered.items():
        words = re.split(r"[ ,:]+", listed[name][1])
        for text in info.requires:
            assert {Requirement(choice).name for choice in alternatives(text)} <= set(words), (name, text)
        assert ("cuda-bindings" in words) >= ("cuda" in info.capabilities.devices), name
        assert ("GPU" in words) == ("cpu" not in info.capabilities.devices), name


def test_where_a_backend_has_run_is_what_the_page_of_verified_backends_says(
    registered: dict[str, BackendInfo], listed: dict[str, list[str]]
) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for backend, place, _, ran in rows("docs/reference/verified.md", "| backend | on | versions |"):
        places[backend.strip("`")] += [place] if "never" not in ran else []
    assert registered.keys() <= places.keys(), "a line for each, if only to say that it has never run"
    for name in registered:
        told = re.sub(r" \([^)]*\)", "", listed[name][-1])
        assert told == (", ".join(places[name]) or NOWHERE), name


def test_tests_that_run_on_demand_say_when_they_last_ran() -> None:
    """CI skips them: without a date nobody knows whether they still pass."""
    asked_for = {"BENCHFW_WHEELS": 'environ.get("BENCHFW_WHEELS"', "BENCHFW_SLOW": "mark.slow"}
    there = {
        (path.relative_to(ROOT).as_posix(), variable)
        for path in (ROOT / "tests").rglob("test_*.py")
        for variable, words in asked_for.items()
        if words in path.read_text(encoding="utf-8") and path != Path(__file__)
    }
    listed = rows("docs/reference/verified.md", "| test | asked for by |")
    assert {(row[0].strip("`"), row[1].strip("`")) for row in listed} == there
    for _, _, day, _, result in listed:
        assert date.fromisoformat(day) and re.fullmatch(r"\d+ passed", result)
