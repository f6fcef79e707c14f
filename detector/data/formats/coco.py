"""COCO JSON, read with the file's own image ids, category ids, crowd flags and areas."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detector.data.formats import labelme, via
from detector.data.formats.issues import Issue, other_size
from detector.data.formats.json_file import read_json
from detector.data.formats.lists import searched
from detector.data.formats.moved import is_path
from detector.data.formats.names import match_names
from detector.data.formats.rows import (
    AnnotatedImage,
    LabelRow,
    Labels,
    SizeHW,
    are_fractions,
    is_finite_number,
    stated_size,
)
from detector.data.formats.segmentation import COMPUTED, mask_size, with_box
from detector.utils.errors import DetectorError, nearest, shown

BOX_VALUES = 4
EXPECTED = "a COCO annotation file"
KEYS = frozenset({"images", "annotations", "categories"})
MIN_KEYS = 2
"""Smallest number of these keys by which content is taken for COCO JSON, which may be invalid."""

FLAGS = ("iscrowd", "difficult")
"""Keys of annotations that are 0 or 1; the second is written by converters from Pascal VOC."""

OTHERS = {
    "via: FILE": (via.is_via, "VIA"),
    "labelme: FOLDER": (labelme.is_labelme, "labelme"),
}
"""JSON files of other formats: what a definition says in place of ``annotations: FILE``."""

MAX_JSON_BYTES = 4 << 30


@dataclass(frozen=True)
class CocoFile:
    """A COCO annotation file whose top-level structure has been validated.

    Attributes:
        path: the file.
        images: records with ``id`` and ``file_name``.
        annotations: records, each not yet validated.
        categories: records with ``id`` and ``name``. Some tools write a first category that only
            groups the others (their supercategory); it is left out unless annotations use it.
        largest_category_id: largest id of all categories in the file.
    """

    path: Path
    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    largest_category_id: int

    def class_names(self) -> list[str]:
        """Return the category names in the order of their ids."""
        return [c["name"] for c in sorted(self.categories, key=lambda c: int(c["id"]))]


def read_file(path: Path) -> CocoFile:
    """Read an annotation file.

    Raises:
        DetectorError: unreadable, not JSON (names the line), or without COCO's lists of records.
    """
    return _parse(path, read_json(path, MAX_JSON_BYTES, EXPECTED))


def read_any(path: Path) -> CocoFile | None:
    """Read a JSON file, or return None for content of another kind.

    Raises:
        DetectorError: unreadable, not JSON (names the line), or invalid COCO JSON.
    """
    content = read_json(path, MAX_JSON_BYTES, EXPECTED)
    is_coco = isinstance(content, dict) and len(KEYS & content.keys()) >= MIN_KEYS
    return _parse(path, content) if is_coco else None


def _parse(path: Path, content: Any) -> CocoFile:
    """Return an annotation file of valid content.

    Raises:
        DetectorError: it is not COCO JSON, or has invalid records.
    """
    for key, (is_other, title) in OTHERS.items():
        if is_other(content):
            raise DetectorError(
                f"is a file of {title}, expected {EXPECTED}; a definition names it as {key}",
                file=path,
            )
    images = _records(path, content, "images", {"id": int, "file_name": str})
    annotations = _records(path, content, "annotations", {})
    categories = _records(path, content, "categories", {"id": int, "name": str})
    for name, records in (("image", images), ("category", categories)):
        duplicates = [value for value, n in Counter(r["id"] for r in records).items() if n > 1]
        if duplicates:
            raise DetectorError(f"{name} id {duplicates[0]} appears twice", file=path)
    return CocoFile(
        path,
        images,
        annotations,
        _without_groups(categories, annotations),
        max((category["id"] for category in categories), default=0),
    )


def _without_groups(
    categories: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Leave out categories that only group others and have no annotations of their own."""
    used = {_category_id(annotation) for annotation in annotations}
    children: dict[Any, set[int]] = {}
    for category in categories:
        children.setdefault(str(category.get("supercategory")), set()).add(category["id"])
    return [
        category
        for category in categories
        if category["id"] in used or not children.get(category["name"], set()) - {category["id"]}
    ]


def annotated_images(
    file: CocoFile, folder: Path, names: Sequence[str]
) -> tuple[list[AnnotatedImage], list[Issue]]:
    """Return the images of an annotation file, and the issues that belong to no single image."""
    category_names = [category["name"] for category in file.categories]
    matches = match_names(category_names, names)
    ids = [category["id"] for category in file.categories]
    class_ids = {i: match for i, match in zip(ids, matches, strict=True) if match is not None}
    issues = _unmatched(file, class_ids, names)
    unmatched = set(ids) - class_ids.keys()
    by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in file.images}
    for annotation in file.annotations:
        image_id = annotation.get("image_id")
        if isinstance(image_id, int) and image_id in by_image:
            if _category_id(annotation) not in unmatched:  # reported once per category
                by_image[image_id].append(annotation)
        else:
            message = f"{_title(annotation)}: image_id {image_id!r} is not among the images"
            issues.append(Issue(file.path, message))
    issues += [
        Issue(
            file.path, f"no image {shown(image['file_name'])}, {searched(None)}", drops_image=True
        )
        for image in file.images
        if not is_path(image["file_name"])
    ]
    images = [
        AnnotatedImage(
            folder / image["file_name"],
            image["id"],
            partial(
                _read_labels,
                file.path,
                image=image,
                annotations=by_image[image["id"]],
                class_ids=class_ids,
            ),
        )
        for image in file.images
        if is_path(image["file_name"])
    ]
    return images, issues


def category_ids(file: CocoFile, names: Sequence[str]) -> tuple[int, ...]:
    """Return the file's category id of each name; an unused id for a name that the file lacks."""
    matches = match_names(names, [category["name"] for category in file.categories])
    unused = file.largest_category_id + 1
    ids: list[int] = []
    for match in matches:
        ids.append(unused if match is None else file.categories[match]["id"])
        unused += match is None
    return tuple(ids)


def ground_truth(file: CocoFile, image_ids: set[int], names: Sequence[str]) -> dict[str, Any]:
    """Return the file's own records of some images and classes, as ground truth for pycocotools.

    Missing areas and crowd flags are filled in, invalid annotations are left out, and annotation
    ids are renumbered unless they are unique and positive (pycocotools mistakes id 0 for
    "no match").
    """
    matches = match_names([category["name"] for category in file.categories], names)
    pairs = zip(file.categories, matches, strict=True)
    categories = [category for category, match in pairs if match is not None]
    category_ids = {category["id"] for category in categories}
    annotations = [
        {"iscrowd": 0, "area": annotation["bbox"][2] * annotation["bbox"][3], **annotation}
        for annotation in _usable_annotations(file, category_ids)
        if annotation["image_id"] in image_ids
    ]
    ids = [annotation.get("id") for annotation in annotations]
    if not all(isinstance(i, int) and i > 0 for i in ids) or len(set(ids)) < len(ids):
        annotations = [{**a, "id": number} for number, a in enumerate(annotations, 1)]
    images = [image for image in file.images if image["id"] in image_ids]
    return {"images": images, "annotations": annotations, "categories": categories}


def _usable_annotations(file: CocoFile, category_ids: set[int]) -> Iterator[dict[str, Any]]:
    for annotation in file.annotations:
        if isinstance(annotation.get("image_id"), int):  # --skip-bad keeps what cannot be hashed
            with contextlib.suppress(ValueError):
                yield _checked(annotation, category_ids)


def _checked(annotation: dict[str, Any], category_ids: set[int]) -> dict[str, Any]:
    """Return an annotation that can be used, with the box around its segmentation if it has none.

    Raises:
        ValueError: it cannot be used; says why.
    """
    if _category_id(annotation) not in category_ids:
        category = shown(annotation.get("category_id"))
        raise ValueError(f"category_id {category} is out of range: it is not among the categories")
    annotation = with_box(annotation)
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != BOX_VALUES:
        raise ValueError(f"bbox {shown(box)}, expected 4 numbers [x, y, width, height]")
    if not all(is_finite_number(value) for value in box):
        raise ValueError(f"bbox {shown(box)} has a value that is not a finite number")
    if are_fractions(box[:2], box[2:]):
        raise ValueError(f"bbox {shown(box)} has fractions of the image, expected pixels")
    if not is_finite_number(annotation.get("area", 0)):
        raise ValueError(f"area {shown(annotation['area'])} is not a finite number")
    for key in FLAGS:
        if annotation.get(key, 0) not in (0, 1):
            raise ValueError(f"{key} {shown(annotation[key])}, expected 0 or 1")
    return annotation


def _read_labels(
    file: Path,
    size_hw: SizeHW,
    image: dict[str, Any],
    annotations: list[dict[str, Any]],
    class_ids: dict[int, int],
) -> Labels:
    labels = Labels(file)
    stated_hw = stated_size(image.get("height"), image.get("width"))
    if stated_hw and stated_hw != size_hw:
        labels.add_issue(
            f"{image['file_name']}: {other_size(stated_hw, size_hw)}", drops_image=True
        )
    known = set(class_ids)
    for annotation in annotations:
        title = f"{_title(annotation)} of {image['file_name']}"
        try:
            checked = _checked(annotation, known)
        except ValueError as error:
            labels.add_issue(f"{title}: {error}")
            continue
        if checked is not annotation:
            labels.counts[COMPUTED] += 1
            mask_hw = mask_size(annotation)
            if mask_hw and mask_hw != size_hw:
                labels.add_issue(f"{title}: {other_size(mask_hw, size_hw)}", drops_image=True)
        x, y, w, h = checked["bbox"]
        labels.rows.append(
            LabelRow(
                class_ids[annotation["category_id"]],
                (x, y, x + w, y + h),
                crowd=bool(annotation.get("iscrowd", 0)),
                difficult=bool(annotation.get("difficult", 0)),
                area=annotation.get("area"),
            )
        )
    return labels


def _unmatched(file: CocoFile, class_ids: dict[int, int], names: Sequence[str]) -> list[Issue]:
    """Return one issue for each category that has annotations but is not among the names."""
    counts = Counter(_category_id(annotation) for annotation in file.annotations)
    return [
        Issue(
            file.path,
            f"category {category['name']!r} ({counts[category['id']]} annotations) is not among "
            f"the names{nearest(category['name'], names)}",
            rows=counts[category["id"]],
        )
        for category in file.categories
        if category["id"] not in class_ids and counts[category["id"]]
    ]


def _records(path: Path, content: Any, key: str, fields: dict[str, type]) -> list[dict[str, Any]]:
    """Return the list of records under a key, after validating the fields of each."""
    records = content.get(key) if isinstance(content, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DetectorError(f"no list of {key!r}, expected {EXPECTED}", file=path)
    for index, record in enumerate(records):
        for name, kind in fields.items():
            value = record.get(name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise DetectorError(
                    f"{key}[{index}]: {name} is {shown(value)}, expected {kind.__name__}",
                    file=path,
                )
    return records


def _category_id(annotation: dict[str, Any]) -> int | None:
    value = annotation.get("category_id")
    return value if isinstance(value, int) else None


def _title(annotation: dict[str, Any]) -> str:
    return f"annotation {annotation.get('id', 'without id')}"
