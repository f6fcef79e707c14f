"""Splits of Pascal VOC XML in a folder without a definition."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from detector.data.formats import voc
from detector.data.formats.beside import common_folder
from detector.data.formats.folders import files_below, relative_path, visible
from detector.data.formats.rows import has_image
from detector.data.formats.split_words import split_folder_above, split_name
from detector.data.formats.splits import Split
from detector.utils.opencv import IMAGE_SUFFIXES

LISTED_SPLITS = ("train", "val", "test", "trainval")
"""Names of the lists of VOC that are used; others are those of single classes."""


def has_annotation(folder: Path) -> bool:
    """Return True if there is a Pascal VOC XML file below a folder, not just other XML files."""
    return any(voc.is_annotation(file) for file in files_below(folder, voc.SUFFIXES))


def place_of_all(folder: Path, root: Path) -> Split:
    """Return the place of all images and XML files of a folder."""
    images, annotations = (
        folder / name if (folder / name).is_dir() else folder
        for name in ("JPEGImages", "Annotations")
    )
    return Split(images=relative_path(images, root), annotations=relative_path(annotations, root))


def listed_splits(root: Path) -> dict[str, tuple[Split, ...]]:
    """Return the splits of the lists in ``ImageSets/Main``, of all years below ``VOCdevkit``."""
    splits: dict[str, tuple[Split, ...]] = {}
    for lists in _folders(root, "ImageSets/Main"):
        place = place_of_all(lists.parent.parent, root)
        for name in LISTED_SPLITS:
            file = lists / f"{name}.txt"
            if file.is_file():
                update = {"image_set": relative_path(file, root)}
                splits[name] = (*splits.get(name, ()), place.model_copy(update=update))
    return splits


def splits_of_folders(root: Path) -> dict[str, tuple[Split, ...]]:
    """Return the splits after which folders of XML files are named, such as ``annotations/train``.

    Their images are those of the folder itself; else those of the one folder of images that is
    named after the same split; else those that the XML files name.
    """
    splits: dict[str, tuple[Split, ...]] = {}
    for folder in _split_folders(root):
        name = str(split_name(folder.name))
        splits[name] = (*splits.get(name, ()), _place(root, folder))
    return dict(sorted(splits.items(), key=lambda item: LISTED_SPLITS.index(item[0])))


def _split_folders(root: Path) -> list[Path]:
    """Return the folders that hold XML files and are named after a split; of links, the folder."""
    by_folder: dict[Path, list[Path]] = {}
    for file in files_below(root, voc.SUFFIXES):
        by_folder.setdefault(file.parent, []).append(file)
    labeled = [folder for folder, files in by_folder.items() if any(map(voc.is_annotation, files))]
    above = {found for folder in labeled if (found := split_folder_above(root, folder))}
    unique: dict[str, Path] = {}
    for folder in sorted(above, key=lambda path: (path.is_symlink(), path)):
        unique.setdefault(os.path.realpath(folder), folder)
    return sorted(unique.values())


def _place(root: Path, folder: Path) -> Split:
    annotations = relative_path(folder, root)
    if has_image(folder):
        return Split(images=annotations, annotations=annotations)
    same_split = [
        one
        for one in _folders(root, "*")
        if split_name(one.name) == split_name(folder.name) and has_image(one)
    ]
    same_name = [one for one in same_split if one.name == folder.name]
    for group in (same_name, same_split):
        if len(group) == 1:
            return Split(images=relative_path(group[0], root), annotations=annotations)
    images = {image.parent for image in files_below(root, IMAGE_SUFFIXES)}
    common = relative_path(common_folder(same_split or images or [root]), root)
    return Split(images=common, annotations=annotations, image_set=annotations)


def _folders(root: Path, pattern: str) -> Iterator[Path]:
    """Yield the folders that match a pattern in a folder or up to two levels below it."""
    for above in ("", "*/", "*/*/"):
        yield from sorted(path for path in visible(root, above + pattern) if path.is_dir())
