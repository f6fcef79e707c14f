"""Refuse built pages that would load anything from another host when they are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

LOADED = {
    "script": ("src",),
    "link": ("href",),
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
    "audio": ("src",),
    "iframe": ("src",),
    "object": ("data",),
    "embed": ("src",),
    "form": ("action",),
}
"""Attributes whose addresses a browser follows by itself, or to which it sends what was typed."""

NOT_LOADED = {"canonical", "license", "author"}
"""Relations of a ``link`` that no browser follows."""

ELSEWHERE = re.compile(r"\s*(?:[a-z]+:)?//", re.I)
"""Beginning of an address on another host."""

IN_STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", re.I)
"""Address that a style sheet loads."""


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.in_style = tag == "style"
        self.found += IN_STYLE.findall(values.get("style", ""))
        if tag == "link" and values.get("rel") in NOT_LOADED:
            return
        for name in LOADED.get(tag, ()):
            if ELSEWHERE.match(values.get(name, "")):
                self.found.append(values[name].strip())

    def handle_endtag(self, tag: str) -> None:
        self.in_style = self.in_style and tag != "style"

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self.found += IN_STYLE.findall(data)


def loaded_from_elsewhere(text: str, suffix: str) -> list[str]:
    """Return the addresses on other hosts that an HTML page or a style sheet loads."""
    if suffix != ".html":
        return IN_STYLE.findall(text)
    page = _Page()
    page.feed(text)
    return page.found


def faults(folder: Path) -> Iterator[str]:
    """Yield a line for each such address in the built pages."""
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".html", ".css", ".svg"):
            text = file.read_text(encoding="utf-8")
            for address in loaded_from_elsewhere(text, file.suffix):
                yield f"{file.relative_to(folder)}: loads {address}"


def _check(app: Sphinx, exception: Exception | None) -> None:
    found = [] if exception else list(faults(Path(app.outdir)))
    if found:
        raise SphinxError("\n".join(found))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the check with Sphinx, after a build."""
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True}
