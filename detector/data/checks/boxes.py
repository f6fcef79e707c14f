"""Boxes of one image that are probably wrong: duplicated, nested, of two classes, clipped, odd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.data.check import OVERHANG_PIXELS
from detector.data.checks.finding import Finding, Place, Severity, number_of
from detector.data.formats.rows import SizeHW

DUPLICATE_IOU = 0.9
"""IoU from which two boxes of one class count as one object labeled twice."""

MIN_NESTED_SHARE = 0.98
"""Smallest share of a box that lies in another one of its class for it to count as nested."""

MAX_SIDE_RATIO = 20.0
"""Largest ratio of a box's sides; a longer one is probably a slip of the mouse."""

MIN_WHOLE_SHARE = 0.98
"""Smallest share of the image that a box covers to count as the whole image."""

BORDER_PIXELS = 1.0
"""Largest distance from the image's border of a box that touches it."""

MAX_PAIRED_BOXES = 2000
"""Largest number of boxes of an image that are compared with each other."""

Boxes = NDArray[np.float64]
Ids = NDArray[np.int64]


class BoxIssue(NamedTuple):
    """A box that is probably wrong.

    Attributes:
        kind: key of ``KINDS``.
        detail: what is wrong with it.
        line: line of the label file, if known.
    """

    kind: str
    detail: str
    line: int | None = None


@dataclass(frozen=True)
class Kind:
    """Severity, message and advice of one kind of issue."""

    severity: Severity
    message: str
    advice: str


KINDS = {
    "duplicate-boxes": Kind(
        "warning",
        "{} labeled twice: two boxes of a class with IoU of at least " + f"{DUPLICATE_IOU:g}",
        "keep one of each; equal boxes are dropped from training, and by --fix OUT",
    ),
    "empty-boxes": Kind("warning", "{} of zero size, dropped from training", "draw it again"),
    "boxes-outside": Kind(
        "warning", "{} outside the image, dropped from training", "draw it again"
    ),
    "boxes-of-two-classes": Kind(
        "note",
        "{} on the place of a box of another class",
        "keep the right one, unless the object is both",
    ),
    "nested-boxes": Kind(
        "note",
        "{} inside a larger one of the same class",
        "look whether it is a part of the object, or an object of its own",
    ),
    "clipped-boxes": Kind(
        "note", "{} beyond the border of the image, clipped in training", "check the tool's export"
    ),
    "needle-boxes": Kind(
        "note", "{} more than " + f"{MAX_SIDE_RATIO:g} times as long as wide", "look at it"
    ),
    "whole-image-boxes": Kind("note", "{} as large as the whole image", "look at it"),
    "crowded-images": Kind(
        "note",
        "{} with more than " + f"{MAX_PAIRED_BOXES} boxes, which were not compared with each other",
        "",
    ),
}
"""All kinds of issues, in the order of the report."""


def box_issues(
    boxes_xyxy: Boxes, class_ids: Ids, size_hw: SizeHW, lines: Sequence[int | None]
) -> Iterator[BoxIssue]:
    """Yield the issues of an image's boxes.

    Args:
        boxes_xyxy: (n, 4) as the label file states them, pixels; not finite ones are left out.
        class_ids: (n,).
        size_hw: height and width of the image, pixels.
        lines: n lines of the label file, None where unknown.
    """
    sizes_wh = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    finite = np.isfinite(boxes_xyxy).all(1)
    usable = finite & (sizes_wh > 0).all(1)
    limits = np.array(size_hw[::-1] * 2, np.float64)
    clipped = boxes_xyxy.clip(0, limits)
    overhang = np.abs(clipped - boxes_xyxy).max(1, initial=0)
    inside = (clipped[:, 2:] > clipped[:, :2]).all(1)
    ratios = np.ones(len(boxes_xyxy))
    ratios[usable] = sizes_wh[usable].max(1) / sizes_wh[usable].min(1)
    shares = (clipped[:, 2:] - clipped[:, :2]).prod(1) / limits[:2].prod()
    for kind, flags, values in (
        ("empty-boxes", finite & (sizes_wh >= 0).all(1) & ~usable, ratios),
        ("boxes-outside", usable & ~inside, ratios),
        ("clipped-boxes", usable & inside & (overhang > OVERHANG_PIXELS), overhang),
        ("needle-boxes", usable & inside & (ratios > MAX_SIDE_RATIO), ratios),
        ("whole-image-boxes", usable & inside & (shares >= MIN_WHOLE_SHARE), shares),
    ):
        for n in np.flatnonzero(flags).tolist():
            yield BoxIssue(kind, _DETAILS[kind].format(values[n]), lines[n])
    index = np.flatnonzero(usable & inside)
    yield from _paired(boxes_xyxy[index], class_ids[index], [lines[n] for n in index.tolist()])


_DETAILS = {
    "empty-boxes": "zero wide or high",
    "boxes-outside": "outside the image",
    "clipped-boxes": "{:.1f} px beyond the border",
    "needle-boxes": "{:.0f} times as long as wide",
    "whole-image-boxes": "{:.0%} of the image",
}


def _paired(boxes_xyxy: Boxes, class_ids: Ids, lines: Sequence[int | None]) -> Iterator[BoxIssue]:
    """Yield the issues that two boxes have together, at the second one, once a box."""
    if len(boxes_xyxy) > MAX_PAIRED_BOXES:
        yield BoxIssue("crowded-images", f"{len(boxes_xyxy)} boxes")
        return
    if len(boxes_xyxy) < 2:
        return
    iou, inside = _overlaps(boxes_xyxy)
    same = class_ids[:, None] == class_ids[None]
    before = np.tri(len(boxes_xyxy), k=-1, dtype=np.bool_)
    for kind, pairs in (
        ("duplicate-boxes", same & before & (iou >= DUPLICATE_IOU)),
        ("boxes-of-two-classes", ~same & before & (iou >= DUPLICATE_IOU)),
        ("nested-boxes", same & (iou < DUPLICATE_IOU) & (inside >= MIN_NESTED_SHARE)),
    ):
        for n in np.flatnonzero(pairs.any(1)).tolist():
            other = int(pairs[n].argmax())
            where = "another box" if lines[other] is None else f"that of line {lines[other]}"
            share = (
                f"in {where}" if kind == "nested-boxes" else f"IoU {iou[n, other]:.2f} with {where}"
            )
            yield BoxIssue(kind, share, lines[n])


def _overlaps(boxes_xyxy: Boxes) -> tuple[Boxes, Boxes]:
    """Return the IoU of all pairs, (n, n), and the share of each box (row) in each other one."""
    low = np.maximum(boxes_xyxy[:, None, :2], boxes_xyxy[None, :, :2])
    high = np.minimum(boxes_xyxy[:, None, 2:], boxes_xyxy[None, :, 2:])
    common = (high - low).clip(min=0).prod(-1)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(1)
    iou = common / (areas[:, None] + areas[None] - common)
    inside = common / areas[:, None]
    np.fill_diagonal(inside, 0)
    return iou, inside


def touching_border(boxes_xyxy: NDArray[np.float32], size_hw: SizeHW) -> int:
    """Return how many boxes, (n, 4), touch the border of their image."""
    height, width = size_hw
    limits = np.array([width, height], np.float32) - BORDER_PIXELS
    touches = (boxes_xyxy[:, :2] <= BORDER_PIXELS).any(1) | (boxes_xyxy[:, 2:] >= limits).any(1)
    return int(touches.sum())


def box_findings(issues: Iterable[tuple[str, Path, BoxIssue]]) -> Iterator[Finding]:
    """Yield a finding for each kind of issue.

    Args:
        issues: split, label file and issue.
    """
    by_kind: dict[str, list[Place]] = {}
    for split, file, issue in issues:
        by_kind.setdefault(issue.kind, []).append(Place(file, issue.detail, split, issue.line))
    for name, kind in KINDS.items():
        places = by_kind.get(name, [])
        if places:
            noun = "image" if name == "crowded-images" else "box"
            message = kind.message.format(number_of(len(places), noun))
            yield Finding(name, kind.severity, message, len(places), kind.advice, places)
