"""JSON of the VGG Image Annotator (VIA), versions 1 and 2: a project, or its annotations alone.

A region's class is one of its attributes, whose name the user of the tool has chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from detector.data.formats.json_file import read_json
from detector.data.formats.moved import is_image_path
from detector.data.formats.named_boxes import ListedImage, NamedBox
from detector.data.formats.outlines import (
    box_around,
    box_around_ellipse,
    number,
    numbers,
    outlines_counted,
)
from detector.data.formats.rows import Box
from detector.utils.errors import DetectorError, nearest, shown
from detector.utils.files import read_start

MAX_VIA_BYTES = 1 << 29
MAX_START_BYTES = 1 << 16
"""Length of the beginning of a file by which other files than VIA's are recognized."""

PROJECT_KEY = "_via_img_metadata"
SIGNS = (PROJECT_KEY, "filename")
"""Keys of which the beginning of a VIA file has one."""

SHAPES = ("rect", "polygon", "circle", "ellipse")
EXPECTED = "a VIA annotation file"

Region = tuple[str, Any]
"""Place of a region in the file, as messages name it, and its content."""


def is_via(content: Any) -> bool:
    """Return True for the content of a VIA file."""
    if not isinstance(content, dict) or not content:
        return False
    records = content.get(PROJECT_KEY, content)
    return isinstance(records, dict) and all(
        isinstance(record, dict) and {"filename", "regions"} <= record.keys()
        for record in records.values()
    )


def is_via_file(file: Path) -> bool:
    """Return True for a VIA file with images, False for another or unreadable one.

    Most other files, which may be large, are told by their beginnings.
    """
    start = read_start(file, MAX_START_BYTES).lstrip()
    if not start.startswith("{") or not any(f'"{sign}"' in start for sign in SIGNS):
        return False
    try:
        content = read_json(file, MAX_VIA_BYTES, EXPECTED)
    except DetectorError:
        return False
    return is_via(content) and bool(content.get(PROJECT_KEY, content))


def read_file(
    file: Path, class_attribute: str | None = None, names: Sequence[str] = ()
) -> list[ListedImage]:
    """Return the images of a VIA file.

    Args:
        file: the file.
        class_attribute: name of the attribute that is a region's class; None finds it.
        names: class names. A single one is the class of all regions where none has attributes.

    Raises:
        DetectorError: unreadable, not JSON (names the line), not a VIA file, without images, or
            with several attributes that may be the class.
    """
    content = read_json(file, MAX_VIA_BYTES, EXPECTED)
    if not is_via(content):
        raise DetectorError(
            f"no images with 'filename' and 'regions', expected {EXPECTED}", file=file
        )
    records = list(content.get(PROJECT_KEY, content).values())
    if not records:
        raise DetectorError("is empty, expected images", file=file)
    groups = [(record["filename"], list(_regions(file, record))) for record in records]
    regions = [region for _, group in groups for _, region in group]
    attribute = _class_attribute(file, regions, class_attribute)
    if attribute is None and regions and len(names) != 1:
        raise DetectorError(
            f"none of {len(regions)} regions has an attribute that says its class; a data.yaml "
            "with one name gives it to all of them: names: [NAME], SPLIT: {via: FILE, images: "
            "FOLDER}",
            file=file,
        )
    return [_image(file, name, group, attribute, names) for name, group in groups]


def _class_attribute(file: Path, regions: Sequence[Any], stated: str | None) -> str | None:
    """Return the attribute that is the class: the stated one, the only one, or that of all regions.

    Raises:
        DetectorError: no region has the stated one; several may be the class, or none.
    """
    counts = Counter(name for region in regions for name in _attributes(region))
    if stated is not None:
        if stated not in counts:
            raise DetectorError(
                f"no region has the attribute {stated!r}{nearest(stated, counts)}", file=file
            )
        return stated
    common = [name for name, count in counts.items() if count == len(regions)]
    candidates = list(counts) if len(counts) == 1 else common
    if len(candidates) == 1 or not counts:
        return next(iter(candidates), None)
    named = " or ".join(f"{name!r} (in {counts[name]})" for name in sorted(candidates or counts))
    raise DetectorError(
        f"the class of its {len(regions)} regions may be the attribute {named}; a data.yaml says "
        "which: SPLIT: {via: FILE, via_class: ATTRIBUTE, images: FOLDER}",
        file=file,
    )


def _attributes(region: Any) -> dict[str, Any]:
    """Return the attributes of a region that have a value."""
    attributes = region.get("region_attributes") if isinstance(region, dict) else None
    if not isinstance(attributes, dict):
        return {}
    return {name: value for name, value in attributes.items() if value not in ("", None, {})}


def _regions(file: Path, record: dict[str, Any]) -> Iterator[Region]:
    """Yield the regions of an image, which are a list, or in version 1 a mapping.

    Raises:
        DetectorError: they are neither.
    """
    regions = record["regions"]
    if not isinstance(regions, (list, dict)):
        found = f"{shown(record['filename'])}: regions: {shown(regions)}"
        raise DetectorError(f"{found}, expected a list or a mapping", file=file)
    pairs: Iterable[tuple[Any, Any]] = (
        regions.items() if isinstance(regions, dict) else enumerate(regions)
    )
    for key, region in pairs:
        yield f"regions[{key}]", region


def _image(
    file: Path, name: Any, regions: Sequence[Region], attribute: str | None, names: Sequence[str]
) -> ListedImage:
    """Return an image with the boxes of its regions.

    Raises:
        DetectorError: the image has no file name.
    """
    if not is_image_path(name):
        raise DetectorError(f"filename: {shown(name)}, expected the name of an image", file=file)
    image = ListedImage(name)
    for place, region in regions:
        title = f"{shown(name)}: {place}: "
        try:
            kind, box = _shape(region)
            class_name = names[0] if attribute is None else _class_name(region, attribute)
        except ValueError as error:
            image.issues.append((f"{title}{error}", None))
            continue
        image.boxes.append(NamedBox(class_name, box, title=title))
        if kind != "rect":
            image.counts[outlines_counted(kind)] += 1
    return image


def _class_name(region: Any, attribute: str) -> str:
    """Return the class of a region: a text, or the one box of several that is checked.

    Raises:
        ValueError: the region has no class, or several.
    """
    value = _attributes(region).get(attribute)
    if isinstance(value, dict):
        checked = [name for name, is_checked in value.items() if is_checked is True]
        if len(checked) != 1:
            raise ValueError(f"{attribute}: {len(checked)} classes, expected one")
        value = checked[0]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{attribute}: {shown(value)}, expected the name of a class")
    return value.strip()


def _shape(region: Any) -> tuple[str, Box]:
    """Return the kind of a region's shape, and the box around it.

    Raises:
        ValueError: a shape that has no box, or with values that are not numbers.
    """
    shape = region.get("shape_attributes") if isinstance(region, dict) else None
    kind = shape.get("name") if isinstance(shape, dict) else None
    if not isinstance(shape, dict) or kind not in SHAPES:
        raise ValueError(f"shape {shown(kind)}, expected one of: {', '.join(SHAPES)}")
    if kind == "polygon":
        xs, ys = (numbers(shape.get(key), key) for key in ("all_points_x", "all_points_y"))
        return kind, box_around(xs, ys)
    keys = {"rect": "x y width height", "circle": "cx cy r", "ellipse": "cx cy rx ry"}[kind]
    first, second, *sizes = (number(shape.get(key), key) for key in keys.split())
    if kind == "rect":
        return kind, (first, second, first + sizes[0], second + sizes[1])
    angle = number(shape.get("theta", 0), "theta")
    return kind, box_around_ellipse((first, second), (sizes[0], sizes[-1]), angle)
