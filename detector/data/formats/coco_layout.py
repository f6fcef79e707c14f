"""COCO JSON files of a folder without a definition, each with its split and its images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from detector.data.formats import coco
from detector.data.formats.coco_images import check_owner, folder_of_images
from detector.data.formats.folders import files_below, relative_path, visible
from detector.data.formats.left_out import LeftOut
from detector.data.formats.split_words import split_meant, words_of
from detector.data.formats.splits import Split
from detector.utils.errors import DetectorError, shown
from detector.utils.opencv import IMAGE_SUFFIXES

USUAL_PLACES = ("annotations/*.json", "*/*.json")
OTHER_PLACES = ("*.json", "*/*/*.json")
"""Where files are looked for if the folder has no other layout either."""

MAX_NAMESAKES = 8
"""Largest number of files named like images that are read; of more, each belongs to one image."""


def coco_splits(root: Path, patterns: Sequence[str], left_out: LeftOut) -> dict[str, Split]:
    """Return the annotation files of the first pattern that finds any, by split.

    A file whose name means no split, or one that another file has taken, is a split of its own.

    Args:
        root: the data set's folder.
        patterns: of the files below it.
        left_out: gets the annotation files that cannot be used or whose images are missing.

    Raises:
        DetectorError: the images of a file may be in several folders, or belong to another split.
    """
    read: set[Path] = set()
    for pattern in patterns:
        found = sorted(path for path in visible(root, pattern) if not path.is_dir())
        files = _whole_files(root, found)
        files = [file for file in files if file.stem.startswith("instances_")] or files
        splits = _splits(root, [file for file in files if file not in read], left_out)
        read.update(files)
        if splits:
            return splits
    return {}


def _splits(root: Path, files: Sequence[Path], left_out: LeftOut) -> dict[str, Split]:
    splits: dict[str, Split] = {}
    owners: dict[Path, tuple[str | None, Path]] = {}
    for file in files:
        content = _read(file, left_out)
        if content is None or not content.images:
            continue
        path, words = relative_path(file, root), words_of(root, file)
        split = split_meant(words)
        images = folder_of_images(root, content, words)
        if images is None:
            first = shown(content.images[0]["file_name"])
            left_out.without_images.append(
                f"{path} is left out: its first image, {first}, is in no folder here"
            )
            continue
        check_owner(content, root, relative_path(images, root), split, owners)
        names = (split, words[0], path)
        key = next(name for name in names if name and name not in splits)
        splits[key] = Split(annotations=path, images=relative_path(images, root))
    return splits


def _whole_files(root: Path, files: Sequence[Path]) -> list[Path]:
    """Return the files without those that belong to one image each."""
    if len(files) <= MAX_NAMESAKES:
        return list(files)
    stems = {image.stem for image in files_below(root, IMAGE_SUFFIXES)}
    namesakes = {file for file in files if _is_namesake(file, stems)}
    if len(namesakes) <= MAX_NAMESAKES:
        return list(files)
    return [file for file in files if file not in namesakes]


def _is_namesake(file: Path, stems: Collection[str]) -> bool:
    """Return True for ``0.json`` and ``0.png.json`` of an image ``0.png``."""
    inner = Path(file.stem)
    return file.stem in stems or (inner.suffix.lower() in IMAGE_SUFFIXES and inner.stem in stems)


def _read(file: Path, left_out: LeftOut) -> coco.CocoFile | None:
    """Return an annotation file, or None for an unusable one and for another kind of JSON file."""
    try:
        return coco.read_any(file)
    except DetectorError as error:
        left_out.unusable[file] = error
        return None
