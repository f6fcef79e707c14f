"""Exceptions with messages for users, and helpers that write such messages in one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

MAX_SHOWN = 60
"""Maximum length of a quoted value in a message, in characters."""

MAX_LINE = 300
"""Maximum length of a quoted message of another library, in characters."""

MAX_ERROR_LINE = 10_000
"""Maximum length of a line of an error, in characters: room for two of the longest paths."""

_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that terminals obey or that end a line, apart from the line break between issues."""

HIDDEN = "***"
"""Text that replaces user names, passwords and tokens of URLs."""

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)")
"""Pattern of a terminal's control sequence: colors, cursor movements, titles."""

_HIDEABLE = re.compile(r"([?#;=])(?!\*\*\*[:;,.)'\"]*$).+", re.DOTALL)
"""Pattern of what may hold a token, but for one that is hidden already and ends a sentence."""

_URL_START = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}(?=[^/])")
_URL = re.compile(
    r"(?<![A-Za-z0-9+.-])([0-9+.-]*)("
    + _URL_START.pattern
    + r"""(?:\S{0,4000}@)?(?:[^\s'"]|['"](?=\w))*)"""
)
"""Pattern of a URL in a text; a path made of a URL has one slash after the colon, not two.

It begins where a word does, and passwords are limited, so that a long text takes linear time.
"""


def hide_secrets(text: str) -> str:
    """Replace the secrets of all URLs in a text; see :func:`public_url`.

    >>> hide_secrets("found 'rtsp://me:secret@host/door?token=1', expected a file")
    "found 'rtsp://***@host/door?***', expected a file"
    """
    return _URL.sub(lambda match: match[1] + public_url(match[2]), text)


def public_url(url: str) -> str:
    """Return a URL without user, password, and what follows the first of ``? # ; =``.

    Which parameter holds a token is not known, so that none is shown. A password may contain any
    character, so that it is taken to end at the last ``@``.

    >>> public_url("http://10.0.0.7:80/user=admin_password=secret_channel=1")
    'http://10.0.0.7:80/user=***'
    >>> public_url("http://10.0.0.7/door?***:"), public_url("http://10.0.0.7/door?***secret:")
    ('http://10.0.0.7/door?***:', 'http://10.0.0.7/door?***')
    """
    start = _URL_START.match(url)
    if start is None:
        return url
    user, at, place = url[start.end() :].rpartition("@")
    shown_place = _HIDEABLE.sub(rf"\1{HIDDEN}", place, count=1)
    return start[0] + (HIDDEN if user else "") + at + shown_place


def is_url(text: str) -> bool:
    """Return whether a text begins as URLs do, with a scheme and slashes."""
    return _URL_START.match(text) is not None


class DetectorError(Exception):
    """Error that a user can correct.

    Tools print it as one line (``file:line: message``) and exit with code 2. Passwords and tokens
    of URLs are hidden, control characters are escaped, and very long lines lose their middle.

    Args:
        message: what was found, what was expected, and the nearest valid name.
        file: the file or URL that the error is about, if any.
        line: 1-based line in that file, if known.
    """

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None
    ) -> None:
        self.message = hide_secrets(message)
        self.file = None if file is None else Path(file)
        self.line = line
        self._place = public_url(str(file)) if is_url(str(file)) else str(self.file)
        super().__init__(self.message)

    def __str__(self) -> str:
        return "\n".join(map(_printable, self._text().split("\n")))

    def _text(self) -> str:
        if self.file is None:
            return self.message
        place = " ".join(self._place.splitlines())  # a name may hold line breaks
        if self.line is not None:
            place += f":{self.line}"
        return f"{place}: {self.message}"


def _printable(line: str) -> str:
    """Return a line without control characters, shortened in the middle if it is too long."""
    line = _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], line)
    if len(line) <= MAX_ERROR_LINE:
        return line
    half = (MAX_ERROR_LINE - len(" ... ")) // 2
    return f"{line[:half]} ... {line[-half:]}"


class MissingFileError(DetectorError):
    """Error for a file that does not exist; a caller may accept it, as for missing labels."""


class Interrupted(KeyboardInterrupt):
    """Interruption by a signal at a point from which the work can be resumed.

    Args:
        message: what was saved, and how to resume.
        signal_number: number of the signal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(message)


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Return a hint with the closest candidate to end an error message, or "" if none is close.

    >>> nearest("epoch", ["epochs", "batch"])
    "; did you mean 'epochs'?"
    >>> nearest("zzz", ["epochs", "batch"])
    ''
    """
    by_lower_case = {candidate.lower(): candidate for candidate in candidates}
    matches = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.55)
    return f"; did you mean {by_lower_case[matches[0]]!r}?" if matches else ""


def shown(value: object) -> str:
    """Return a value as quoted in an error message: in one line of limited length.

    >>> shown("é" * 100)[-9:]
    "éééééé..."
    """
    text = hide_secrets(repr(value))
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def first_names(names: Sequence[str], limit: int) -> str:
    """Return the first of some names, and the number of the others.

    >>> first_names(["a", "b", "c"], 2)
    'a, b and 1 more'
    >>> first_names(["a", "b"], 2)
    'a, b'
    """
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{', '.join(names[:limit])}{more}"


def one_line(error: BaseException | str) -> str:
    r"""Shorten the message of an exception or of another library to one line.

    The line is the first one that is not blank, joined with the next one if it ends in a colon. The
    exception's class is put before a missing key or index, which would say little alone, and
    replaces an empty message. Escape codes of terminals are left out. Lines longer than
    ``MAX_LINE`` are cut.

    >>> one_line(RuntimeError("\nout of memory\n  at kernel.cpp:3"))
    'out of memory'
    >>> one_line(KeyError("width"))
    "KeyError: 'width'"
    """
    text = hide_secrets(_ESCAPE.sub("", str(error)))
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    announces = len(lines) > 1 and lines[0].endswith(":")
    text = " ".join(lines[: 2 if announces else 1])
    if isinstance(error, LookupError) or (isinstance(error, BaseException) and not text):
        text = ": ".join(filter(None, (type(error).__name__, text)))
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 3]}..."
