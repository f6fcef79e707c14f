"""The files of an export: the file itself, those that belong to it, and its certificate."""

from __future__ import annotations

from pathlib import Path

from detector.runtime.backends.seal import check_seal
from detector.utils.errors import DetectorError
from detector.utils.files import refuse_special
from detector.utils.together import complete


def check_parts(path: Path, *beside: Path, expected: str) -> None:
    """Raise unless a file and those that belong to it exist and have a valid seal.

    An export that was killed while it moved its files into place is completed first.

    Args:
        path: the file.
        *beside: files that belong to it.
        expected: what the file should be, e.g. ``"an ONNX file"``.

    Raises:
        DetectorError: names the file.
    """
    complete(path, *beside, certificate_path(path))
    for part in (path, *beside):
        refuse_special(part, expected)
        if not part.is_file():
            raise DetectorError("no such file", file=part)
    check_seal(path, *beside)


def certificate_path(path: Path) -> Path:
    """Return the path of an exported file's certificate.

    >>> certificate_path(Path("best.onnx")).name
    'best.onnx.certificate.json'
    """
    return path.with_name(f"{path.name}.certificate.json")
