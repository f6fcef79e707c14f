"""Text in XML: escaping, and the characters that XML 1.0 cannot hold even as references."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape, quoteattr

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_REFERENCES = {"\r": "&#13;"}
"""Characters that a parser would change unless they are references."""


def xml_issue(text: str) -> str | None:
    """Return which character of a text XML cannot hold, or None.

    >>> xml_issue("a" + chr(0xFFFE)), xml_issue("<&>")
    ('has the character U+FFFE', None)
    """
    found = _FORBIDDEN.search(text)
    return None if found is None else f"has the character U+{ord(found[0]):04X}"


def xml_text(text: str) -> str:
    """Return a text as the content of an element.

    >>> xml_text("<b> & c")
    '&lt;b&gt; &amp; c'
    """
    return escape(text, _REFERENCES)


def xml_attribute(text: str) -> str:
    """Return a text as the value of an attribute, in quotes.

    >>> print(xml_attribute("<a>"))
    "&lt;a&gt;"
    """
    return quoteattr(text)
