"""Writer of detections as label files: labels made by a model, which people then correct."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.label_files.coco import CocoWriter
from detector.label_files.cvat import CvatWriter
from detector.label_files.definition import FILE_NAME, definition_text
from detector.label_files.labeled_image import LabeledImage
from detector.label_files.labelstudio import LabelStudioWriter, labeling_config
from detector.label_files.voc import VocWriter
from detector.label_files.writer import LabelWriter
from detector.label_files.yolo import YoloWriter
from detector.runtime.pipeline import Result
from detector.runtime.sources import Source
from detector.runtime.writers import Writer
from detector.settings.values import SavedFormatName
from detector.utils.errors import DetectorError
from detector.utils.files import write_text

SPLIT = "train"
"""Split of the definition beside the labels."""

CONFIG_NAME = "config.xml"


@dataclass(frozen=True)
class _Layout:
    """Writer of a format, the name of its file or folder, and the key of a place that names it."""

    writer: type[LabelWriter]
    labels: str
    key: str | None = None


LAYOUTS: dict[SavedFormatName, _Layout] = {
    "yolo": _Layout(YoloWriter, "labels", "labels"),
    "coco": _Layout(CocoWriter, "annotations.json", "annotations"),
    "voc": _Layout(VocWriter, "Annotations", "annotations"),
    "labelstudio": _Layout(LabelStudioWriter, "tasks.json"),
    "cvat": _Layout(CvatWriter, "annotations.xml"),
}

ONE_FILE = frozenset(("coco", "labelstudio", "cvat"))
"""Formats of one file for all images, which several processes cannot write."""


class SavedLabels(Writer):
    """Writer of labels into a folder, with a definition where our readers know the format.

    Images are named by their paths below the folder that holds all of the source. An image that the
    source lists twice is written once.

    Args:
        folder: created if missing; files of the same name are replaced.
        format_name: the format.
        source: the source, which consists of image files.
        names: class names.
        confidences: lowest score of each class.
        model: name of the model.

    Raises:
        DetectorError: the source has no files, or the format cannot hold a class name.

    Attributes:
        boxes: number of boxes written.
    """

    def __init__(
        self,
        folder: Path,
        format_name: SavedFormatName,
        source: Source,
        names: Sequence[str],
        confidences: Sequence[float],
        model: str,
    ) -> None:
        super().__init__()
        if not source.folders:
            raise DetectorError("--save-labels: labels name image files, and the source has none")
        self.folder = folder
        self.boxes = 0
        self._layout = LAYOUTS[format_name]
        self._root = os.path.commonpath([os.path.abspath(one) for one in source.folders])
        self._names = tuple(names)
        self._confidences = np.array(confidences, np.float32)
        self._written: set[str] = set()
        path = folder / self._layout.labels
        if self._layout.writer is LabelStudioWriter:
            self._labels: LabelWriter = LabelStudioWriter(path, names, model)
        else:
            self._labels = self._layout.writer(path, names)

    @property
    def images(self) -> int:
        """Number of images whose labels are written."""
        return len(self._written)

    def __enter__(self) -> SavedLabels:
        self._labels.open()
        return self

    def _write(self, result: Result) -> None:
        if result.path is None or result.frame.fps is not None:
            message = "--save-labels: labels name image files, found a video"
            raise DetectorError(message, file=result.path)
        name = Path(os.path.relpath(os.path.abspath(result.path), self._root)).as_posix()
        if name in self._written:
            return
        self._written.add(name)
        detections = result.detections
        keep = detections.scores >= self._confidences[detections.class_ids]
        kept = detections[keep]
        height, width = result.image_rgb.shape[:2]
        self._labels.write(
            LabeledImage(
                name,
                (height, width),
                kept.boxes_xyxy,
                kept.class_ids,
                image_id=len(self._written),
                scores=kept.scores,
            )
        )
        self.boxes += len(kept)

    def _finish(self, failed: bool) -> None:
        self._labels.close(failed)
        if failed:
            return
        if self._layout.key is not None:
            place = {"images": self._root, self._layout.key: self._layout.labels}
            write_text(
                self.folder / FILE_NAME, definition_text(self._names, {SPLIT: place}, [SPLIT])
            )
        elif self._layout.writer is LabelStudioWriter:
            write_text(self.folder / CONFIG_NAME, labeling_config(self._names))
