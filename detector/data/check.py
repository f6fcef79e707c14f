"""The check before the first epoch: every image is decoded and every label row validated.

Issues that cannot be repaired are fatal, and all of them are reported together. The rest is
repaired and counted: boxes of zero size, boxes outside the image and duplicates are dropped; boxes
that extend beyond the border are clipped.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from detector.data.formats.issues import Issue
from detector.data.formats.rows import AnnotatedImage, LabelRow, Labels, SizeHW
from detector.data.known_sizes import KnownSizes, file_state
from detector.structures.samples import Sample
from detector.utils import system
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image

OVERHANG_PIXELS = 0.5
"""Largest overhang that is clipped without being counted: rounded fractions cause as much."""

MAX_THREADS = 16
QUIET_SECONDS = 2.0
"""Delay before the progress bar appears, seconds."""

MIN_KNOWN = 1000
"""Number of images from which it pays to remember which were decoded: fewer take seconds."""

EMPTY = "boxes of zero size dropped"
OUTSIDE = "boxes outside their image dropped"
DUPLICATE = "duplicate boxes dropped"
CLIPPED = "boxes clipped to their image"
DROPPED = (EMPTY, OUTSIDE, DUPLICATE)
"""Reasons for leaving a box out of training, as the report counts them."""

Box = tuple[float, float, float, float]
ResultT = TypeVar("ResultT")


@dataclass
class CheckResult:
    """Samples that can be trained on, fatal issues, and how often each repair was made."""

    samples: list[Sample] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, other: CheckResult) -> None:
        """Append the results for another image."""
        self.samples += other.samples
        self.issues += other.issues
        self.counts += other.counts


def check_images(
    images: Sequence[AnnotatedImage], title: str = "images", known: KnownSizes | None = None
) -> CheckResult:
    """Check images and their labels in threads; results are in the order of the images.

    An unusable image gives no sample; an unusable label row is left out of its sample.

    Args:
        images: images as a label reader returns them.
        title: name of the images in the progress bar.
        known: images that need not be decoded again, where there are many; None decodes all.
    """
    if len(images) < MIN_KNOWN:
        known = None
    result = CheckResult()
    for checked in in_threads(partial(check_image, known=known), images, title):
        result.add(checked)
    if known is not None:
        known.save()
    return result


def in_threads(
    function: Callable[[AnnotatedImage], ResultT], images: Sequence[AnnotatedImage], title: str
) -> Iterator[ResultT]:
    """Yield the results of a function for all images, in their order, with a progress bar."""
    threads = min(MAX_THREADS, system.available_cores())
    with ThreadPoolExecutor(threads) as pool:
        # Threads suffice: OpenCV and file reads release the GIL.
        yield from tqdm(
            pool.map(function, images),
            desc=f"checking {title}",
            total=len(images),
            unit="image",
            delay=QUIET_SECONDS,
            leave=False,
            disable=None,
        )


def check_image(image: AnnotatedImage, known: KnownSizes | None = None) -> CheckResult:
    """Decode one image, unless it is known, and check its labels."""
    try:
        size_hw = _size_of(image.path, known)
    except DetectorError as error:
        return CheckResult(issues=[Issue(image.path, error.message, drops_image=True)])
    labels = image.read_labels(size_hw)
    sample, issues, counts = clean(image, labels, size_hw)
    issues = labels.issues + issues
    dropped = any(issue.drops_image for issue in issues)
    return CheckResult([] if dropped else [sample], issues, labels.counts + counts)


def _size_of(path: Path, known: KnownSizes | None) -> SizeHW:
    """Return the size of an image that can be decoded.

    Raises:
        DetectorError: it cannot; see :func:`detector.utils.opencv.read_image`.
    """
    if known is not None and (size_hw := known.get(path)) is not None:
        return size_hw
    before = None if known is None else file_state(path)
    height, width = read_image(path).shape[:2]
    if known is not None:
        known.add(path, before, (height, width))
    return height, width


def clean(
    image: AnnotatedImage, labels: Labels, size_hw: SizeHW
) -> tuple[Sample, list[Issue], Counter[str]]:
    """Convert rows to a sample: clip boxes, drop empty and duplicate ones, report invalid ones."""
    issues: list[Issue] = []
    counts: Counter[str] = Counter()
    kept: dict[tuple[int, Box], LabelRow] = {}
    boxes: list[Box] = []
    for row in labels.rows:
        wrong = _unusable(row.box_xyxy)
        if wrong:
            issues.append(Issue(labels.file, wrong, row.line))
            continue
        box = _clip(row.box_xyxy, size_hw)
        reason = _reason_to_drop(row.box_xyxy, box)
        if not reason and (row.class_id, row.box_xyxy) in kept:
            reason = DUPLICATE
        if reason:
            counts[reason] += 1
            continue
        overhang = max(abs(a - b) for a, b in zip(box, row.box_xyxy, strict=True))
        counts[CLIPPED] += overhang > OVERHANG_PIXELS
        kept[row.class_id, row.box_xyxy] = row
        boxes.append(box)
    rows = list(kept.values())
    areas = [_area(b) if r.area is None else r.area for r, b in zip(rows, boxes, strict=True)]
    sample = Sample(
        path=image.path,
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        class_ids=np.array([row.class_id for row in rows], np.int64),
        size_hw=size_hw,
        image_id=image.image_id,
        crowd=np.array([row.crowd for row in rows], np.bool_),
        difficult=np.array([row.difficult for row in rows], np.bool_),
        areas=np.array(areas, np.float32),
    )
    return sample, issues, +counts


def _unusable(box: Box) -> str | None:
    if not all(math.isfinite(value) for value in box):
        return f"box {_text(box)} has a value that is not a finite number"
    if box[2] < box[0] or box[3] < box[1]:
        return f"box {_text(box)} (x1, y1, x2, y2) has a negative size"
    return None


def _reason_to_drop(stated: Box, clipped: Box) -> str | None:
    if stated[2] == stated[0] or stated[3] == stated[1]:
        return EMPTY
    # Compare in float32, the type of the sample's boxes.
    x1, y1, x2, y2 = (np.float32(value) for value in clipped)
    return None if x2 > x1 and y2 > y1 else OUTSIDE


def _clip(box: Box, size_hw: SizeHW) -> Box:
    height, width = size_hw
    x1, y1, x2, y2 = box
    return (
        min(max(x1, 0.0), width),
        min(max(y1, 0.0), height),
        min(max(x2, 0.0), width),
        min(max(y2, 0.0), height),
    )


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _text(box: Box) -> str:
    return "(" + ", ".join(f"{value:g}" for value in box) + ")"
