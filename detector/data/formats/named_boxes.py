"""Images of an annotation file that lists them with boxes and class names, as CSV and VIA do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from detector.data.formats.folders import is_hidden
from detector.data.formats.issues import Issue, other_size
from detector.data.formats.lists import find_listed, searched
from detector.data.formats.names import match_names
from detector.data.formats.rows import AnnotatedImage, Box, LabelRow, Labels, SizeHW, are_fractions
from detector.utils.errors import nearest, shown
from detector.utils.files import leads_to_file
from detector.utils.opencv import IMAGE_SUFFIXES


@dataclass(frozen=True)
class NamedBox:
    """A box, xyxy in pixels, whose class is a name; and its place in the file."""

    class_name: str
    box_xyxy: Box
    line: int | None = None
    title: str = ""
    """Words that name the box in messages, where the file has no lines to name it by."""


@dataclass
class ListedImage:
    """An image as an annotation file lists it.

    Attributes:
        name: its path as written.
        line: line of the file that names it first, or None.
        boxes: its boxes.
        sizes: sizes of the image that the file states, with the first line of each.
        issues: messages and lines of what could not be parsed.
        counts: how often each repair was made.
    """

    name: str
    line: int | None = None
    boxes: list[NamedBox] = field(default_factory=list)
    sizes: dict[SizeHW, int | None] = field(default_factory=dict)
    issues: list[tuple[str, int | None]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def annotated_images(
    file: Path, listed: Sequence[ListedImage], folder: Path, names: Sequence[str]
) -> tuple[list[AnnotatedImage], list[Issue], Counter[str]]:
    """Return a file's images, an issue for each that does not exist, and counts.

    Args:
        file: the annotation file.
        listed: its images.
        folder: folder of images that are not beside the file.
        names: class names.
    """
    found = find_listed([image.name for image in listed], (file.parent, folder))
    class_ids = _class_ids(listed, names)
    images: list[AnnotatedImage] = []
    issues: list[Issue] = []
    for number, (image, path) in enumerate(zip(listed, found.paths, strict=True), 1):
        if path is not None and leads_to_file(path):
            read = partial(_read_labels, file, image, class_ids, tuple(names))
            images.append(AnnotatedImage(path, number, read))
        else:
            message = f"no image {shown(image.name)}, {searched(path)}"
            issues.append(Issue(file, message, image.line, drops_image=True))
    counts = found.counts
    counts[f"images that {file.name} does not name, left out"] = _unnamed(images)
    return images, issues, counts


def class_names(listed: Sequence[ListedImage]) -> list[str]:
    """Return the sorted names of all classes."""
    return sorted({box.class_name for image in listed for box in image.boxes})


def pixels_issue(box_xyxy: Box) -> str | None:
    """Return why a box is not one of pixels, or None."""
    if not are_fractions(box_xyxy[:2], box_xyxy[2:]):
        return None
    values = ", ".join(f"{value:g}" for value in box_xyxy)
    return f"box ({values}) has fractions of the image, expected pixels"


def class_issue(name: object, names: Sequence[str]) -> str:
    """Return the message for a class that is not among the names."""
    hint = nearest(str(name), names) or f", expected one of: {', '.join(names)}"
    return f"class {shown(name)} is not among the names{hint}"


def _class_ids(listed: Sequence[ListedImage], names: Sequence[str]) -> dict[str, int]:
    found = class_names(listed)
    pairs = zip(found, match_names(found, names), strict=True)
    return {name: match for name, match in pairs if match is not None}


def _read_labels(
    file: Path,
    image: ListedImage,
    class_ids: dict[str, int],
    names: Sequence[str],
    size_hw: SizeHW,
) -> Labels:
    labels = Labels(file, counts=Counter(image.counts))
    for stated_hw, line in image.sizes.items():
        if stated_hw != size_hw:
            message = f"image {shown(image.name)}: {other_size(stated_hw, size_hw)}"
            labels.add_issue(message, line, drops_image=True)
    for message, line in image.issues:
        labels.add_issue(message, line)
    for box in image.boxes:
        issue = pixels_issue(box.box_xyxy)
        if box.class_name not in class_ids:
            issue = class_issue(box.class_name, names)
        if issue is not None:
            labels.add_issue(f"{box.title}{issue}", box.line)
        else:
            labels.rows.append(LabelRow(class_ids[box.class_name], box.box_xyxy, box.line))
    return labels


def _unnamed(images: Sequence[AnnotatedImage]) -> int:
    """Count the other images in the folders of some images."""
    named = {image.path for image in images}
    files = (file for folder in {path.parent for path in named} for file in folder.iterdir())
    return sum(
        file not in named and file.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(file.name)
        for file in files
    )
