"""Readers of the pages: their code blocks, tables and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
README = ROOT / "README.md"
OTHERS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "examples/README.md")
TEXTS = [*PAGES, *(ROOT / name for name in OTHERS)]
"""All Markdown of the project."""

FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)
CODE = re.compile(r"`([^`]+)`")
CONTINUED = re.compile(r"\\\n\s*")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        file: the page.
        line: 1-based line of its first line of code.
        language: word behind the fence.
        text: the code.
    """

    file: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def blocks(file: Path, language: str) -> list[Block]:
    """Return a page's blocks of one language."""
    text = file.read_text(encoding="utf-8")
    return [
        Block(file, text.count("\n", 0, found.start(2)) + 1, found[1], found[2])
        for found in FENCE.finditer(text)
        if found[1] == language
    ]


def blocks_of(language: str, files: list[Path] = TEXTS) -> list[Block]:
    """Return the blocks of one language of all pages."""
    return [block for file in files for block in blocks(file, language)]


def commands(shell: str) -> list[str]:
    """Return the commands of a shell block, without comments, each on one line."""
    lines = CONTINUED.sub(" ", shell).splitlines()
    bare = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    return [command.strip() for line in bare if line for command in line.split("&&")]


def without_blocks(file: Path) -> str:
    """Return a page's text without its blocks of code."""
    return FENCE.sub("", file.read_text(encoding="utf-8"))


def table_rows(file: Path) -> list[list[str]]:
    """Return the cells of all rows of tables; heads and rules included."""
    lines = [line for line in without_blocks(file).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def codes(text: str) -> list[str]:
    """Return the pieces of code in a line of text."""
    return CODE.findall(text)
