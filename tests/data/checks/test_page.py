"""The page of a check: self-contained, with pictures of what was found."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from detector.data.checks.page import MAX_GROUPS, check_page
from detector.data.checks.run import CheckedData
from detector.report.page import Gallery, render_page


def test_the_page_of_the_planted_set(checked: CheckedData):
    page = check_page(checked)
    headings = [section.heading for section in page.sections]
    assert headings[:5] == ["Findings", "Splits", "Classes", "Sizes of objects", "Duplicates"]
    assert "1 image nearly of one color" in headings
    duplicates = page.sections[4].blocks
    assert len(duplicates) == MAX_GROUPS  # of 15
    first = duplicates[0]
    assert isinstance(first, Gallery)
    assert [picture.caption.split(":")[0] for picture in first.pictures] == ["train", "val"]


def test_no_request_leaves_the_page(checked: CheckedData):
    html = render_page(check_page(checked))
    HTMLParser().feed(html)
    assert "default-src 'none'; img-src data:" in html
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert sources
    assert all(source.startswith(("data:image/", "#section-")) for source in sources)
    assert "http:" not in html and "https:" not in html and "<script" not in html
    assert len(html) < 8_000_000
