"""JSON of labelme and of tools that write the same, such as X-AnyLabeling: one file per image.

``imageData``, a copy of the image, is never decoded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from detector.data.formats.folders import files_below
from detector.data.formats.issues import Issue, other_size
from detector.data.formats.json_file import read_json
from detector.data.formats.moved import is_image_path, path_parts
from detector.data.formats.named_boxes import class_issue, pixels_issue
from detector.data.formats.outlines import box_around, box_around_ellipse, numbers, outlines_counted
from detector.data.formats.pairing import Match, Pairing, path_below
from detector.data.formats.rows import (
    AnnotatedImage,
    Box,
    LabelRow,
    Labels,
    SizeHW,
    image_files,
    stated_size,
)
from detector.utils.errors import DetectorError, shown
from detector.utils.files import leads_to_file
from detector.utils.opencv import IMAGE_SUFFIXES

SUFFIXES = frozenset({".json"})
MAX_LABELME_BYTES = 1 << 28
"""Largest file that is read; it may hold a copy of its image."""

MAX_TRIED = 8
"""Largest number of files of a folder that are read to find out if they are labelme's."""

MIN_POINTS = {"rectangle": 2, "polygon": 3, "circle": 2, "rotation": 4, "mask": 2}
"""Shapes that have a box, and the smallest number of points of each; a circle's are its center and
one on its edge."""

BOXES = ("rectangle", "mask")
"""Shapes that are boxes: the points of a mask are the corners of its box."""

EXPECTED = "a labelme annotation file"

ImagesAndIssues = tuple[list[AnnotatedImage], list[Issue], Counter[str]]


def is_labelme(content: Any) -> bool:
    """Return True for the content of a labelme file."""
    is_mapping = isinstance(content, dict) and "imagePath" in content
    return is_mapping and isinstance(content.get("shapes"), list)


def is_labelme_file(file: Path) -> bool:
    """Return True for a labelme file, False for another or unreadable one."""
    try:
        _read(file)
    except DetectorError:
        return False
    return True


def annotated_images(folder: Path, images: Path, names: Sequence[str]) -> ImagesAndIssues:
    """Pair labelme files with images; a file whose image is missing or ambiguous is an issue.

    An image has its file's relative path, or its name if that is unique; or else it is the one
    that the file names.

    Args:
        folder: the folder of labelme files.
        images: the folder of images.
        names: class names.

    Raises:
        DetectorError: no labelme file, or no image.
    """
    files = _json_files(folder)
    found = image_files(images)
    pairing = Pairing(images, found, [path_below(folder, file) for file in files])
    class_ids = {name: index for index, name in enumerate(names)}
    annotated: list[AnnotatedImage] = []
    issues: list[Issue] = []
    counts: Counter[str] = Counter()
    for file in files:
        match = pairing.find(path_below(folder, file))
        try:
            path = match.file or _named_image(file, match)
        except DetectorError as error:
            issues.append(Issue(file, error.message, error.line, drops_image=True))
            continue
        if path is None:
            counts["JSON files that are not labelme's, left out"] += 1
        else:
            read = partial(read_labels, file, path, class_ids=class_ids)
            annotated.append(AnnotatedImage(path, len(annotated) + 1, read, file))
    if not annotated and not issues:
        raise DetectorError("no labelme file in this folder", file=folder)
    named = {image.path for image in annotated}
    counts["images without a labelme file, left out"] = sum(path not in named for path in found)
    return annotated, issues, counts


def folders_of_files(root: Path) -> list[Path]:
    """Return the folders that hold labelme files, sorted."""
    by_folder: dict[Path, list[Path]] = {}
    for file in files_below(root, SUFFIXES):
        by_folder.setdefault(file.parent, []).append(file)
    return sorted(folder for folder, files in by_folder.items() if _any_is_labelme(files))


def class_names(folders: Sequence[Path]) -> list[str]:
    """Return the sorted names of all shapes in labelme files; unreadable files are skipped."""
    names: set[str] = set()
    for file in (file for folder in folders for file in _json_files(folder)):
        try:
            content = _read(file)
        except DetectorError:
            continue  # the check before training reports it
        labels = (shape.get("label") for shape in content["shapes"] if isinstance(shape, dict))
        names.update(label for label in labels if isinstance(label, str) and label)
    return sorted(names)


def read_labels(file: Path, image: Path, size_hw: SizeHW, class_ids: dict[str, int]) -> Labels:
    """Read the labels of one labelme file.

    Args:
        file: the file.
        image: its image.
        size_hw: size of the image, pixels.
        class_ids: number of each class.
    """
    labels = Labels(file)
    try:
        content = _read(file)
    except DetectorError as error:
        labels.add_issue(error.message, error.line, drops_image=True)
        return labels
    other = _stated_image(file, content)
    if other is not None and leads_to_file(other) and not other.samefile(image):
        message = f"imagePath: {other}, but the image of its name is {image}, expected the same"
        labels.add_issue(message, drops_image=True)
    stated_hw = stated_size(content.get("imageHeight"), content.get("imageWidth"))
    if stated_hw and stated_hw != size_hw:
        labels.add_issue(other_size(stated_hw, size_hw), drops_image=True)
    for index, shape in enumerate(content["shapes"]):
        try:
            class_id, kind, box_xyxy = _parse_shape(shape, class_ids)
        except ValueError as error:
            labels.add_issue(f"shapes[{index}]: {error}")
            continue
        labels.rows.append(LabelRow(class_id, box_xyxy))
        if kind not in BOXES:
            labels.counts[outlines_counted(kind)] += 1
    return labels


def _read(file: Path) -> dict[str, Any]:
    """Read a labelme file.

    Raises:
        DetectorError: unreadable, too large, not JSON (names the line), or not a labelme file.
    """
    content = read_json(file, MAX_LABELME_BYTES, EXPECTED)
    if not is_labelme(content):
        raise DetectorError(
            f"no list of 'shapes' and no 'imagePath', expected {EXPECTED}", file=file
        )
    return dict(content)


def _json_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DetectorError("no such folder of labelme files", file=folder)
    return sorted(files_below(folder, SUFFIXES))


def _any_is_labelme(files: Sequence[Path]) -> bool:
    """Return True if any of the first files of a folder is labelme's, those of images first."""
    names = {path.stem for path in files[0].parent.iterdir() if _is_image(path)}
    tried = sorted(files, key=lambda path: (path.stem not in names, path))[:MAX_TRIED]
    return any(map(is_labelme_file, tried))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _named_image(file: Path, match: Match) -> Path | None:
    """Return the image that a labelme file names, or None for a JSON file of another kind.

    Raises:
        DetectorError: the file is not JSON, or the image does not exist.
    """
    content = read_json(file, MAX_LABELME_BYTES, EXPECTED)
    if not is_labelme(content):
        return None
    path = _stated_image(file, content)
    if path is not None and leads_to_file(path):
        return path
    if match.files:
        others = " or ".join(map(str, match.files[:2]))
        raise DetectorError(f"its image may be {others}, and there is none at {path}", file=file)
    raise DetectorError(f"no image {file.stem!r}, and none at {path}", file=file)


def _stated_image(file: Path, content: dict[str, Any]) -> Path | None:
    """Return the path of the image that a file states, relative to the file, or None."""
    name = content["imagePath"]
    if not is_image_path(name):
        return None
    return file.parent / ("/" if name.startswith("/") else "") / "/".join(path_parts(name))


def _parse_shape(shape: Any, class_ids: dict[str, int]) -> tuple[int, str, Box]:
    """Return class number, kind and box of one shape.

    Raises:
        ValueError: a label that is not a class, a shape that has no box, invalid points.
    """
    if not isinstance(shape, dict):
        raise ValueError(f"{shown(shape)}, expected a shape")
    label = shape.get("label")
    if not isinstance(label, str) or label not in class_ids:
        raise ValueError(class_issue(label, tuple(class_ids)))
    kind = shape.get("shape_type") or "polygon"  # which old versions do not write
    if not isinstance(kind, str) or kind not in MIN_POINTS:
        raise ValueError(f"shape_type {shown(kind)}, expected one of: {', '.join(MIN_POINTS)}")
    points = shape.get("points")
    if not isinstance(points, list):
        raise ValueError(f"points: {shown(points)}, expected a list")
    box_xyxy = _box(kind, [_point(point) for point in points])
    issue = pixels_issue(box_xyxy)
    if issue is not None:
        raise ValueError(issue)
    return class_ids[label], kind, box_xyxy


def _point(values: Any) -> tuple[float, float]:
    """Return a point.

    Raises:
        ValueError: it is not a pair of finite numbers.
    """
    point = tuple(numbers(values, "points"))
    try:
        x, y = point
    except ValueError:
        raise ValueError(f"points: {shown(values)}, expected pairs of numbers") from None
    return x, y


def _box(kind: str, points: Sequence[tuple[float, float]]) -> Box:
    """Return the box around the points of a shape.

    Raises:
        ValueError: a number of points that the shape cannot have.
    """
    fewest = MIN_POINTS[kind]
    if len(points) < fewest or (kind == "circle" and len(points) != fewest):
        raise ValueError(f"points: {len(points)}, expected {fewest} of a {kind}")
    if kind == "circle":
        center, edge = points
        radius = math.dist(center, edge)
        return box_around_ellipse(center, (radius, radius))
    return box_around([x for x, _ in points], [y for _, y in points])
