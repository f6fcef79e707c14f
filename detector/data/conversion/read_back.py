"""Comparison of a written split with the samples that it was made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detector.data.conversion.targets import Target
from detector.data.dataset import find_images
from detector.data.formats.definition import load_definition
from detector.data.formats.rows import AnnotatedImage, LabelRow
from detector.data.formats.splits import DatasetDefinition
from detector.label_files.labeled_image import LabeledImage
from detector.utils.errors import DetectorError

MAX_DIFFERENCE = 1e-3
"""Largest difference of a corner after a round trip, pixels."""


def check_split(
    written: DatasetDefinition,
    split: str,
    pairs: Sequence[tuple[LabeledImage, Path]],
    target: Target,
) -> None:
    """Raise DetectorError if our readers find other images or labels than were written.

    Args:
        written: definition of the written data set.
        split: the split.
        pairs: what was written, each with its image.
        target: its layout.
    """
    read = find_images(written, split, needs_labels=False)
    images, issues = read.images, read.issues
    found = {os.path.normpath(image.path): image for image in images}
    reasons = [str(issue) for issue in issues]
    for labeled, path in pairs:
        image = found.pop(os.path.normpath(path), None)
        reason = "its image is not found" if image is None else _reason(labeled, image, target)
        if reason is not None:
            reasons.append(f"{labeled.name}: {reason}")
    reasons += [f"{path}: is another image" for path in found]
    if reasons:
        raise DetectorError(
            f"split {split!r} is not converted, since {target.writer.title} would be read as "
            f"something else: {reasons[0]}"
            + (f" (and {len(reasons) - 1} more)" if reasons[1:] else "")
        )


def check_definition(folder: Path, written: DatasetDefinition) -> None:
    """Raise DetectorError if the definition file is read as something else than was written."""
    found = load_definition(folder)
    if (found.names, found.splits) != (written.names, written.splits):
        raise DetectorError("is read as something else than was written", file=found.source)


def _reason(written: LabeledImage, image: AnnotatedImage, target: Target) -> str | None:
    """Return how the labels that are read differ from those that were written, or None."""
    labels = image.read_labels(written.size_hw)
    if labels.issues:
        return labels.issues[0].message
    rows = labels.rows
    if [row.class_id for row in rows] != written.class_ids.tolist():
        return f"{len(rows)} boxes, expected {len(written.class_ids)} of the same classes"
    boxes = np.array([row.box_xyxy for row in rows], np.float64).reshape(-1, 4)
    difference = float(np.abs(boxes - written.boxes_xyxy).max(initial=0.0))
    if difference > MAX_DIFFERENCE:
        return f"a corner differs by {difference:g} pixels"
    return _lost_mark(written, rows, target)


def _lost_mark(written: LabeledImage, rows: Sequence[LabelRow], target: Target) -> str | None:
    marks = {
        "crowd": ([row.crowd for row in rows], written.crowd.tolist()),
        "difficult": ([row.difficult for row in rows], written.difficult.tolist()),
    }
    for kind in sorted(target.writer.holds & marks.keys()):
        found, expected = marks[kind]
        if found != expected:
            return f"{kind} is {found}, expected {expected}"
    return None
