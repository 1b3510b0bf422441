"""How Sphinx makes a site of the Markdown pages: `make docs-html`.

The source folder is the root of the repository, so that a link to CONTRIBUTING.md or to a scenario leads to the same
file as on GitHub. The side bar has the lists of links in index.md: a page that is missing there is an error.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

import benchfw

ROOT = Path(__file__).resolve().parent.parent

project = "benchfw"
copyright = "the benchfw authors, Apache-2.0"
release = benchfw.__version__
extensions = ["myst_parser"]

root_doc = "docs/index"
include_patterns = ["docs/**", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = ["docs/_build", *(path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "docs")]

myst_heading_anchors = 4  # links to headings are written as GitHub makes them
highlight_language = "none"  # blocks that name no language are output or shell

smartquotes = False  # `--` stays two hyphens

html_theme = "furo"
html_title = f"benchfw {release}"
html_copy_source = False
html_use_index = False  # nothing is indexed
html_show_sphinx = False


def list_pages(app: Sphinx, page: str, content: list[str]) -> None:
    """Make a toctree of each section of index.md from the links to pages in it."""
    if page != root_doc:
        return
    for section in re.split(r"^## ", content[0], flags=re.MULTILINE)[1:]:
        pages = [f"/{(Path('docs') / link).as_posix()}" for link in re.findall(r"\]\(([^)#]+)\.md\)", section)]
        pages = [re.sub(r"/docs/\.\./", "/", page) for page in pages]
        caption = section.partition("\n")[0]
        content[0] += "\n".join(["\n", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def setup(app: Sphinx) -> None:
    app.connect("source-read", list_pages)
