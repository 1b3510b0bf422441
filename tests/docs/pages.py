"""What a Markdown page asks its reader to type: blocks of commands, scenarios and Python, and commands within lines.

A comment before a block declares what cannot be seen in it; GitHub and the site do not show it:

    <!-- exit: 2 -->                     its last command exits with this code
    <!-- file: benchfw_x/plugin.py -->   it is that file, relative to the reader's folder
    <!-- not run: why -->                it is only parsed
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(file for file in ROOT.glob("docs/**/*.md") if "_build" not in file.parts),
    *sorted(ROOT.glob("plugins/*/README.md")),
]
SHELL = {"console", "sh", "bash", "shell"}
LANGUAGES = {*SHELL, "toml", "json", "python", "yaml", "text", ""}
PROGRAMS = {
    *("benchfw", "cat", "cd", "cp", "docker", "du", "eval", "export", "git", "ls", "make", "mkdir", "nohup", "pip"),
    *("pre-commit", "pytest", "python", "python3", "source", "sudo", "taskset", "touch", "uv"),
}
"""First words by which a line of a block that names no language is known as a command."""

_PREFIX = re.compile(r"^((?:[A-Z_]+=\S+ +)*)(?:\./)?(?:\.venv/bin/)?(?=(\S+))")
_COMMENT = re.compile(r"\s+#\s.*$")
_DECLARED = re.compile(r"<!-- (exit|file|not run): (.+?) -->")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of code.

    Attributes:
        place: Page and line.
        language: As the fence says; empty for an indented block.
        declared: What the comment before it says.
    """

    place: str
    language: str
    text: str
    declared: Mapping[str, str] = field(default_factory=dict)

    def commands(self) -> list[str]:
        """Return the commands in it, without prompts, comments and the path of the virtual environment."""
        if self.language in ("python", "toml", "json", "yaml", "text"):
            return []
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        if self.language == "console" or any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        found = []
        for line in map(str.strip, lines):
            known = _PREFIX.match(line)
            if known and not line.startswith("#") and (self.language in SHELL or known[2] in PROGRAMS):
                found.append(_COMMENT.sub("", known[1] + line[known.end() :]))
        return found


def blocks(text: str, name: str) -> Iterator[Block]:
    """Yield the blocks of a page; a language that nobody runs or parses is an error."""
    declared: dict[str, str] = {}
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type in ("fence", "code_block") and token.map:
            language = token.info.split()[0] if token.info.strip() else ""
            assert language in LANGUAGES, f"{name}:{token.map[0] + 1}: what is to be done with {language}?"
            yield Block(place=f"{name}:{token.map[0] + 1}", language=language, text=token.content, declared=declared)
        declared = dict(_DECLARED.findall(token.content)) if token.type == "html_block" else {}


def spans(text: str) -> Iterator[str]:
    """Yield what stands in backquotes within lines."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for child in token.children or []:
            if child.type == "code_inline":
                yield child.content.strip()
