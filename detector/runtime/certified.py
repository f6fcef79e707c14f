"""The certificate file, JSON beside an exported file: measured differences and SHA-256 digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import pydantic

from detector.runtime.backends.backend import ModelMetadata
from detector.runtime.backends.certificate import Certificate, Sha256
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.backends.parts import certificate_path
from detector.runtime.backends.seal import MAX_EXPORTED_BYTES
from detector.utils.errors import DetectorError, MissingFileError
from detector.utils.files import read_limited
from detector.utils.yaml_file import Strict, explain

MAX_CERTIFICATE_BYTES = 1 << 24
"""Maximum size of a certificate file; those written here have about 2 KB and the class names."""

Suffix = Annotated[str, pydantic.Field(pattern=r"^\.[a-z0-9]{1,10}$")]


class CertificateFile(Strict):
    """Content of a certificate file.

    Attributes:
        files: SHA-256 of the exported file and of those that belong to it, by suffix.
        metadata: a copy of the metadata in the exported file, with its certificate.
    """

    earlier_names: ClassVar[Mapping[str, str]] = {"card": "metadata"}

    files: dict[Suffix, Sha256]
    metadata: ModelMetadata


def certificate_text(metadata: ModelMetadata, files: Iterable[Path]) -> str:
    """Return the JSON text of a certificate file.

    Args:
        metadata: of the exported file, with its certificate.
        files: the exported file and those that belong to it, as written.
    """
    digests = {path.suffix: _sha256(path) for path in files}
    return CertificateFile(files=digests, metadata=metadata).model_dump_json(indent=1) + "\n"


def check_certificate(backend: ExportedBackend) -> Certificate:
    """Return the certificate beside an open exported file, after comparing it with the file.

    Raises:
        DetectorError: there is no certificate, its digests are not those of the files, or it
            differs from the certificate inside the file.
    """
    path = certificate_path(backend.path)
    content = _read(path)
    if backend.path.suffix not in content.files:
        raise DetectorError(f"has no digest of a {backend.path.suffix} file", file=path)
    for suffix, digest in content.files.items():
        part = backend.path.with_suffix(suffix)
        found = _sha256(part)
        if found != digest:
            raise DetectorError(
                f"has SHA-256 {found[:12]}…, its certificate says {digest[:12]}…", file=part
            )
    certificate = content.metadata.certificate
    if certificate is None or content.metadata != backend.metadata:
        raise DetectorError("differs from the certificate inside the exported file", file=path)
    return certificate


def _read(path: Path) -> CertificateFile:
    try:
        content = read_limited(path, MAX_CERTIFICATE_BYTES, "a certificate")
        return CertificateFile.model_validate_json(content)
    except MissingFileError as error:
        raise DetectorError("no certificate: No such file or directory", file=path) from error
    except pydantic.ValidationError as error:
        issue = explain(CertificateFile, error.errors()[0])
        raise DetectorError(f"not a certificate: {issue}", file=path) from error


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_limited(path, MAX_EXPORTED_BYTES, "an exported file")).hexdigest()
