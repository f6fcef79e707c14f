"""A split of a data set, read and checked: samples, class names, and the truth for COCO AP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.data.check import DROPPED, check_images
from detector.data.formats import classes, coco, voc, yolo
from detector.data.formats.definition import load_definition
from detector.data.formats.names import describe, match_names
from detector.data.formats.problems import Problem, problems_error
from detector.data.formats.rows import AnnotatedImage, image_files
from detector.data.formats.splits import DatasetDefinition, Split
from detector.settings import TaskName
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError


@dataclass(frozen=True)
class Truth:
    """Samples with the data's own classes, to evaluate against."""

    names: tuple[str, ...]
    samples: tuple[Sample, ...]

    def as_coco(self) -> dict[str, Any]:
        """A COCO annotation dictionary; category ids are 1, 2, …; boxes keep ``difficult``."""
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
                        "category_id": int(sample.class_ids[i]) + 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": float(sample.areas[i]),
                        "iscrowd": int(sample.crowd[i]),
                        "difficult": int(sample.difficult[i]),
                    }
                )
        categories = [{"id": number, "name": name} for number, name in enumerate(self.names, 1)]
        return {"images": images, "annotations": annotations, "categories": categories}


@dataclass(frozen=True)
class DetectionDataset:
    """The labelled images of one split.

    Attributes:
        names: what ``class_ids`` of the samples are indices into: the data's names, or those of
            the model that the data were opened for.
        samples: one for each usable image.
        split: the split's name.
        category_ids: for each of ``names`` its id in the ground truth; an id that neither the
            truth nor the annotation file has where the data lack the class.
        largest_category_id: of the data, those of classes without a name among them.
        annotation_file: the COCO JSON file that the split consists of, if it does.
        report: lines for people: counts, repairs, the mapping of classes.
        truth: the samples as the data number their classes.
        task: whether the labels are boxes, or one class for each image: then a sample has one
            object, which fills its image.
    """

    names: tuple[str, ...]
    samples: tuple[Sample, ...]
    split: str
    category_ids: tuple[int, ...]
    largest_category_id: int
    annotation_file: Path | None
    report: tuple[str, ...]
    truth: Truth
    task: TaskName = "detect"

    def check_task(self, task: TaskName) -> None:
        """Raise DetectorError unless the labels are what a network of that task needs."""
        if task != self.task:
            needs = {"detect": "boxes", "classify": "one class for each image"}
            raise DetectorError(
                f"split {self.split!r} has {needs[self.task]}, the network needs {needs[task]}"
            )

    def __len__(self) -> int:
        return len(self.samples)

    def ground_truth(self) -> dict[str, Any]:
        """The truth in COCO's form, for pycocotools.

        From the annotation file where there is one: its own image and category ids, areas and
        crowd flags, and the boxes that training leaves out. It holds all of the data's classes,
        whatever classes a model knows, so that the metrics are those that anybody gets with the
        same annotations.
        """
        if self.annotation_file is not None:
            file = coco.read_file(self.annotation_file)
            image_ids = {sample.image_id for sample in self.samples}
            return coco.ground_truth(file, image_ids, self.truth.names)
        return self.truth.as_coco()


def open_dataset(
    data: str | Path | DatasetDefinition,
    split: str,
    data_root: Path | None = None,
    names: Sequence[str] | None = None,
    skip_bad: bool = False,
    limit: int | None = None,
) -> DetectionDataset:
    """Read and check one split.

    Args:
        data: what ``--data`` takes, or its definition, loaded before.
        split: the split's name.
        data_root: takes the place of the definition's ``path``.
        names: a model's class names; the data's classes are matched to them by name.
        skip_bad: drop unusable label rows, and unreadable images, and count them.
        limit: read only so many images, the first ones.

    Raises:
        DetectorError: no such data or split; every fatal problem of images and labels, listed;
            no class in common with ``names``.
    """
    if not isinstance(data, DatasetDefinition):
        data = load_definition(data, data_root)
    return _open(data, split, names, skip_bad, limit)


def _open(
    definition: DatasetDefinition,
    split: str,
    names: Sequence[str] | None,
    skip_bad: bool,
    limit: int | None,
) -> DetectionDataset:
    places = definition.places(split)
    root = definition.prepared_root()
    try:
        found = _find(places, root, definition.names)
    except DetectorError as error:
        message = f"split {split!r}: {error.message}"
        raise error if error.file else DetectorError(message, file=definition.source) from error
    checked = check_images(found.images[:limit], split)
    problems, json = found.problems + checked.problems, found.json
    where = f"split {split!r} of {definition.source}"
    if problems and not skip_bad:
        raise problems_error(problems, where)
    if not checked.samples:
        raise DetectorError(f"no image in split {split!r}", file=definition.source)
    drawn = [] if definition.generate is None else [f"the images were drawn into {root}"]
    report = [
        *definition.notes,
        *drawn,
        _summary(where, places, checked.samples),
        *_repairs(found.counts + checked.counts, problems),
    ]
    if json is not None and any(what in checked.counts for what in DROPPED):
        report.append("boxes dropped from training stay in the truth that AP is measured against")
    own_ids = range(1, len(definition.names) + 1)
    dataset = DetectionDataset(
        names=definition.names,
        samples=tuple(checked.samples),
        split=split,
        category_ids=tuple(own_ids) if json is None else coco.category_ids(json, definition.names),
        largest_category_id=len(own_ids) if json is None else json.largest_category_id,
        annotation_file=None if json is None else json.path,
        report=tuple(report),
        truth=Truth(definition.names, tuple(checked.samples)),
        task=_task(places),
    )
    if names is None:
        pairs = [f"{index} {name}" for index, name in enumerate(dataset.names)]
        return replace(dataset, report=(*report, describe("classes", pairs)))
    return _for_model(dataset, tuple(names))


@dataclass
class _Found:
    """Images of a split with the way to their labels, before anything is checked.

    ``json`` is the annotation file if the split consists of exactly one.
    """

    images: list[AnnotatedImage]
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    json: coco.CocoFile | None = None


def _find(places: Sequence[Split], root: Path, names: Sequence[str]) -> _Found:
    if len(places) == 1:
        return _find_place(places[0], root, names)
    result = _Found([])
    for place in places:
        found = _find_place(place, root, names)
        result.images += found.images
        result.problems += found.problems
        result.counts += found.counts
    # Each place has numbered its own images.
    result.images = [replace(image, image_id=n) for n, image in enumerate(result.images, 1)]
    return result


def _find_place(place: Split, root: Path, names: Sequence[str]) -> _Found:
    if place.format == "COCO JSON":
        return _find_coco(place, root, names)
    if place.task == "classify":
        return _find_classes(place, root, names)
    return (_find_voc if place.format == "Pascal VOC XML" else _find_yolo)(place, root, names)


def _find_coco(place: Split, root: Path, names: Sequence[str]) -> _Found:
    file = coco.read_file(root / str(place.annotations))
    images, problems = coco.annotated_images(file, root / (place.images or ""), names)
    return _Found(_part(images, place), problems, json=file)


def _find_voc(place: Split, root: Path, names: Sequence[str]) -> _Found:
    folder = root / (place.images or "")
    problems: list[Problem] = []
    if place.image_set is None:
        paths = image_files(folder)
    else:
        paths, problems = voc.listed_images(root / place.image_set, folder)
    annotations = root / str(place.annotations)
    images, unclear = voc.annotated_images(_part(paths, place), folder, annotations, names)
    return _Found(images, problems + unclear)


def _find_yolo(place: Split, root: Path, names: Sequence[str]) -> _Found:
    labels = None if place.labels is None else root / place.labels
    folder: Path | None = None
    counts: Counter[str] = Counter()
    if place.list_file is not None:
        paths = yolo.listed_images(root / place.list_file, root)
    else:
        folder = root / str(place.images)
        paths = image_files(folder)
        stray = yolo.labels_without_image(paths, labels, folder)
        counts = Counter({"label files without an image": stray})
    images = yolo.annotated_images(_part(paths, place), len(names), folder, labels)
    unclear = yolo.sharing_images(paths, folder, labels)
    problems = [unclear[image.path] for image in images if image.path in unclear]
    return _Found([image for image in images if image.path not in unclear], problems, counts)


def _find_classes(place: Split, root: Path, names: Sequence[str]) -> _Found:
    if place.class_list is not None:
        images, problems = classes.images_in_list(
            root / place.class_list, root / (place.images or ""), names
        )
    else:
        images, problems = classes.images_in_folders(root / str(place.class_folders), names)
    return _Found(_part(images, place), problems)


def _part(items: list[Any], place: Split) -> list[Any]:
    """The given part of the items, shuffled with the place's seed; in their old order."""
    if place.part == (0.0, 1.0):
        return items
    start, stop = (round(share * len(items)) for share in place.part)
    if start >= stop:
        share = place.part[1] - place.part[0]
        raise DetectorError(f"no image is left of {len(items)} for {share:.0%} of them; add images")
    order = np.random.default_rng(place.seed).permutation(len(items))
    return [items[i] for i in sorted(order[start:stop])]


def _summary(where: str, places: Sequence[Split], samples: Sequence[Sample]) -> str:
    formats = " and ".join(dict.fromkeys(place.format for place in places))
    if _task(places) == "classify":
        return f"{where}: {len(samples)} images, from {formats}"
    boxes = sum(len(sample.class_ids) for sample in samples)
    return f"{where}: {len(samples)} images, {boxes} boxes, from {formats}"


def _task(places: Sequence[Split]) -> TaskName:
    """What the labels teach; boxes, where only some of the places have them."""
    return "classify" if all(place.task == "classify" for place in places) else "detect"


def _repairs(counts: Counter[str], problems: Sequence[Problem]) -> list[str]:
    """One line for each kind of repair; problems are there only with --skip-bad."""
    spoilt = sum(problem.spoils_image for problem in problems)
    skipped = {
        "images dropped (--skip-bad)": spoilt,
        "label rows dropped (--skip-bad)": sum(
            problem.rows for problem in problems if not problem.spoils_image
        ),
    }
    repaired = dict(sorted(counts.items()))
    return [f"{what}: {count}" for what, count in {**repaired, **skipped}.items() if count]


def _for_model(dataset: DetectionDataset, names: tuple[str, ...]) -> DetectionDataset:
    """The same data with classes numbered as in a model; objects of other classes are left out."""
    matches = match_names(dataset.names, names)
    if all(match is None for match in matches):
        raise DetectorError(
            f"none of the data's classes ({_some(dataset.names)}) is among the model's "
            f"({_some(names)})"
        )
    unused = max(dataset.largest_category_id, *dataset.category_ids) + 1
    ids = {m: i for m, i in zip(matches, dataset.category_ids, strict=True) if m is not None}
    category_ids = tuple(ids.get(index, unused + index) for index in range(len(names)))
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
    missed = [
        f"{name} ({counts[index]})"
        for index, (name, match) in enumerate(zip(dataset.names, matches, strict=True))
        if match is None
    ]
    idle = [name for index, name in enumerate(names) if index not in matches]
    lines = [describe(f"{len(pairs)} classes matched by name, data → model", pairs)]
    if missed:
        title = "not among the model's classes, their objects count as missed"
        lines.append(describe(title, missed))
    if idle:
        lines.append(describe("classes of the model that the data lack", idle))
    return lines


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def letterboxed_sizes(dataset: DetectionDataset, side: int) -> NDArray[np.float64]:
    """(n, 2) widths and heights of all boxes in pixels of a square input of that side.

    Crowd regions are left out, as they are in training.
    """
    sizes = [
        (sample.boxes_xyxy[:, 2:] - sample.boxes_xyxy[:, :2])[~sample.crowd]
        * (side / max(sample.size_hw))
        for sample in dataset.samples
    ]
    return np.concatenate(sizes).astype(np.float64)
