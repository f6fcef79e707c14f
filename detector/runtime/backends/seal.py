"""A seal: an exported file carries the SHA-256 of its own bytes.

The digest is that of the file, and of the files that belong to it, in which the 64 digits of the
digest itself are zeros. So every byte is covered, wherever a format puts its metadata. A seal shows
damage and careless changes; it is no signature, since whoever changes a file may seal it again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from detector.utils.errors import DetectorError

SEAL_KEY = "seal"
"""Under this key metadata hold the seal."""

_MARK = b"repdet-sha256:"
_ZEROS = b"0" * 64

UNSEALED = (_MARK + _ZEROS).decode()
"""What a format writes into its metadata, for :func:`seal` to fill."""


def seal(path: Path, *beside: Path) -> None:
    """Put the digest into a file that holds ``UNSEALED``, once.

    Raises:
        DetectorError: it holds it more often, as part of a class name for example.
    """
    content = path.read_bytes()
    if content.count(UNSEALED.encode()) != 1:
        raise DetectorError(f"a file to be sealed must hold {UNSEALED!r} once", file=path)
    start = content.index(_MARK) + len(_MARK)
    digest = _digest(content, start, beside)
    path.write_bytes(content[:start] + digest + content[start + len(digest) :])


def check_seal(path: Path, *beside: Path) -> None:
    """Check a file before anything else reads it: runtimes compute parts of a network at once.

    Raises:
        DetectorError: it has no seal, or one that does not fit its content.
    """
    content = path.read_bytes()
    start = content.rfind(_MARK) + len(_MARK)  # metadata stand at the end of most formats
    if start < len(_MARK):
        raise DetectorError(
            "no seal: not a file that tools/export.py wrote, or changed since; export it again",
            file=path,
        )
    if content[start : start + len(_ZEROS)] != _digest(content, start, beside):
        raise DetectorError("damaged or changed: its seal does not fit its content", file=path)


def _digest(content: bytes, start: int, beside: tuple[Path, ...]) -> bytes:
    """Of the content with zeros from ``start`` on, and of the files beside it."""
    view = memoryview(content)
    found = hashlib.sha256(view[:start])
    found.update(_ZEROS)
    found.update(view[start + len(_ZEROS) :])
    for path in beside:
        found.update(path.read_bytes())
    return found.hexdigest().encode()
