"""The JSON file that lies beside an exported one: what was measured, and of which bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import pydantic

from detector.runtime.backends.backend import ModelMetadata
from detector.runtime.backends.certificate import Certificate, Sha256
from detector.runtime.backends.exported import ExportedBackend
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import Strict, explain

Suffix = Annotated[str, pydantic.Field(pattern=r"^\.[a-z0-9]{1,10}$")]


class CertificateFile(Strict):
    """Its content.

    Attributes:
        files: SHA-256 of the exported file and of those that belong to it, by suffix.
        metadata: as it stands in the file too.
    """

    earlier_names: ClassVar[Mapping[str, str]] = {"card": "metadata"}

    files: dict[Suffix, Sha256]
    metadata: ModelMetadata


def certificate_path(path: Path) -> Path:
    """Where a file's certificate lies.

    >>> certificate_path(Path("best.onnx")).name
    'best.onnx.certificate.json'
    """
    return path.with_name(f"{path.name}.certificate.json")


def certificate_text(card: ModelMetadata, files: Iterable[Path]) -> str:
    """The content for a card and the files as they are written."""
    digests = {path.suffix: _sha256(path) for path in files}
    return CertificateFile(files=digests, metadata=card).model_dump_json(indent=1) + "\n"


def check_certificate(backend: ExportedBackend) -> Certificate:
    """Compare an open file with the certificate beside it, which says what was measured.

    Raises:
        DetectorError: there is none, it is of other bytes, or it is not what the file itself says.
    """
    path = certificate_path(backend.path)
    content = _read(path)
    if backend.path.suffix not in content.files:
        raise DetectorError(f"is not about a {backend.path.suffix} file", file=path)
    for suffix, digest in content.files.items():
        part = backend.path.with_suffix(suffix)
        found = _sha256(part)
        if found != digest:
            raise DetectorError(
                f"has SHA-256 {found[:12]}…, its certificate says {digest[:12]}…", file=part
            )
    certificate = content.metadata.certificate
    if certificate is None or content.metadata != backend.metadata:
        raise DetectorError("does not say what the certificate in the file says", file=path)
    return certificate


def _read(path: Path) -> CertificateFile:
    try:
        return CertificateFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DetectorError(f"no certificate: {error.strerror}", file=path) from error
    except pydantic.ValidationError as error:
        problem = explain(CertificateFile, error.errors()[0])
        raise DetectorError(f"not a certificate: {problem}", file=path) from error


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DetectorError(f"cannot be read: {error.strerror}", file=path) from error
