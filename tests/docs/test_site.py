"""The pages make a site, as `make docs-html` does it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from .pages import ROOT


def test_the_site_is_built_without_a_warning_and_stands_alone(tmp_path: Path) -> None:
    """A page that index.md does not list is a warning, and so is a link that leads nowhere."""
    options = ["-c", "docs", "-W", "--keep-going", "-n", "-q", "-b", "html"]
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "-d", tmp_path / "doctrees", ".", tmp_path / "html"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert built.returncode == 0, built.stderr
    pages = {page: page.read_text(encoding="utf-8") for page in tmp_path.glob("html/**/*.html")}
    index = pages[tmp_path / "html/docs/index.html"]
    kinds = re.findall(r'class="caption"[^>]*><span class="caption-text">([^<]+)', index)
    assert kinds == ["Tutorial", "Guides", "Plugins", "Concepts", "Reference", "Project"]
    loaded = re.compile(r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]*')
    assert not [found for text in pages.values() for found in loaded.findall(text)]
