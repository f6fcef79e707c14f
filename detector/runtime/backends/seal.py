"""Seals: an exported file contains the SHA-256 of its own bytes.

The digest is computed over the file and the files that belong to it, with the 64 digits of the
digest itself replaced by zeros. It covers every byte, wherever a format stores its metadata. A seal
detects damage and careless changes. It is not a signature: anyone can change a file and reseal it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from detector.utils.errors import DetectorError
from detector.utils.files import read_limited

SEAL_KEY = "seal"
"""Key of the seal among a file's properties."""

_MARK = b"repdet-sha256:"
_ZEROS = b"0" * 64

MAX_EXPORTED_BYTES = 1 << 34
"""Maximum size of an exported file that is read: 16 GiB; ONNX itself allows 2 GiB."""

UNSEALED = (_MARK + _ZEROS).decode()
"""Placeholder that a format writes into its metadata; :func:`seal` replaces its zeros."""


def seal(path: Path, *beside: Path) -> None:
    """Write the digest into a file that contains ``UNSEALED`` exactly once.

    Args:
        path: the file.
        *beside: files that belong to it, which the digest covers too.

    Raises:
        DetectorError: the file contains it more often, for example in a class name.
    """
    content = path.read_bytes()
    if content.count(UNSEALED.encode()) != 1:
        raise DetectorError(f"a file to be sealed must hold {UNSEALED!r} once", file=path)
    start = content.index(_MARK) + len(_MARK)
    digest = _digest(content, start, (part.read_bytes() for part in beside))
    path.write_bytes(content[:start] + digest + content[start + len(digest) :])


def read_sealed(path: Path, *beside: Path, limit_bytes: int = MAX_EXPORTED_BYTES) -> list[bytes]:
    """Return the contents of a file and of those that belong to it, after verifying its seal.

    A runtime evaluates constants while it reads a file, so that it is given these bytes and no
    others.

    Args:
        path: the file.
        *beside: files that belong to it.
        limit_bytes: largest size of ``path`` that is read.

    Raises:
        DetectorError: the file has no seal, or its seal does not match its content.
    """
    content = read_limited(path, limit_bytes, "an exported file")
    others = [
        read_limited(part, MAX_EXPORTED_BYTES, "weights of an exported file") for part in beside
    ]
    start = content.rfind(_MARK) + len(_MARK)  # most formats store metadata at their end
    if start < len(_MARK):
        raise DetectorError(
            "no seal: not a file that tools/export.py wrote, or changed since; export it again",
            file=path,
        )
    if content[start : start + len(_ZEROS)] != _digest(content, start, others):
        raise DetectorError("damaged or changed: its seal does not match its content", file=path)
    return [content, *others]


def _digest(content: bytes, start: int, others: Iterable[bytes]) -> bytes:
    """Return the SHA-256 of a content, with zeros at ``start``, and of those of other files."""
    view = memoryview(content)
    found = hashlib.sha256(view[:start])
    found.update(_ZEROS)
    found.update(view[start + len(_ZEROS) :])
    for other in others:
        found.update(other)
    return found.hexdigest().encode()
