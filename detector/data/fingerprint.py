"""What a run remembers of its images, so that it goes on with the same ones or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping

from detector.data.dataset import DetectionDataset
from detector.utils.errors import DetectorError

Fingerprint = dict[str, str]
"""A SHA-256 of each: class names, image files (names and sizes in bytes), labels."""


def fingerprint(dataset: DetectionDataset) -> Fingerprint:
    """Of a split, as its samples were read; the folder that it lies in has no part in it."""
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


def check_unchanged(kept: Mapping[str, str], dataset: DetectionDataset) -> None:
    """Raise DetectorError if the split is not the one whose fingerprint was kept."""
    found = fingerprint(dataset)
    changed = [name for name in found if kept.get(name) != found[name]]
    if changed:
        raise DetectorError(
            f"split {dataset.split!r} has changed since the run was started: "
            f"{' and '.join(changed)}; a run goes on with the same data, start a new one"
        )


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
