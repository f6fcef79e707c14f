"""One pass over the images of some splits, and over their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from detector.data.check import in_threads
from detector.data.checks.measure import MeasuredImage, measure_image
from detector.data.dataset import FoundImages, find_images
from detector.data.formats.splits import DatasetDefinition
from detector.data.formats.unlabeled import check_unlabeled
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError


@dataclass
class SplitScan:
    """A split with the measurements of its images.

    Attributes:
        name: its name.
        is_chosen: False if its images were found, not read.
        found: its images as they were found; None if they could not be.
        images: their measurements.
        error: why training refuses the split as a whole, if it does.
    """

    name: str
    is_chosen: bool = True
    found: FoundImages | None = None
    images: list[MeasuredImage] = field(default_factory=list)
    error: DetectorError | None = None

    @property
    def samples(self) -> list[Sample]:
        """The images that training uses."""
        return [image.sample for image in self.images if image.sample is not None]


def scan_splits(
    definition: DatasetDefinition, chosen: Sequence[str], limit: int | None = None
) -> list[SplitScan]:
    """Find the images of all splits, and read those of some.

    Args:
        definition: the data set.
        chosen: names of the splits to read.
        limit: number of images to read of each, the first ones; None reads all.
    """
    scans = [_find(definition, split, split in chosen) for split in definition.splits]
    for scan in scans:
        if scan.is_chosen and scan.found is not None:
            measure = partial(measure_image, split=scan.name)
            scan.images = list(in_threads(measure, scan.found.images[:limit], scan.name))
    return scans


def _find(definition: DatasetDefinition, split: str, is_chosen: bool) -> SplitScan:
    scan = SplitScan(split, is_chosen)
    try:
        scan.found = find_images(definition, split, needs_labels=False)
        check_unlabeled(scan.found.images)
    except DetectorError as error:
        scan.error = error
    return scan
