"""Files that are broken, missing or unused: images, labels, and pairs of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from detector.data.checks.finding import Finding, Place, number_of
from detector.data.checks.measure import MeasuredImage
from detector.data.checks.scan import SplitScan
from detector.data.formats import labelme, voc
from detector.data.formats.class_files import PATTERNS
from detector.data.formats.folders import is_hidden
from detector.data.formats.issues import Issue
from detector.utils.errors import DetectorError
from detector.utils.opencv import IMAGE_SUFFIXES

SKIP_BAD = "mend or remove them; train --skip-bad leaves them out, and so does --fix OUT"

MAX_UNLABELED_SHARE = 0.1
"""Largest share of images without a label file that is a note rather than a warning."""


def file_findings(scans: Sequence[SplitScan]) -> Iterator[Finding]:
    """Yield findings on the files of all splits."""
    for scan in scans:
        if scan.is_chosen and scan.error is not None:
            yield _unusable_split(scan.name, scan.error)
    yield from _issue_findings(scans)
    images = [image for scan in scans for image in scan.images]
    yield from _label_findings(images)
    if all(scan.found is not None for scan in scans):
        yield from _unused_findings(scans)


def _unusable_split(split: str, error: DetectorError) -> Finding:
    places = [] if error.file is None else [Place(error.file, split=split, line=error.line)]
    message = error.message.removeprefix(f"split {split!r}: ")
    return Finding("unusable-split", "error", f"split {split!r}: {message}", 1, "", places)


def _issue_findings(scans: Sequence[SplitScan]) -> Iterator[Finding]:
    """Yield findings on images and labels that training refuses."""
    broken: list[Place] = []
    invalid: list[Place] = []
    for scan in scans:
        unread = {image.path for image in scan.images if image.pixels is None}
        found = scan.found.issues if scan.found is not None and scan.is_chosen else []
        issues: list[Issue] = [*found, *(one for image in scan.images for one in image.issues)]
        for issue in issues:
            target = broken if issue.file in unread else invalid
            target.append(Place(issue.file, issue.message, scan.name, issue.line))
    if broken:
        message = f"{number_of(len(broken), 'image')} that cannot be read"
        yield Finding("broken-images", "error", message, len(broken), SKIP_BAD, broken)
    if invalid:
        message = f"{number_of(len(invalid), 'invalid label')}"
        yield Finding("invalid-labels", "error", message, len(invalid), SKIP_BAD, invalid)


def _label_findings(images: Sequence[MeasuredImage]) -> Iterator[Finding]:
    """Yield findings on images without labels, and without objects."""
    unlabeled = [i for i in images if i.label_file is not None and not i.label_file.is_file()]
    if unlabeled:
        share = len(unlabeled) / len(images)
        yield Finding(
            "unlabeled-images",
            "note" if share <= MAX_UNLABELED_SHARE else "warning",
            f"{number_of(len(unlabeled), 'image')} of {len(images)} ({share:.1%}) without a label "
            "file, taken as without objects",
            len(unlabeled),
            "label them, or leave them out, unless nothing is in them",
            [Place(image.path, f"no {image.label_file}", image.split) for image in unlabeled],
        )
    missing = {id(image) for image in unlabeled}
    empty = [
        image
        for image in images
        if id(image) not in missing and image.sample is not None and not image.sample.class_ids.size
    ]
    if empty:
        yield Finding(
            "images-without-objects",
            "note",
            f"{number_of(len(empty), 'image')} of {len(images)} with labels that have no object",
            len(empty),
            "some of them teach the network what is no object",
            [Place(image.path, "", image.split) for image in empty],
        )


def _unused_findings(scans: Sequence[SplitScan]) -> Iterator[Finding]:
    """Yield findings on label files and images that no split uses."""
    all_images = [image for scan in scans if scan.found is not None for image in scan.found.images]
    dropped = {i.file for scan in scans if scan.found is not None for i in scan.found.issues}
    images = {_normal(image.path) for image in all_images} | {_normal(file) for file in dropped}
    labels = {_normal(image.label_file) for image in all_images if image.label_file is not None}
    stray = [path for path in _beside(labels) if _is_label_file(path)]
    if stray:
        yield Finding(
            "unused-labels",
            "warning",
            f"{number_of(len(stray), 'label file')} without an image in any split",
            len(stray),
            "find the images, which may have other names, or remove the files",
            [Place(path) for path in stray],
        )
    unused = [path for path in _beside(images) if path.suffix.lower() in IMAGE_SUFFIXES]
    if unused:
        yield Finding(
            "unused-images",
            "note",
            f"{number_of(len(unused), 'image')} beside those of the splits, in none of them",
            len(unused),
            "add them to a split if they are labeled",
            [Place(path) for path in unused],
        )


def _beside(used: Collection[str]) -> list[Path]:
    """Return the files in the folders of some files that are none of these, sorted."""
    suffixes = frozenset(os.path.splitext(path)[1].lower() for path in used)
    suffixes = IMAGE_SUFFIXES if suffixes & IMAGE_SUFFIXES else suffixes
    found: list[Path] = []
    for folder in {os.path.dirname(path) for path in used}:
        try:
            names = os.listdir(folder)
        except OSError:  # the folder of labels may be missing
            continue
        paths = (os.path.join(folder, name) for name in names if not is_hidden(name))
        found += [
            Path(path)
            for path in paths
            if path not in used and os.path.splitext(path)[1].lower() in suffixes
        ]
    return sorted(path for path in found if path.is_file())


_LABELS = {".xml": voc.is_annotation, ".json": labelme.is_labelme_file}
"""Tests of files whose suffix does not say that they are labels."""


def _is_label_file(path: Path) -> bool:
    if any(path.match(pattern) for pattern in PATTERNS):
        return False
    test = _LABELS.get(path.suffix.lower())
    return test is None or test(path)


def _normal(path: Path) -> str:
    return os.path.normpath(path)
