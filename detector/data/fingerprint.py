"""Fingerprints of data sets: a resumed run refuses data that has changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping

from detector.data.dataset import DetectionDataset
from detector.utils.errors import DetectorError

Fingerprint = dict[str, str]
"""SHA-256 digests of the class names, the image files (names and sizes in bytes) and the labels."""


def fingerprint(dataset: DetectionDataset) -> Fingerprint:
    """Return the fingerprint of a split, which does not depend on the folder of the data."""
    samples = dataset.samples
    return {
        "class names": _digest(name.encode() for name in dataset.names),
        "image files": _digest(
            os.fsencode(f"{s.path.name} {s.path.stat().st_size}") for s in samples
        ),
        "labels": _digest(
            part.tobytes() for s in samples for part in (s.boxes_xyxy, s.class_ids, s.crowd)
        ),
    }


def check_unchanged(stored: Mapping[str, str], dataset: DetectionDataset) -> None:
    """Raise DetectorError if a split does not have the fingerprint that the run has stored."""
    found = fingerprint(dataset)
    changed = [name for name in found if stored.get(name) != found[name]]
    if changed:
        raise DetectorError(
            f"split {dataset.split!r} has changed since the run was started: "
            f"{' and '.join(changed)}; a run can only be resumed with the same data, "
            "start a new one"
        )


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
