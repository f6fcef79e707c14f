"""Pages: everything is escaped and inside the file, and the file is well formed."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from detector.report.page import (
    Bullets,
    Finding,
    Findings,
    Gallery,
    Page,
    Picture,
    Section,
    Table,
    render_page,
    write_page,
)
from detector.utils.errors import DetectorError
from detector.utils.opencv import decode_image, encode_image

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
VOID = {"meta", "img"}


class Parser(HTMLParser):
    """Collects elements and texts, and checks that each element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open[-1] != "style":
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def parse(page: Page) -> Parser:
    parser = Parser()
    parser.feed(render_page(page))
    parser.close()
    assert parser.open == []
    return parser


def picture(value: int = 90) -> np.ndarray:
    return np.full((6, 8, 3), value, np.uint8)


FULL = Page(
    "All blocks",
    [
        Section("Numbers", "A paragraph.", [Table(("name", "count"), [("a", 3), ("b", None)])]),
        Section("Pictures", "", [Picture(picture(), "grey"), Gallery([Picture(picture(9))] * 2)]),
        Section("Findings", "", [Findings([Finding("warning", "two", "do", ["x.jpg"])])]),
        Section("Lines", "", [Bullets(["first", "second"])]),
    ],
    "An opening.",
)


def test_an_empty_page():
    parser = parse(Page("Nothing", []))
    assert parser.texts == ["Nothing", "Nothing"]  # title and heading


def test_all_blocks():
    parser = parse(FULL)
    assert len(parser.all("img")) == 3
    for text in ("An opening.", "A paragraph.", "grey", "two", "do", "x.jpg", "second", "–"):
        assert text in parser.texts
    assert [link["href"] for link in parser.all("a")] == [f"#section-{n}" for n in (1, 2, 3, 4)]


def test_no_request_can_leave_the_page():
    html, parser = render_page(FULL), parse(FULL)
    policies = [m["content"] for m in parser.all("meta") if m.get("http-equiv")]
    assert policies == [POLICY]
    assert not parser.all("script") and not parser.all("link")
    assert "://" not in html and "url(" not in html and "@import" not in html
    for _, attributes in parser.elements:
        for name in ("src", "href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/"))
        assert not any(name.startswith("on") for name in attributes)


def test_values_are_escaped():
    attack = "\"><script>alert(1)</script><img src='http://x/'>&amp;"
    page = Page(
        attack,
        [
            Section(
                attack,
                attack,
                [
                    Table([attack], [[attack]]),
                    Picture(picture(), attack, attack),
                    Bullets([attack]),
                    Findings([Finding("note", attack, attack, [attack])]),
                ],
            )
        ],
        attack,
    )
    parser = parse(page)
    assert not parser.all("script")
    assert len(parser.all("img")) == 1
    # title twice, opening, heading, paragraph, column, cell, caption, bullet, finding (3)
    assert parser.texts.count(attack) == 12
    assert parser.all("img")[0]["alt"] == attack


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("é 图.jpg", "é 图.jpg"),
        ("a\udcff.jpg", r"a\udcff.jpg"),  # a file name that is not UTF-8
        ("a\0b\x1b", r"a\x00b\x1b"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),  # turns the direction of the text
    ],
)
def test_names_that_a_page_cannot_hold(text: str, expected: str, tmp_path: Path):
    page = Page("names", [Section("s", "", [Bullets([text])])])
    write_page(tmp_path / "page.html", page)
    assert f"<li>{expected}</li>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_columns_of_numbers_are_aligned_to_the_right():
    rows = [("a", 1, 0.123456, None, True), ("b", np.int64(20), float("nan"), None, False)]
    table = Table(("name", "n", "share", "none", "flag"), rows)
    assert table.alignments == ["", "number", "number", "", ""]
    parser = parse(Page("t", [Section("s", "", [table])]))
    cells = parser.texts[-10:]
    assert cells == ["a", "1", "0.1235", "–", "yes", "b", "20", "–", "–", "no"]
    assert Table(("a",), []).alignments == [""]


def test_pictures_are_embedded_as_they_are():
    png = encode_image(picture(), ".png")
    (image,) = parse(Page("p", [Section("s", "", [Picture(png, "c")])])).all("img")
    kind, data = re.fullmatch(r"data:(.*);base64,(.*)", image["src"] or "").groups()
    assert (kind, base64.b64decode(data)) == ("image/png", png)
    assert image["alt"] == "c"


def test_arrays_are_embedded_as_jpeg():
    kind, data = re.fullmatch(r"data:(.*);base64,(.*)", Picture(picture()).data_uri).groups()
    assert kind == "image/jpeg"
    assert np.abs(decode_image(base64.b64decode(data), "a").astype(int) - 90).max() <= 2


def test_other_bytes_are_refused():
    with pytest.raises(ValueError, match="a picture is a PNG, JPEG or WebP file, or an RGB array"):
        _ = Picture(b"<svg/>").data_uri


def test_a_page_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(DetectorError, match="cannot be written"):
        write_page(tmp_path / "file" / "page.html", Page("p", []))
