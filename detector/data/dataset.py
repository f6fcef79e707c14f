"""A split of a data set, read and checked: samples, class names, ground truth for COCO AP."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.data.check import DROPPED, CheckResult, check_images
from detector.data.formats import classes, coco, csv_boxes, labelme, named_boxes, via, voc, yolo
from detector.data.formats.coco_images import locate_images
from detector.data.formats.definition import load_definition
from detector.data.formats.issues import Issue, issues_error
from detector.data.formats.named_boxes import ListedImage
from detector.data.formats.names import describe, match_names
from detector.data.formats.namesakes import images_sharing_labels
from detector.data.formats.pairing import shared_files
from detector.data.formats.rows import UNLABELED, WITHOUT_IMAGE, AnnotatedImage, image_files
from detector.data.formats.splits import DatasetDefinition, Format, Split
from detector.data.formats.unlabeled import check_unlabeled, describe_negatives
from detector.data.known_sizes import KnownSizes
from detector.settings.values import TaskName
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError

MAX_IDS = 5
"""Largest number of ids that the line on a repeated image file shows."""


@dataclass(frozen=True)
class GroundTruth:
    """Samples numbered by the data set's own classes, for evaluation.

    Attributes:
        names: class names of the data set.
        samples: the images, with class ids that index ``names``.
        category_ids: category id of each class.
    """

    names: tuple[str, ...]
    samples: tuple[Sample, ...]
    category_ids: tuple[int, ...]

    def to_coco(self) -> dict[str, Any]:
        """Return a COCO annotation dictionary, whose boxes keep ``difficult``."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for sample in self.samples:
            height, width = sample.size_hw
            images.append(
                {
                    "id": sample.image_id,
                    "file_name": sample.path.name,
                    "height": height,
                    "width": width,
                }
            )
            for i, (x1, y1, x2, y2) in enumerate(sample.boxes_xyxy.astype(float).tolist()):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": sample.image_id,
                        "category_id": self.category_ids[sample.class_ids[i]],
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": float(sample.areas[i]),
                        "iscrowd": int(sample.crowd[i]),
                        "difficult": int(sample.difficult[i]),
                    }
                )
        pairs = zip(self.category_ids, self.names, strict=True)
        categories = [{"id": number, "name": name} for number, name in pairs]
        return {"images": images, "annotations": annotations, "categories": categories}


@dataclass(frozen=True)
class DetectionDataset:
    """The annotated images of one split.

    Attributes:
        names: class names that the samples' ``class_ids`` index: the data set's own, or those of
            the model that the split was opened for.
        samples: one for each usable image.
        split: name of the split.
        category_ids: ground-truth category id of each of ``names``; a class that the data lack has
            an id that occurs neither in the ground truth nor in the annotation file.
        largest_category_id: largest category id of the data, classes without a name included.
        annotation_file: the COCO JSON file, if the split consists of exactly one.
        report: lines to print: counts, repairs, the mapping of classes.
        original: the samples with the data set's own class numbers.
        task: ``detect`` if the labels are boxes; ``classify`` if they are one class per image,
            stored as one object that fills the image.
    """

    names: tuple[str, ...]
    samples: tuple[Sample, ...]
    split: str
    category_ids: tuple[int, ...]
    largest_category_id: int
    annotation_file: Path | None
    report: tuple[str, ...]
    original: GroundTruth
    task: TaskName = "detect"

    def check_task(self, task: TaskName) -> None:
        """Raise DetectorError unless the labels suit a network of a task."""
        if task != self.task:
            needs = {"detect": "boxes", "classify": "one class for each image"}
            raise DetectorError(
                f"split {self.split!r} has {needs[self.task]}, the network needs {needs[task]}"
            )

    def __len__(self) -> int:
        return len(self.samples)

    def ground_truth(self) -> dict[str, Any]:
        """Return the ground truth as a COCO annotation dictionary, for pycocotools.

        It is taken from the annotation file where there is one, with its image ids, category ids,
        areas, crowd flags, and the boxes that training leaves out. It holds all classes of the data
        set, whichever of them a model knows, so that metrics agree with those that other tools
        compute from the same annotations.
        """
        if self.annotation_file is not None:
            file = coco.read_file(self.annotation_file)
            image_ids = {sample.image_id for sample in self.samples}
            return coco.ground_truth(file, image_ids, self.original.names)
        return self.original.to_coco()


def open_dataset(
    data: str | Path | DatasetDefinition,
    split: str,
    data_root: Path | None = None,
    names: Sequence[str] | None = None,
    *,
    skip_bad: bool = False,
    limit: int | None = None,
    max_unlabeled: float | None = None,
    known: KnownSizes | None = None,
) -> DetectionDataset:
    """Read and check one split.

    Args:
        data: anything that ``--data`` accepts, or a definition loaded before.
        split: name of the split.
        data_root: replaces the definition's ``path``.
        names: class names of a model, to which the data set's classes are matched by name.
        skip_bad: drop and count unusable label rows and images instead of raising.
        limit: number of images to read, the first ones of the split; None reads all.
        max_unlabeled: largest share of images that may have no label file, and are taken as
            without objects; None takes 0.1 for Pascal VOC XML and 0.9 for YOLO txt.
        known: images that were decoded before and have not changed; None decodes all.

    Raises:
        DetectorError: no such data or split; too many images without a label file; fatal issues of
            images and labels, all of them listed; no class in common with ``names``.
    """
    if not isinstance(data, DatasetDefinition):
        data = load_definition(data, data_root)
    found = find_images(data, split, max_unlabeled)
    chosen = replace(found, images=found.images[:limit])
    checked = check_images(chosen.images, split, known)
    return _dataset(data, split, names, chosen, checked, skip_bad)


def _dataset(
    definition: DatasetDefinition,
    split: str,
    names: Sequence[str] | None,
    found: FoundImages,
    checked: CheckResult,
    skip_bad: bool,
) -> DetectionDataset:
    places, root = definition.places(split), definition.prepared_root()
    issues = found.issues + checked.issues
    json = found.json_files[0] if len(found.json_files) == len(places) == 1 else None
    where = f"split {split!r} of {definition.source}"
    if issues and not skip_bad:
        raise issues_error(issues, where)
    if not checked.samples:
        raise DetectorError(f"no image in split {split!r}", file=definition.source)
    generated = [] if definition.generate is None else [f"images generated in {root}"]
    report = [
        *definition.notes,
        *generated,
        _summary(where, places, checked.samples),
        *found.notes,
        *_repeated_files(found.images),
        *_repairs(found.counts + checked.counts, issues, len(found.images)),
    ]
    if json is not None and any(reason in checked.counts for reason in DROPPED):
        report.append("boxes dropped from training stay in the ground truth for AP")
    category_ids = found.category_ids(definition, split)
    largest = max((file.largest_category_id for file in found.json_files), default=0)
    dataset = DetectionDataset(
        names=definition.names,
        samples=tuple(checked.samples),
        split=split,
        category_ids=category_ids,
        largest_category_id=max(largest, *category_ids),
        annotation_file=None if json is None else json.path,
        report=tuple(report),
        original=GroundTruth(definition.names, tuple(checked.samples), category_ids),
        task=_task(places),
    )
    if names is None:
        pairs = [f"{index} {name}" for index, name in enumerate(dataset.names)]
        return replace(dataset, report=(*report, describe("classes", pairs)))
    return _for_model(dataset, tuple(names))


@dataclass
class FoundImages:
    """Images of a split with the readers of their labels, before the check.

    Attributes:
        images: the images.
        issues: issues that belong to no single image.
        counts: how often each repair was made.
        notes: lines of the report.
        json_files: COCO annotation files, one for each place that has one.
    """

    images: list[AnnotatedImage]
    issues: list[Issue] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    json_files: list[coco.CocoFile] = field(default_factory=list)

    def category_ids(self, definition: DatasetDefinition, split: str) -> tuple[int, ...]:
        """Return the category id of each of the definition's classes."""
        return _category_ids(self.json_files, len(definition.places(split)), definition.names)


def find_images(
    definition: DatasetDefinition,
    split: str,
    max_unlabeled: float | None = None,
    *,
    needs_labels: bool = True,
) -> FoundImages:
    """Find the images of a split and the readers of their labels; none of them is opened yet.

    Args:
        definition: the data set.
        split: name of the split.
        max_unlabeled: largest share of images that may have no label file; see
            :func:`open_dataset`.
        needs_labels: raise if more images have none.

    Raises:
        DetectorError: no such split, folder or file; too many images without a label file.
    """
    places = definition.places(split)
    root = definition.prepared_root()
    if definition.generate is None:
        definition.check_paths(split)
    try:
        found = _find(places, root, definition.names)
        if needs_labels:
            check_unlabeled(found.images, max_unlabeled)
        _leave_out_namesakes(found, definition, split)
    except DetectorError as error:
        message = f"split {split!r}: {error.message}"
        raise error if error.file else DetectorError(message, file=definition.source) from error
    return found


def _find(places: Sequence[Split], root: Path, names: Sequence[str]) -> FoundImages:
    if len(places) == 1:
        return _find_place(places[0], root, names)
    result = FoundImages([])
    for place in places:
        found = _find_place(place, root, names)
        result.images += found.images
        result.issues += found.issues
        result.counts += found.counts
        result.notes += [*describe_negatives(_title(place), found.images), *found.notes]
        result.json_files += found.json_files
    pairs = [(image.path, image.label_file) for image in result.images]
    shared = shared_files((image, file) for image, file in pairs if file is not None)
    result.issues += shared.values()
    result.images = [image for image in result.images if image.path not in shared]
    if len({image.image_id for image in result.images}) < len(result.images):
        result.images = [replace(image, image_id=n) for n, image in enumerate(result.images, 1)]
        if result.json_files:
            result.notes.append(
                "image ids are not unique in the split's annotation files: images are numbered "
                f"1 to {len(result.images)}"
            )
    category_ids = _category_ids(result.json_files, len(places), names)
    if any(coco.category_ids(file, names) != category_ids for file in result.json_files):
        result.notes.append(
            "category ids are not those of each annotation file: classes are numbered "
            f"1 to {len(names)}"
        )
    return result


def _title(place: Split) -> str:
    """Return the path that a person knows a place by."""
    return str(place.list_file or place.image_set or place.images or place.annotations)


def _leave_out_namesakes(found: FoundImages, definition: DatasetDefinition, split: str) -> None:
    """Turn images whose label file is that of an image of another split, too, into issues."""
    shared = images_sharing_labels(found.images, definition, split)
    found.issues += shared.values()
    found.images = [image for image in found.images if image.path not in shared]


def _category_ids(
    files: Sequence[coco.CocoFile], places: int, names: Sequence[str]
) -> tuple[int, ...]:
    """Return the category id of each name: that of all annotation files, or else 1, 2 and so on."""
    found = {coco.category_ids(file, names) for file in files}
    if len(files) == places and len(found) == 1:
        return next(iter(found))
    return tuple(range(1, len(names) + 1))


def _repeated_files(images: Sequence[AnnotatedImage]) -> list[str]:
    """Return a line on image files that a split has several times, or nothing."""
    by_file: dict[str, list[int]] = {}
    for image in images:
        by_file.setdefault(os.path.normpath(image.path), []).append(image.image_id)
    repeated = {file: ids for file, ids in by_file.items() if len(ids) > 1}
    if not repeated:
        return []
    file, ids = next(iter(repeated.items()))
    numbers = ", ".join(map(str, ids[:MAX_IDS])) + (", …" if len(ids) > MAX_IDS else "")
    return [
        f"image files that the split has several times, each with its own labels: "
        f"{len(repeated)}; the first is {file}, with the ids {numbers}"
    ]


def _find_place(place: Split, root: Path, names: Sequence[str]) -> FoundImages:
    find: dict[Format, Callable[[Split, Path, Sequence[str]], FoundImages]] = {
        "YOLO txt": _find_yolo,
        "COCO JSON": _find_coco,
        "Pascal VOC XML": _find_voc,
        "CSV": _find_csv,
        "VIA JSON": _find_via,
        "labelme JSON": _find_labelme,
        "class folders": _find_classes,
        "class list": _find_classes,
    }
    return find[place.format](place, root, names)


def _find_coco(place: Split, root: Path, names: Sequence[str]) -> FoundImages:
    file = coco.read_file(root / str(place.annotations))
    folder = root / (place.images or "")
    located, counts = locate_images(file, folder)
    images, issues = coco.annotated_images(located, folder, names)
    return FoundImages(_part(images, place), issues, counts, json_files=[file])


def _find_voc(place: Split, root: Path, names: Sequence[str]) -> FoundImages:
    folder = root / (place.images or "")
    annotations = root / str(place.annotations)
    issues: list[Issue] = []
    counts: Counter[str] = Counter()
    if place.image_set is None:
        paths = image_files(folder)
        counts[WITHOUT_IMAGE] = voc.labels_without_image(paths, folder, annotations)
    else:
        paths, issues = voc.listed_images(root / place.image_set, folder)
    images, ambiguous = voc.annotated_images(_part(paths, place), folder, annotations, names)
    return FoundImages(images, issues + ambiguous, counts)


def _find_yolo(place: Split, root: Path, names: Sequence[str]) -> FoundImages:
    labels = None if place.labels is None else root / place.labels
    folder: Path | None = None
    issues: list[Issue] = []
    if place.list_file is not None:
        paths, issues, counts = yolo.listed_images(root / place.list_file, root)
    else:
        folder = root / str(place.images)
        paths = image_files(folder)
        stray = yolo.labels_without_image(paths, labels, folder)
        counts = Counter({WITHOUT_IMAGE: stray})
    chosen = _part(paths, place)
    keypoint_columns, notes = yolo.judge_rows(
        chosen, folder, labels, place.kpt_shape, place.polygons
    )
    images = yolo.annotated_images(chosen, len(names), folder, labels, keypoint_columns)
    ambiguous = yolo.images_sharing_labels(paths, folder, labels)
    issues += [ambiguous[image.path] for image in images if image.path in ambiguous]
    images = [image for image in images if image.path not in ambiguous]
    return FoundImages(images, issues, counts, notes)


def _find_csv(place: Split, root: Path, names: Sequence[str]) -> FoundImages:
    file = root / str(place.annotations)
    return _find_listed(place, file, csv_boxes.read_file(file), root, names)


def _find_via(place: Split, root: Path, names: Sequence[str]) -> FoundImages:
    file = root / str(place.via)
    return _find_listed(place, file, via.read_file(file, place.via_class, names), root, names)


def _find_listed(
    place: Split, file: Path, listed: Sequence[ListedImage], root: Path, names: Sequence[str]
) -> FoundImages:
    """Find the images that an annotation file lists."""
    folder = root / (place.images or "")
    images, issues, counts = named_boxes.annotated_images(file, listed, folder, names)
    return FoundImages(_part(images, place), issues, counts)


def _find_labelme(place: Split, root: Path, names: Sequence[str]) -> FoundImages:
    folder = root / str(place.labelme)
    images, issues, counts = labelme.annotated_images(
        folder, root / (place.images or folder), names
    )
    return FoundImages(_part(images, place), issues, counts)


def _find_classes(place: Split, root: Path, names: Sequence[str]) -> FoundImages:
    if place.class_list is not None:
        folder = root / (place.images or "")
        images, issues, counts = classes.images_in_list(root / place.class_list, folder, names)
        return FoundImages(_part(images, place), issues, counts)
    images, issues = classes.images_in_folders(root / str(place.class_folders), names)
    return FoundImages(_part(images, place), issues)


def _part(items: list[Any], place: Split) -> list[Any]:
    """Return the place's part of the items, chosen with its seed; in their original order."""
    if place.part == (0.0, 1.0):
        return items
    start, stop = (round(share * len(items)) for share in place.part)
    if start >= stop:
        share = place.part[1] - place.part[0]
        raise DetectorError(f"{share:.0%} of {len(items)} images rounds to none; add images")
    order = np.random.default_rng(place.seed).permutation(len(items))
    return [items[i] for i in sorted(order[start:stop])]


def _summary(where: str, places: Sequence[Split], samples: Sequence[Sample]) -> str:
    formats = " and ".join(dict.fromkeys(place.format for place in places))
    if _task(places) == "classify":
        return f"{where}: {len(samples)} images, from {formats}"
    boxes = sum(len(sample.class_ids) for sample in samples)
    return f"{where}: {len(samples)} images, {boxes} boxes, from {formats}"


def _task(places: Sequence[Split]) -> TaskName:
    """Return ``classify`` if all places have one class per image, else ``detect``."""
    return "classify" if all(place.task == "classify" for place in places) else "detect"


def _repairs(counts: Counter[str], issues: Sequence[Issue], images: int) -> list[str]:
    """Return one line for each kind of repair; there are issues only with --skip-bad."""
    dropped = sum(issue.drops_image for issue in issues)
    skipped = {
        "images dropped (--skip-bad)": dropped,
        "label rows dropped (--skip-bad)": sum(
            issue.rows for issue in issues if not issue.drops_image
        ),
    }
    repaired = dict(sorted(counts.items()))
    shares = {UNLABELED: f" of {images} ({counts[UNLABELED] / images:.1%})"}
    return [
        f"{name}: {count}{shares.get(name, '')}"
        for name, count in {**repaired, **skipped}.items()
        if count
    ]


def _for_model(dataset: DetectionDataset, names: tuple[str, ...]) -> DetectionDataset:
    """Return a copy with a model's class numbers; objects of other classes are left out."""
    matches = match_names(dataset.names, names)
    if all(match is None for match in matches):
        raise DetectorError(
            f"none of the data's classes ({_some(dataset.names)}) is among the model's "
            f"({_some(names)})"
        )
    unused_id = max(dataset.largest_category_id, *dataset.category_ids) + 1
    ids = {m: i for m, i in zip(matches, dataset.category_ids, strict=True) if m is not None}
    category_ids = tuple(ids.get(index, unused_id + index) for index in range(len(names)))
    samples = tuple(_renumber(sample, matches) for sample in dataset.samples)
    return replace(
        dataset,
        names=names,
        samples=samples,
        category_ids=category_ids,
        report=(*dataset.report, *_mapping_lines(dataset, names, matches)),
    )


def _renumber(sample: Sample, matches: Sequence[int | None]) -> Sample:
    table = np.array([-1 if match is None else match for match in matches], np.int64)
    class_ids = table[sample.class_ids]
    keep = class_ids >= 0
    return replace(
        sample,
        boxes_xyxy=sample.boxes_xyxy[keep],
        class_ids=class_ids[keep],
        crowd=sample.crowd[keep],
        difficult=sample.difficult[keep],
        areas=sample.areas[keep],
    )


def _mapping_lines(
    dataset: DetectionDataset, names: Sequence[str], matches: Sequence[int | None]
) -> list[str]:
    counts = Counter(int(i) for sample in dataset.samples for i in sample.class_ids)
    pairs = [
        f"{name} → {match}" + ("" if names[match] == name else f" {names[match]}")
        for name, match in zip(dataset.names, matches, strict=True)
        if match is not None
    ]
    unmatched = [
        f"{name} ({counts[index]})"
        for index, (name, match) in enumerate(zip(dataset.names, matches, strict=True))
        if match is None
    ]
    absent = [name for index, name in enumerate(names) if index not in matches]
    lines = [describe(f"{len(pairs)} classes matched by name, data → model", pairs)]
    if unmatched:
        title = "not among the model's classes, their objects count as missed"
        lines.append(describe(title, unmatched))
    if absent:
        lines.append(describe("classes of the model that the data lack", absent))
    return lines


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def letterboxed_sizes(dataset: DetectionDataset, size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """Return widths and heights of all boxes, (n, 2), in pixels of a letterboxed input.

    Crowd regions are left out, as in training.

    Args:
        dataset: split whose boxes are measured.
        size_hw: height and width of the input, pixels.
    """
    sizes = [
        (sample.boxes_xyxy[:, 2:] - sample.boxes_xyxy[:, :2])[~sample.crowd]
        * min(size_hw[0] / sample.size_hw[0], size_hw[1] / sample.size_hw[1])
        for sample in dataset.samples
    ]
    return np.concatenate(sizes).astype(np.float64)
