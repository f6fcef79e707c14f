"""Lines on what a conversion cannot keep: properties that a format has no place for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.data.formats.coco import EXPECTED, MAX_JSON_BYTES
from detector.data.formats.json_file import read_json
from detector.data.formats.names import match_names
from detector.data.formats.splits import Format, Split
from detector.label_files.writer import Kind
from detector.structures.samples import Sample

IGNORED: dict[Format, str] = {
    "Pascal VOC XML": "pose, truncated, occluded and parts of objects, source and owner of images",
    "labelme JSON": "flags, groups and descriptions",
    "VIA JSON": "attributes other than the class",
    "CSV": "columns other than image, size, class and corners",
}
"""Properties that no reader reads, by format; those of COCO JSON are counted."""

READ_KEYS: dict[str, frozenset[str]] = {
    "images": frozenset(("id", "file_name", "height", "width")),
    "annotations": frozenset(
        ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "difficult")
    ),
    "categories": frozenset(("id", "name")),
}
"""Keys of COCO's records that are read."""

KINDS: dict[Kind, str] = {
    "crowd": "crowd regions left out",
    "difficult": "boxes whose mark 'difficult' is left out",
    "areas": "areas other than that of the box left out",
}

AREA_TOLERANCE = 1e-3
"""Largest relative difference of areas that are the box's."""


def lost_lines(samples: Sequence[Sample], holds: frozenset[Kind], title: str) -> list[str]:
    """Return a line for each property of boxes that some have and a format has no place for.

    Args:
        samples: the images.
        holds: properties that the format has a place for.
        title: the format.
    """
    counts: Counter[Kind] = Counter()
    for sample in samples:
        counts["crowd"] += int(sample.crowd.sum())
        counts["difficult"] += int(sample.difficult.sum())
        counts["areas"] += int((has_own_area(sample) & ~sample.crowd).sum())
    return [
        f"{text}, for which {title} has no place: {counts[kind]}"
        for kind, text in KINDS.items()
        if counts[kind] and kind not in holds
    ]


def has_own_area(sample: Sample) -> NDArray[np.bool_]:
    """Return which boxes, (n,), have an area other than width times height."""
    sizes = sample.boxes_xyxy[:, 2:] - sample.boxes_xyxy[:, :2]
    return np.asarray(~np.isclose(sample.areas, sizes.prod(axis=1), rtol=AREA_TOLERANCE, atol=0))


@dataclass
class CocoRecords:
    """Keys of a COCO file beside those that are read, which another COCO file can keep.

    Attributes:
        top: those of the file, such as ``info`` and ``licenses``.
        images: those of each image, by id.
        categories: those of each category, by name.
    """

    top: dict[str, Any] = field(default_factory=dict)
    images: dict[int, dict[str, Any]] = field(default_factory=dict)
    categories: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of_categories(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return those of the category of each class, which may be spelled otherwise."""
        found = list(self.categories)
        return [
            {} if match is None else self.categories[found[match]]
            for match in match_names(names, found)
        ]


def read_records(file: Path) -> CocoRecords:
    """Return the further keys of a COCO file, which our reader has accepted."""
    content = read_json(file, MAX_JSON_BYTES, EXPECTED)
    return CocoRecords(
        {key: value for key, value in content.items() if key not in READ_KEYS},
        {one["id"]: _further("images", one) for one in content["images"]},
        {one["name"]: _further("categories", one) for one in content["categories"]},
    )


def ignored_lines(places: Sequence[Split], root: Path, keeps_records: bool) -> list[str]:
    """Return lines on what the source states and is not converted.

    Args:
        places: places of a split.
        root: folder that their paths are relative to.
        keeps_records: whether the further keys of images, categories and the file are kept.
    """
    lines = [
        f"not converted from {name}: {text}"
        for name, text in IGNORED.items()
        if any(place.format == name for place in places)
    ]
    for place in places:
        if place.format == "COCO JSON":
            lines += _ignored_of(root / str(place.annotations), keeps_records)
    return lines


def _ignored_of(file: Path, keeps_records: bool) -> list[str]:
    content = read_json(file, MAX_JSON_BYTES, EXPECTED)
    counts = {name: _count_further(name, content[name]) for name in READ_KEYS}
    words = _words(counts["annotations"], "annotations")
    if not keeps_records:
        words += [key for key in content if key not in READ_KEYS]
        words += _words(counts["images"], "images") + _words(counts["categories"], "categories")
    return [f"not converted from {file.name}: {', '.join(words)}"] if words else []


def _count_further(name: str, records: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """Count the records that have each further key with a value."""
    return Counter(key for one in records for key, value in _further(name, one).items() if value)


def _further(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in READ_KEYS[name]}


def _words(counts: Counter[str], title: str) -> list[str]:
    return [f"{key} of {count} {title}" for key, count in counts.items()]
