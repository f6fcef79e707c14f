"""Measurements of one image: digests, a thumbnail, brightness, sharpness, colors; and its labels.

An image is read once. JPEG files are decoded at a fraction of their size, which is enough for all
of these, and tells a broken file as surely as the whole does.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.data.check import clean
from detector.data.checks.boxes import BoxIssue, box_issues
from detector.data.formats.issues import Issue
from detector.data.formats.rows import AnnotatedImage, LabelRow, SizeHW
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError
from detector.utils.image_content import ImageContent, image_content
from detector.utils.opencv import Image, cv2, decode_reduced, read_bytes

MIN_SIDE = 160
"""Smallest shorter side that a JPEG file is decoded to, pixels."""

SHARPNESS_SIDE = 320
"""Longer side at which sharpness is measured, so that images of all sizes can be compared."""

THUMBNAIL_SIDE = 32
"""Side of the grey thumbnails that near duplicates are compared by; they take 1 kB an image."""

MIN_DEVIATION = 0.1
"""Smallest standard deviation of grey values that sharpness is divided by."""

GREY_DIFFERENCE = 4
"""Largest difference between the channels of a pixel, of 255, that JPEG gives a grey image."""

COLORED_SHARE = 0.001
"""Largest share of pixels beyond that in an image that counts as grey."""

DIGEST_BYTES = 16


@dataclass(frozen=True)
class Pixels:
    """What an image looks like.

    Attributes:
        size_hw: height and width, pixels.
        digest: of the decoded pixels.
        thumbnail: (``THUMBNAIL_SIDE``, ``THUMBNAIL_SIDE``) uint8, grey.
        brightness: mean of the grey values, 0 to 255.
        contrast: their standard deviation.
        sharpness: variance of the Laplacian by that of the grey values; low for blurred images.
        is_grey: it has no colors.
    """

    size_hw: SizeHW
    digest: bytes
    thumbnail: NDArray[np.uint8]
    brightness: float
    contrast: float
    sharpness: float
    is_grey: bool


@dataclass(frozen=True)
class MeasuredImage:
    """One image of a split with its labels.

    Attributes:
        split: name of the split.
        path: the image file.
        label_file: its label file, which need not exist; None if the format has none.
        file_digest: of the file's bytes; None if it cannot be read.
        content: what the header of the file says.
        pixels: None if it cannot be decoded.
        sample: the boxes that training uses; None if the image is not usable.
        box_issues: boxes that are probably wrong.
        issues: what makes the image or some of its rows unusable.
        counts: how often each repair was made.
    """

    split: str
    path: Path
    label_file: Path | None
    file_digest: bytes | None = None
    content: ImageContent = field(default_factory=ImageContent)
    pixels: Pixels | None = None
    sample: Sample | None = None
    box_issues: Sequence[BoxIssue] = ()
    issues: Sequence[Issue] = ()
    counts: Counter[str] = field(default_factory=Counter)


def measure_image(image: AnnotatedImage, split: str) -> MeasuredImage:
    """Read an image and its labels, and measure both."""
    try:
        data = read_bytes(image.path)
    except DetectorError as error:
        issue = Issue(image.path, error.message, drops_image=True)
        return MeasuredImage(split, image.path, image.label_file, issues=[issue])
    digest = _digest(data)
    try:
        picture, size_hw = decode_reduced(data, str(image.path), MIN_SIDE)
    except DetectorError as error:
        issue = Issue(image.path, error.message, drops_image=True)
        return MeasuredImage(split, image.path, image.label_file, digest, issues=[issue])
    labels = image.read_labels(size_hw)
    sample, issues, counts = clean(image, labels, size_hw)
    issues = labels.issues + issues
    return MeasuredImage(
        split,
        image.path,
        image.label_file,
        digest,
        image_content(data),
        measure_pixels(picture, size_hw),
        None if any(issue.drops_image for issue in issues) else sample,
        tuple(_box_issues(labels.rows, size_hw)),
        issues,
        labels.counts + counts,
    )


def _box_issues(rows: Sequence[LabelRow], size_hw: SizeHW) -> Iterator[BoxIssue]:
    boxes_xyxy = np.array([row.box_xyxy for row in rows], np.float64).reshape(-1, 4)
    class_ids = np.array([row.class_id for row in rows], np.int64)
    return box_issues(boxes_xyxy, class_ids, size_hw, [row.line for row in rows])


def measure_pixels(image_rgb: Image, size_hw: SizeHW) -> Pixels:
    """Return what an image looks like.

    Args:
        image_rgb: (h, w, 3) uint8, at a fraction of its size or as it is.
        size_hw: the height and width of the whole image.
    """
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    thumbnail = np.asarray(cv2.resize(grey, side, interpolation=cv2.INTER_AREA), np.uint8)
    mean, deviation = cv2.meanStdDev(grey)
    return Pixels(
        size_hw=size_hw,
        digest=_digest(np.array(image_rgb.shape).tobytes(), np.ascontiguousarray(image_rgb).data),
        thumbnail=thumbnail,
        brightness=float(mean[0, 0]),
        contrast=float(deviation[0, 0]),
        sharpness=_sharpness(np.asarray(grey, np.uint8)),
        is_grey=_is_grey(image_rgb),
    )


def _sharpness(grey: Image) -> float:
    ratio = SHARPNESS_SIDE / max(grey.shape)
    if ratio < 1:
        size = max(round(grey.shape[1] * ratio), 1), max(round(grey.shape[0] * ratio), 1)
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, deviation = cv2.meanStdDev(grey)
    _, of_edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))
    return float(of_edges[0, 0] / max(deviation[0, 0], MIN_DEVIATION)) ** 2


def _is_grey(image_rgb: Image) -> bool:
    red, green, blue = cv2.split(image_rgb)
    difference = cv2.max(cv2.absdiff(red, green), cv2.absdiff(green, blue))
    colored = np.count_nonzero(np.asarray(difference) > GREY_DIFFERENCE)
    return bool(colored <= COLORED_SHARE * image_rgb.shape[0] * image_rgb.shape[1])


def _digest(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()
