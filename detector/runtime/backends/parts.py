"""The files of an export: the file itself, those that belong to it, and its certificate."""

from __future__ import annotations

from pathlib import Path

from detector.runtime.backends.seal import MAX_EXPORTED_BYTES, read_sealed
from detector.utils.errors import DetectorError
from detector.utils.files import refuse_special
from detector.utils.together import complete


def read_parts(
    path: Path, *beside: Path, expected: str, limit_bytes: int = MAX_EXPORTED_BYTES
) -> list[bytes]:
    """Return the contents of a file and of those that belong to it, whose seal is valid.

    An export that was killed while it moved its files into place is completed first.

    Args:
        path: the file.
        *beside: files that belong to it.
        expected: what the file should be, e.g. ``"an ONNX file"``.
        limit_bytes: largest size of ``path`` that is read.

    Raises:
        DetectorError: one of them is missing or too large, or the seal is not valid.
    """
    complete(path, *beside, certificate_path(path))
    for part in (path, *beside):
        refuse_special(part, expected)
        if not part.is_file():
            raise DetectorError("no such file", file=part)
    return read_sealed(path, *beside, limit_bytes=limit_bytes)


def certificate_path(path: Path) -> Path:
    """Return the path of an exported file's certificate.

    >>> certificate_path(Path("best.onnx")).name
    'best.onnx.certificate.json'
    """
    return path.with_name(f"{path.name}.certificate.json")
