"""All checks of a data set: one pass over its files, then one kind of finding after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.data.checks.boxes import box_findings, box_issues, touching_border
from detector.data.checks.classes import (
    class_counts,
    class_findings,
    missing_findings,
    name_findings,
)
from detector.data.checks.duplicates import Group, duplicate_findings, duplicate_groups
from detector.data.checks.files import file_findings
from detector.data.checks.finding import DataReport, Finding
from detector.data.checks.pixels import pixel_findings
from detector.data.checks.scan import SplitScan, scan_splits
from detector.data.checks.sizes import shorter_sides, size_counts, size_findings
from detector.data.dataset import DetectionDataset
from detector.data.formats.splits import DatasetDefinition
from detector.structures.preprocess import Preprocess


@dataclass(frozen=True)
class CheckedData:
    """A report with what it was made from.

    Attributes:
        report: the findings.
        definition: the data set.
        scans: all of its splits.
        groups: duplicates of the images that were read.
    """

    report: DataReport
    definition: DatasetDefinition
    scans: Sequence[SplitScan]
    groups: Sequence[Group]

    @property
    def chosen(self) -> list[SplitScan]:
        """The splits that were read."""
        return [scan for scan in self.scans if scan.is_chosen]


def check_dataset(
    definition: DatasetDefinition,
    preprocess: Preprocess,
    stride: int,
    splits: Sequence[str] | None = None,
    limit: int | None = None,
) -> CheckedData:
    """Check all splits of a data set, or some.

    Args:
        definition: the data set.
        preprocess: how images become the network's input, for the sizes of objects.
        stride: the input's sides are multiples of it, pixels.
        splits: names of the splits to check; None checks all.
        limit: number of images to read of each split, the first ones; None reads all.

    Raises:
        DetectorError: no such split, or no such folder.
    """
    definition.prepared_root()
    for split in splits or ():
        definition.places(split)
    scans = scan_splits(definition, splits or list(definition.splits), limit)
    chosen = [scan for scan in scans if scan.is_chosen]
    images = [image for scan in chosen for image in scan.images]
    report = DataReport(definition.source, notes=definition.notes)
    report.splits = {scan.name: _numbers(scan) for scan in chosen}
    report.classes = class_counts(definition.names, {scan.name: scan.samples for scan in chosen})
    groups, is_complete = duplicate_groups(images)
    report.add(file_findings(scans))
    report.add(duplicate_findings(groups, is_complete))
    report.add(class_findings(report.classes))
    boxed = [scan for scan in chosen if not _is_classified(definition, scan.name)]
    report.add(_box_findings(boxed))
    samples = [(scan.name, sample) for scan in boxed for sample in scan.samples]
    names, boxes = [name for name, _ in samples], [sample for _, sample in samples]
    report.add(size_findings(names, boxes, preprocess, stride))
    report.sizes = size_counts(shorter_sides(boxes, preprocess)[1])
    report.add(pixel_findings(images))
    return CheckedData(report, definition, scans, groups)


def quick_findings(datasets: Sequence[DetectionDataset]) -> list[Finding]:
    """Return findings of errors and warnings that need no image, for splits that were read before.

    Args:
        datasets: splits with the same class names.
    """
    samples = {dataset.split: dataset.samples for dataset in datasets}
    counts = class_counts(datasets[0].names, samples)
    found = [*name_findings(list(counts)), *missing_findings(counts)]
    if all(dataset.task == "detect" for dataset in datasets):
        found += box_findings(
            (split, sample.path, issue)
            for split, some in samples.items()
            for sample in some
            for issue in box_issues(
                sample.boxes_xyxy.astype(np.float64),
                sample.class_ids,
                sample.size_hw,
                [None] * len(sample.class_ids),
            )
        )
    return [one for one in found if one.severity != "note"]


def _box_findings(scans: Sequence[SplitScan]) -> Iterator[Finding]:
    return box_findings(
        (scan.name, image.label_file or image.path, issue)
        for scan in scans
        for image in scan.images
        for issue in image.box_issues
    )


def _is_classified(definition: DatasetDefinition, split: str) -> bool:
    """Return whether a split's labels are one class for each image."""
    return all(place.task == "classify" for place in definition.places(split))


def _numbers(scan: SplitScan) -> dict[str, Any]:
    samples = scan.samples
    seen = [image.pixels for image in scan.images if image.pixels is not None]
    sides = np.array([pixels.size_hw for pixels in seen]).reshape(-1, 2)
    brightness = [pixels.brightness for pixels in seen]
    return {
        "images": len(scan.images),
        "unusable_images": len(scan.images) - len(samples),
        "images_without_objects": sum(not len(sample.class_ids) for sample in samples),
        "boxes": sum(len(sample.class_ids) for sample in samples),
        "crowd_boxes": sum(int(sample.crowd.sum()) for sample in samples),
        "difficult_boxes": sum(int(sample.difficult.sum()) for sample in samples),
        "boxes_on_border": sum(touching_border(s.boxes_xyxy, s.size_hw) for s in samples),
        "median_size_hw": [int(side) for side in np.median(sides, axis=0)] if seen else None,
        "mean_brightness": round(float(np.mean(brightness)), 1) if seen else None,
    }
