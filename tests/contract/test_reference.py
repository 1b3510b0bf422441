"""The generated pages are what the code says, and links between pages lead somewhere."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md"), *ROOT.glob("plugins/*/*.md"), *ROOT.glob("results/*.md")]
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def reference() -> Any:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools/reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date(reference: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--check"]) == 0, capsys.readouterr().err


def test_check_names_a_page_that_differs(
    reference: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "pages", lambda: {"docs/reference/a.md": "a\n", "b.json": "{}\n"})
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    (tmp_path / "b.json").write_text("[]\n", encoding="utf-8")
    assert reference.main(["--check"]) == 1
    assert capsys.readouterr().err == "b.json is out of date: run `make docs`\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = [target for target in LINK.findall(text) if not re.match(r"(https?|mailto):", target)]
    broken = [target for target in targets if not (page.parent / target.partition("#")[0]).exists()]
    assert not broken
    anchors = [target for target in targets if "#" in target]
    dead = [target for target in anchors if target.partition("#")[2] not in _anchors(page, target)]
    assert not dead


def _anchors(page: Path, target: str) -> set[str]:
    """Return the anchors of the page that a link leads to, made from its headings as GitHub makes them."""
    name = target.partition("#")[0]
    text = (page.parent / name if name else page).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
