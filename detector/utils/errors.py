"""Exceptions with messages for users, and helpers that write such messages in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

MAX_SHOWN = 60
"""Maximum length of a quoted value in a message, in characters."""

MAX_LINE = 300
"""Maximum length of a quoted message of another library, in characters."""


class DetectorError(Exception):
    """Error that a user can correct.

    Tools print it as one line (``file:line: message``) and exit with code 2.

    Args:
        message: what was found, what was expected, and the nearest valid name.
        file: the file that the error is about, if any.
        line: 1-based line in that file, if known.
    """

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None
    ) -> None:
        self.message = message
        self.file = None if file is None else Path(file)
        self.line = line
        super().__init__(message)

    def __str__(self) -> str:
        if self.file is None:
            return self.message
        place = " ".join(str(self.file).splitlines())  # a name may hold line breaks
        if self.line is not None:
            place += f":{self.line}"
        return f"{place}: {self.message}"


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
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def one_line(error: BaseException | str) -> str:
    r"""Shorten the message of an exception or of another library to one line.

    The line is the first one that is not blank, joined with the next one if it ends in a colon. The
    exception's class is put before a missing key or index, which would say little alone, and
    replaces an empty message. Lines longer than ``MAX_LINE`` are cut.

    >>> one_line(RuntimeError("\nout of memory\n  at kernel.cpp:3"))
    'out of memory'
    >>> one_line(KeyError("width"))
    "KeyError: 'width'"
    """
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    announces = len(lines) > 1 and lines[0].endswith(":")
    text = " ".join(lines[: 2 if announces else 1])
    if isinstance(error, LookupError) or (isinstance(error, BaseException) and not text):
        text = ": ".join(filter(None, (type(error).__name__, text)))
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 3]}..."
