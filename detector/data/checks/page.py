"""The report of a check as an HTML page, with pictures of what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from detector.data.cache import shrink
from detector.data.checks.duplicates import Group
from detector.data.checks.finding import Finding, Place
from detector.data.checks.measure import MeasuredImage
from detector.data.checks.run import CheckedData
from detector.report import page
from detector.utils.drawing import draw_boxes
from detector.utils.errors import DetectorError
from detector.utils.opencv import Image, read_image

MAX_DETAILS = 100
"""Largest number of places of a finding that the page lists; the JSON file has all of them."""

MAX_GROUPS = 12
"""Largest number of groups of duplicates that are shown, the worst ones first."""

MAX_GROUP_PICTURES = 3
"""Largest number of pictures of a group."""

MAX_FINDING_PICTURES = 6
"""Largest number of pictures of a finding."""

PICTURE_SIZE_HW = (320, 320)
"""Size that pictures are shrunk to, pixels."""

SHOWN_KINDS = (
    *("duplicate-boxes", "boxes-of-two-classes", "nested-boxes", "boxes-outside", "clipped-boxes"),
    *("needle-boxes", "tiny-objects", "small-objects", "blank-images", "dark-images"),
    *("bright-images", "blurred-images", "grey-images", "long-images"),
)
"""Kinds of findings whose images are shown."""


def check_page(checked: CheckedData) -> page.Page:
    """Return the page of a checked data set."""
    report = checked.report
    images = {image.path: image for scan in checked.chosen for image in scan.images}
    by_label = {i.label_file: i for i in images.values() if i.label_file is not None}
    sections = [
        page.Section(
            "Findings", report.summary(), [page.Findings(list(map(_shown, report.findings)))]
        ),
        page.Section("Splits", blocks=[_split_table(report.splits)]),
        page.Section("Classes", "Boxes of each class.", [_class_table(report.classes)]),
        page.Section(
            "Sizes of objects", "Shorter side in the network's input.", [_size_table(report.sizes)]
        ),
    ]
    galleries = list(_duplicate_galleries(checked.groups))
    if galleries:
        sections.append(page.Section("Duplicates", "The same picture, side by side.", galleries))
    names = checked.definition.names
    for finding in report.findings:
        if finding.kind in SHOWN_KINDS:
            found = _images_of(finding.places, images, by_label)
            gallery = page.Gallery(list(_pictures(found, names)))
            sections.append(page.Section(finding.message, finding.advice, [gallery]))
    return page.Page(f"Check of {report.source}", sections, "\n".join(report.notes))


def _shown(finding: Finding) -> page.Finding:
    details = [str(place) for place in finding.places[:MAX_DETAILS]]
    more = len(finding.places) - len(details)
    details += [f"… and {more} more (--json FILE lists all)"] if more else []
    return page.Finding(finding.severity, finding.message, finding.advice, details)


def _split_table(splits: Mapping[str, Mapping[str, Any]]) -> page.Table:
    columns = [name for name in next(iter(splits.values()), {}) if name != "median_size_hw"]
    rows: list[list[page.Cell]] = [
        [split, *(_number(numbers[name]) for name in columns), _size(numbers["median_size_hw"])]
        for split, numbers in splits.items()
    ]
    titles = [name.replace("_", " ") for name in columns]
    return page.Table(["split", *titles, "median size"], rows)


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) else None


def _size(size_hw: object) -> str | None:
    return f"{size_hw[1]}×{size_hw[0]} px" if isinstance(size_hw, list) else None


def _class_table(classes: Mapping[str, Mapping[str, int]]) -> page.Table:
    splits = list(next(iter(classes.values()), {}))
    rows: list[list[page.Cell]] = [
        [name, *by_split.values(), sum(by_split.values())] for name, by_split in classes.items()
    ]
    return page.Table(["class", *splits, "all"], rows)


def _size_table(sizes: Mapping[str, int]) -> page.Table:
    total = max(sum(sizes.values()), 1)
    rows = [(text, count, f"{count / total:.1%}") for text, count in sizes.items()]
    return page.Table(["shorter side", "objects", "share"], rows)


def _duplicate_galleries(groups: Sequence[Group]) -> Iterator[page.Gallery]:
    """Yield a row of pictures for each group; those of several splits come first."""
    order = sorted(groups, key=lambda group: (len(group.splits) < 2, group.is_exact))
    for group in order[:MAX_GROUPS]:
        pictures = [
            page.Picture(image_rgb, f"{image.split}: {image.path.name}")
            for image in _of_all_splits(group)
            if (image_rgb := _read(image.path)) is not None
        ]
        if pictures:
            yield page.Gallery(pictures)


def _of_all_splits(group: Group) -> list[MeasuredImage]:
    """Return a few images of a group, the first of each split before others."""
    first = {image.split: image for image in reversed(group.images)}
    others = [image for image in group.images if image is not first[image.split]]
    return [*reversed(first.values()), *others][:MAX_GROUP_PICTURES]


def _images_of(
    places: Sequence[Place],
    images: Mapping[Path, MeasuredImage],
    by_label: Mapping[Path, MeasuredImage],
) -> list[MeasuredImage]:
    found = (images.get(place.file) or by_label.get(place.file) for place in places)
    different = {image.path: image for image in found if image is not None}
    return list(different.values())[:MAX_FINDING_PICTURES]


def _pictures(images: Sequence[MeasuredImage], names: Sequence[str]) -> Iterator[page.Picture]:
    """Yield the images with their boxes."""
    for image in images:
        image_rgb = _read(image.path)
        if image_rgb is None:
            continue
        caption = f"{image.split}: {image.path.name}"
        if image.sample is not None:
            sample = image.sample
            scale = image_rgb.shape[1] / sample.size_hw[1]
            texts = [names[class_id] for class_id in sample.class_ids.tolist()]
            image_rgb = draw_boxes(image_rgb, sample.boxes_xyxy * scale, sample.class_ids, texts)
        yield page.Picture(image_rgb, caption)


def _read(path: Path) -> Image | None:
    with suppress(DetectorError):
        return shrink(read_image(path), PICTURE_SIZE_HW)
    return None
