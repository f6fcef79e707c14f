"""Layouts of the data sets that are written, one for each format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from detector.data.formats.splits import Split
from detector.label_files.coco import CocoWriter
from detector.label_files.csv_boxes import CsvWriter
from detector.label_files.voc import VocWriter
from detector.label_files.writer import LabelWriter
from detector.label_files.yolo import YoloWriter
from detector.settings.values import LabelFormatName
from detector.utils.unique_names import UniqueNames


@dataclass(frozen=True)
class Target:
    """Layout of a format; ``{}`` stands for a split.

    Attributes:
        writer: writer of its labels.
        images: folder of images.
        labels: file or folder of labels.
        image_set: list of the images' paths without suffix, for other tools, or None.
        names_from_root: whether labels name images by their paths below the data set's folder,
            not below the folder of images.
    """

    writer: type[LabelWriter]
    images: str
    labels: str
    image_set: str | None = None
    names_from_root: bool = False

    def place(self, folder: str) -> Split:
        """Return where our readers find a split, of which ``folder`` is the name in paths."""
        images, labels = self.images.format(folder), self.labels.format(folder)
        if self.writer is YoloWriter:
            return Split(images=images)
        return Split(annotations=labels, images=images)


TARGETS: dict[LabelFormatName, Target] = {
    "yolo": Target(YoloWriter, "images/{}", "labels/{}"),
    "coco": Target(CocoWriter, "images/{}", "annotations/instances_{}.json"),
    "voc": Target(VocWriter, "JPEGImages/{}", "Annotations/{}", "ImageSets/Main/{}.txt"),
    "csv": Target(CsvWriter, "images/{}", "{}_labels.csv", names_from_root=True),
}


def split_folders(splits: Sequence[str]) -> dict[str, str]:
    """Return a name for the folders of each split: the split's, without signs of paths.

    >>> split_folders(["train", "sets/a.json"])
    {'train': 'train', 'sets/a.json': 'sets_a_json'}
    """
    names = UniqueNames()
    return {split: names.unused(re.sub(r"[^\w-]", "_", split)) for split in splits}
