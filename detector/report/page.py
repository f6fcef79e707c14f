"""Self-contained HTML pages: sections of text, tables, pictures, lists and findings.

A page is one file. Its pictures are embedded, it has no script, and its security policy forbids
browsers to load anything else.
"""

from __future__ import annotations

import base64
import math
import numbers
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from detector.utils.files import write_text
from detector.utils.opencv import Image, encode_image

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "page.html"

JPEG = ".jpg"
"""Suffix of the format that arrays are embedded in; a PNG of a photograph is ten times as large."""

MEDIA_TYPES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
}
"""Types of embedded files by their first bytes."""

NOTHING = "–"
"""Text of a cell without a value."""

Cell = str | int | float | bool | None
Severity = Literal["error", "warning", "note"]

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Characters that HTML cannot hold, and those that turn the direction of the text after them."""


@dataclass(frozen=True)
class Table:
    """Rows of values; columns of numbers are aligned to the right.

    Attributes:
        columns: headings.
        rows: one value for each column; None is shown as a dash, a float with four digits.
    """

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @property
    def alignments(self) -> list[str]:
        """Return the CSS class of each column."""
        columns = [[row[n] for row in self.rows] for n in range(len(self.columns))]
        return ["number" if _are_numbers(cells) else "" for cells in columns]


@dataclass(frozen=True)
class Picture:
    """An image with a caption.

    Attributes:
        image: (h, w, 3) uint8 RGB, or the bytes of a PNG, JPEG or WebP file.
        caption: text below it.
        alt: description for those who cannot see it.
    """

    kind: ClassVar[str] = "picture"
    image: Image | bytes
    caption: str = ""
    alt: str = ""

    @property
    def data_uri(self) -> str:
        """Return the image as the text of a data URI.

        Raises:
            ValueError: the bytes are of another format.
        """
        image = self.image
        data = image if isinstance(image, bytes) else encode_image(image, JPEG)
        media = next((name for start, name in MEDIA_TYPES.items() if data.startswith(start)), None)
        if media is None:
            raise ValueError("a picture is a PNG, JPEG or WebP file, or an RGB array")
        return f"data:{media};base64,{base64.b64encode(data).decode('ascii')}"


@dataclass(frozen=True)
class Gallery:
    """Pictures side by side, as many in a row as the screen is wide."""

    kind: ClassVar[str] = "gallery"
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Bullets:
    """A list of lines."""

    kind: ClassVar[str] = "bullets"
    lines: Sequence[str]


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know.

    Attributes:
        severity: its colour and its word.
        title: what was found, in one line.
        advice: what to do.
        details: lines that are shown when the finding is opened, such as names of files.
    """

    severity: Severity
    title: str
    advice: str = ""
    details: Sequence[str] = ()


@dataclass(frozen=True)
class Findings:
    """Findings below each other, each of which opens to its details."""

    kind: ClassVar[str] = "findings"
    findings: Sequence[Finding]


Block = Table | Picture | Gallery | Bullets | Findings


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph, and blocks below it."""

    heading: str
    text: str = ""
    blocks: Sequence[Block] = ()


@dataclass(frozen=True)
class Page:
    """A page: a title, an opening paragraph, and sections."""

    title: str
    sections: Sequence[Section]
    text: str = ""


def render_page(page: Page) -> str:
    """Return the HTML of a page."""
    return _template().render(page=page)


def write_page(path: str | Path, page: Page) -> None:
    """Write a page as one UTF-8 file, atomically.

    Raises:
        DetectorError: it cannot be written; what was there stays.
    """
    write_text(path, render_page(page))


@cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell_text
    return environment.get_template(TEMPLATE)


def _printable(value: Any) -> Any:
    """Replace characters that a page cannot hold by their escapes, as Python writes them."""
    if type(value) is not str:
        return value
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], value)


def _are_numbers(cells: Sequence[Cell]) -> bool:
    values = [cell for cell in cells if cell is not None]
    is_number = (isinstance(v, numbers.Number) and not isinstance(v, bool) for v in values)
    return bool(values) and all(is_number)


def _cell_text(value: Cell) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return NOTHING if math.isnan(value) else f"{value:{'.4f' if abs(value) < 10 else '.4g'}}"
    return str(value)
