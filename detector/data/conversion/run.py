"""Conversion of a data set: read each split, write it in the new format, read it again, compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from detector.data.check import QUIET_SECONDS
from detector.data.conversion.image_files import source_names, write_image_of
from detector.data.conversion.image_names import image_names, renamed
from detector.data.conversion.losses import (
    CocoRecords,
    has_own_area,
    ignored_lines,
    lost_lines,
    read_records,
)
from detector.data.conversion.new_folder import check_new, new_folder
from detector.data.conversion.read_back import check_definition, check_split
from detector.data.conversion.targets import TARGETS, Target, split_folders
from detector.data.dataset import DetectionDataset, open_dataset
from detector.data.formats.definition import SPLIT_KEY, load_definition
from detector.data.formats.splits import PATH_KEYS, DatasetDefinition, Split
from detector.data.tiles import cut_into_tiles
from detector.label_files.coco import CocoWriter
from detector.label_files.definition import FILE_NAME, definition_text
from detector.label_files.labeled_image import LabeledImage
from detector.label_files.writer import LabelWriter
from detector.settings.datasets import ConvertSettings
from detector.settings.values import LabelFormatName
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError


@dataclass(frozen=True)
class ConversionReport:
    """Result of a conversion.

    Attributes:
        output: the folder that was written; its ``data.yaml`` is what ``--data`` takes.
        to: its format.
        images: number of images of each split.
        boxes: number of boxes of each split.
        notes: lines on what was read, repaired, renamed and left out.
    """

    output: Path
    to: LabelFormatName
    images: dict[str, int] = field(default_factory=dict)
    boxes: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the notes and a summary, line by line."""
        counts = ", ".join(
            f"{split} {count} images and {self.boxes[split]} boxes"
            for split, count in self.images.items()
        )
        return [*self.notes, f"{self.output}: {TARGETS[self.to].writer.title}, {counts}"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "output": str(self.output),
            "to": self.to,
            "images": self.images,
            "boxes": self.boxes,
            "notes": self.notes,
        }


def run_conversion(settings: ConvertSettings) -> ConversionReport:
    """Convert a data set; its folder appears when all of it is written and was read again.

    Raises:
        DetectorError: the data cannot be read, the folder is not new, the format cannot hold a
            class name, or images cannot be linked; nothing is written.
    """
    definition = load_definition(settings.named_data("convert"), settings.data_root)
    splits = settings.splits or tuple(definition.splits)
    places = {split: definition.places(split, "--splits") for split in splits}
    _check_boxes(definition, places)
    check_new(settings.output, _read_folders(definition, settings))
    report = ConversionReport(settings.output, settings.to, notes=list(definition.notes))
    target, folders = TARGETS[settings.to], split_folders(splits)
    with new_folder(settings.output) as folder:
        written = DatasetDefinition(
            source=str(settings.output),
            root=folder,
            names=definition.names,
            splits={split: (target.place(folders[split]),) for split in splits},
        )
        for split in splits:
            dataset, tile_lines = _cut(_open(definition, split, settings), settings)
            conversion = _Conversion(dataset, definition, target, folder, folders[split])
            pairs = conversion.write(settings)
            check_split(written, split, pairs, target)
            report.images[split] = len(pairs)
            report.boxes[split] = sum(len(labeled.class_ids) for labeled, _ in pairs)
            report.notes.extend([*conversion.notes(), *tile_lines])
        _write_definition(written)
        check_definition(folder, written)
    return report


def _open(definition: DatasetDefinition, split: str, settings: ConvertSettings) -> DetectionDataset:
    return open_dataset(
        definition,
        split,
        skip_bad=settings.skip_bad,
        limit=settings.limit,
        max_unlabeled=settings.max_unlabeled,
    )


def _cut(
    dataset: DetectionDataset, settings: ConvertSettings
) -> tuple[DetectionDataset, list[str]]:
    """Return the split, its large images in tiles if the settings ask for it, and lines on that.

    Tiles of one image have its id, which only one image of a data set may have: ids are new then.
    """
    tiled, lines = cut_into_tiles(dataset, settings)
    lines = [f"{dataset.split}: {line}" for line in lines]
    if not _has_tiles(tiled):
        return tiled, lines
    samples = (replace(sample, image_id=n) for n, sample in enumerate(tiled.samples, start=1))
    return replace(tiled, samples=tuple(samples)), lines


def _has_tiles(dataset: DetectionDataset) -> bool:
    return any(sample.window_xyxy is not None for sample in dataset.samples)


@dataclass(frozen=True)
class _Conversion:
    """Conversion of one split.

    Attributes:
        dataset: the split.
        definition: definition of its data set.
        target: layout of the new one.
        root: folder of the new one.
        folder: name of the split's folders there.
    """

    dataset: DetectionDataset
    definition: DatasetDefinition
    target: Target
    root: Path
    folder: str

    def write(self, settings: ConvertSettings) -> list[tuple[LabeledImage, Path]]:
        """Write images and labels; return what was written, with the new images."""
        records = self._records()
        pairs: list[tuple[LabeledImage, Path]] = []
        with self._writer(records) as writer:
            for sample, name in self._bar():
                path = self.root / self.target.images.format(self.folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image_of(sample, path, settings.images)
                labeled = self._labeled(sample, path, records)
                writer.write(labeled)
                pairs.append((labeled, path))
        self._write_image_set([path for _, path in pairs])
        return pairs

    def notes(self) -> list[str]:
        """Return lines on what was read, and on what is renamed or left out."""
        samples = self.dataset.samples
        places = self.definition.places(self.dataset.split)
        # Lines on the definition come first in a report, and those on the classes last; they are
        # the same in each split.
        own = self.dataset.report[len(self.definition.notes) : -1]
        return [
            *own,
            *renamed(source_names(samples), self._names()),
            *lost_lines(samples, self.target.writer.holds, self.target.writer.title),
            *ignored_lines(places, self.definition.prepared_root(), self._keeps_records()),
        ]

    def _names(self) -> list[str]:
        return image_names(source_names(self.dataset.samples))

    def _bar(self) -> Iterator[tuple[Sample, str]]:
        yield from tqdm(
            zip(self.dataset.samples, self._names(), strict=True),
            desc=f"writing {self.dataset.split}",
            total=len(self.dataset.samples),
            unit="image",
            delay=QUIET_SECONDS,
            leave=False,
            disable=None,
        )

    def _writer(self, records: CocoRecords) -> LabelWriter:
        path = self.root / self.target.labels.format(self.folder)
        names = self.dataset.names
        if self.target.writer is not CocoWriter:
            return self.target.writer(path, names, synced=False)
        return CocoWriter(
            path,
            names,
            self.dataset.category_ids,
            records.of_categories(names),
            records.top,
            synced=False,
        )

    def _labeled(self, sample: Sample, path: Path, records: CocoRecords) -> LabeledImage:
        start = "" if self.target.names_from_root else self.target.images.format(self.folder)
        holds = self.target.writer.holds
        keep = np.ones(len(sample.crowd), np.bool_) if "crowd" in holds else ~sample.crowd
        return LabeledImage(
            name=path.relative_to(self.root / start).as_posix(),
            size_hw=sample.size_hw,
            boxes_xyxy=sample.boxes_xyxy[keep],
            class_ids=sample.class_ids[keep],
            image_id=sample.image_id,
            crowd=sample.crowd[keep],
            difficult=sample.difficult[keep],
            areas=sample.areas[keep] if has_own_area(sample).any() else None,
            record=records.images.get(sample.image_id, {}),
        )

    def _keeps_records(self) -> bool:
        """Return whether the split is one COCO file that becomes one, with the same images."""
        from_coco = self.dataset.annotation_file is not None and not _has_tiles(self.dataset)
        return self.target.writer is CocoWriter and from_coco

    def _records(self) -> CocoRecords:
        if self.dataset.annotation_file is None or not self._keeps_records():
            return CocoRecords()
        return read_records(self.dataset.annotation_file)

    def _write_image_set(self, images: Sequence[Path]) -> None:
        """Write the list of images that other tools read, without suffixes."""
        if self.target.image_set is None:
            return
        above = self.root / Path(self.target.images).parent
        file = self.root / self.target.image_set.format(self.folder)
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = (path.relative_to(above).with_suffix("").as_posix() for path in images)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


def _check_boxes(definition: DatasetDefinition, places: dict[str, tuple[Split, ...]]) -> None:
    """Raise DetectorError for a split of whole-image classes."""
    for split, its_places in places.items():
        if any(place.task == "classify" for place in its_places):
            raise DetectorError(
                f"split {split!r} has one class for each image, expected boxes to convert",
                file=definition.source,
            )


def _read_folders(definition: DatasetDefinition, settings: ConvertSettings) -> list[Path]:
    """Return the folders that are read: the data set's, if it is a folder, and all of its places.

    That of a definition file may hold anything else.
    """
    data = Path(str(settings.data))
    folders = [data] if data.is_dir() else []
    paths = (
        definition.root / value
        for places in definition.splits.values()
        for place in places
        for key in PATH_KEYS
        if (value := getattr(place, key)) is not None
    )
    return folders + [path for path in paths if path.is_dir()]


def _write_definition(written: DatasetDefinition) -> None:
    """Write ``data.yaml``; a folder of images with YOLO txt is a bare path, as other tools read."""
    splits: dict[str, Any] = {}
    for name, (place,) in written.splits.items():
        values = place.model_dump(mode="json", exclude_defaults=True)
        splits[name] = values["images"] if values.keys() == {"images"} else values
    top = [name for name in splits if SPLIT_KEY.fullmatch(name)]
    text = definition_text(written.names, splits, top)
    (written.root / FILE_NAME).write_text(text, encoding="utf-8", newline="\n")
