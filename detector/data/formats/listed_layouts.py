"""Layouts of annotation files that list images with boxes and class names: CSV, VIA."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from detector.data.formats import csv_boxes, via
from detector.data.formats.coco import CocoFile
from detector.data.formats.coco_images import folder_of_images
from detector.data.formats.folders import relative_path, visible
from detector.data.formats.left_out import MAX_LEFT_OUT
from detector.data.formats.moved import path_parts
from detector.data.formats.named_boxes import class_names
from detector.data.formats.split_words import split_meant, words_of
from detector.data.formats.splits import Split
from detector.utils.errors import DetectorError, first_names, shown

Found = dict[str, tuple[Split, ...]] | Split
"""Splits by name, or the one place that all images are in."""

LISTED_FORMATS = ("CSV", "VIA JSON")
"""Formats of a place whose labels are one file that lists images with boxes and class names."""

DEPTHS = ("", "*/")
"""Folders below the root that annotation files are looked for in."""


def listed_layout(root: Path) -> Found:
    """Find annotation files that list images, in the folder or in those below it."""
    return _csv_layout(root) or _via_layout(root)


def listed_names(root: Path, places: Sequence[Split]) -> tuple[Sequence[object], str]:
    """Return the class names of such places, and a line that says how they were found."""
    files = sorted({root / str(place.annotations) for place in places if place.via is None})
    if files:
        return csv_boxes.names_of_classes(files, root)
    listed = [via.read_file(root / str(place.via), place.via_class) for place in places]
    names = class_names([image for images in listed for image in images])
    return names, "class names are those of the regions, sorted"


def left_out_files(root: Path, places: Iterable[Split]) -> list[str]:
    """Return a line that names the annotation files that no split reads, if there are any."""
    used = {root / str(place.annotations) for place in places}
    names = [relative_path(file, root) for file in _csv_files(root) if file not in used]
    return [f"boxes of no split, left out: {first_names(names, MAX_LEFT_OUT)}"] if names else []


def _csv_files(root: Path) -> list[Path]:
    return [file for file in _files(root, "*.csv") if csv_boxes.is_of_boxes(file)]


def _csv_layout(root: Path) -> Found:
    return _by_split(
        root,
        _csv_files(root),
        lambda file: [image.name for image in csv_boxes.read_file(file)],
        "annotations",
    )


def _via_layout(root: Path) -> Found:
    return _by_split(
        root,
        [file for file in _files(root, "*.json") if via.is_via_file(file)],
        lambda file: [image.name for image in via.read_file(file)],
        "via",
    )


def _files(root: Path, pattern: str) -> list[Path]:
    found = (path for depth in DEPTHS for path in visible(root, depth + pattern))
    return sorted(path for path in found if path.is_file())


def _by_split(
    root: Path, files: Sequence[Path], image_names: Callable[[Path], list[str]], key: str
) -> Found:
    """Return a place for each annotation file, by the split that its name or folder means.

    Args:
        root: the data set's folder.
        files: the annotation files.
        image_names: function that returns the image paths of a file.
        key: key of a place that names the file.

    Raises:
        DetectorError: two files are of one split, or of none; the images of a file are not found.
    """
    by_split: dict[str | None, Path] = {}
    for file in files:
        split = split_meant(words_of(root, file))
        other = by_split.setdefault(split, file)
        if other != file:
            of = "no split" if split is None else f"split {split!r}"
            first, second = (relative_path(path, root) for path in (other, file))
            raise DetectorError(
                f"{first} and {second} both have boxes of {of}; "
                f"a data.yaml says which: SPLIT: {{{key}: FILE, images: FOLDER}}",
                file=root,
            )
    places = {name: _place(root, file, image_names(file), key) for name, file in by_split.items()}
    if list(places) == [None]:
        return places[None]
    return {name: (place,) for name, place in places.items() if name is not None}


def _place(root: Path, file: Path, names: Sequence[str], key: str) -> Split:
    """Return the place of an annotation file and its images.

    Raises:
        DetectorError: the images are nowhere.
    """
    last_parts = [path_parts(name)[-1] for name in names]
    words = words_of(root, file)
    folder = folder_of_images(root, _images_only(file, names), words)
    folder = folder or folder_of_images(root, _images_only(file, last_parts), words)
    if folder is None:
        raise DetectorError(
            f"its first image, {shown(names[0])}, is in no folder below {root}", file=file
        )
    relative = (relative_path(path, root) for path in (file, folder))
    return Split.model_validate(dict(zip((key, "images"), relative, strict=True)))


def _images_only(file: Path, names: Sequence[str]) -> CocoFile:
    """Return the image paths of an annotation file in the form that COCO's have."""
    return CocoFile(file, [{"file_name": name} for name in names], [], [], 0)
