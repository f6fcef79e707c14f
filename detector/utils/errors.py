"""The one exception that people see, and the nearest valid name for a misspelt one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

MAX_SHOWN = 60
"""Longest quotation of a value in a message."""

MAX_LINE = 300
"""Longest quotation of another library's message."""


class DetectorError(Exception):
    """A failure that the person at the keyboard can mend.

    Tools print it as one line (``file:line: message``) and exit with code 2.

    Args:
        message: what was found, what was expected, and the nearest valid name.
        file: the file it is about, where there is one.
        line: 1-based line in that file, where there is one.
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
    """There is no such file, which may be as well: an image without labels, say."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the work at a point from where it can go on.

    Args:
        message: what was kept, and how to go on.
        signal_number: of the signal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(message)


def nearest(name: str, candidates: Iterable[str]) -> str:
    """Suggest the closest candidate.

    >>> nearest("epoch", ["epochs", "batch"])
    "; did you mean 'epochs'?"
    >>> nearest("zzz", ["epochs", "batch"])
    ''
    """
    by_lower_case = {candidate.lower(): candidate for candidate in candidates}
    matches = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.55)
    return f"; did you mean {by_lower_case[matches[0]]!r}?" if matches else ""


def shown(value: object) -> str:
    """A value as an error message quotes it: on one line, and not too long.

    >>> shown("é" * 100)[-9:]
    "éééééé..."
    """
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def one_line(error: BaseException | str) -> str:
    r"""Return what an exception or a text of another library says, as one line.

    This is its first line that is not blank, and the second one too where the first only announces
    it by a colon. The kind of an exception stands before a missing key or index, which says little
    alone, and in place of an empty message. Lines longer than ``MAX_LINE`` are cut.

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
