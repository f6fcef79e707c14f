"""The folder of a COCO annotation file's images, in a data set without a definition."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from detector.data.formats.coco import CocoFile
from detector.data.formats.folders import folders_in
from detector.data.formats.lists import find_listed
from detector.data.formats.moved import is_path
from detector.data.formats.split_words import split_meant, split_name
from detector.utils.errors import DetectorError
from detector.utils.files import leads_to_file


def locate_images(file: CocoFile, folder: Path) -> tuple[CocoFile, Counter[str]]:
    r"""Return the file with the names under which its images exist, and how many were amended.

    Names that lead nowhere, such as ``images\0.png`` or paths of another machine, are looked for
    by their ends.
    """
    names = [image["file_name"] for image in file.images]
    listed = find_listed(names, (folder,))
    if not listed.counts:
        return file, listed.counts
    images = [
        image if path is None else {**image, "file_name": os.path.relpath(path, folder)}
        for image, path in zip(file.images, listed.paths, strict=True)
    ]
    return replace(file, images=images), listed.counts


def folder_of_images(root: Path, file: CocoFile, words: tuple[str, ...]) -> Path | None:
    """Return the folder that a file's image paths are relative to, or None if there is none.

    Of several folders that hold the first image, the one whose name means the file's split is
    chosen; of those whose names fit equally, the one that holds all images of the file. Only if
    no folder holds it under its whole name are the ends of the name looked for.

    Args:
        root: the data set's folder.
        file: the annotation file.
        words: words of the file's name that may mean a split, the most telling one first.

    Raises:
        DetectorError: several folders fit equally; names two of them.
    """
    first = file.images[0]["file_name"] if file.images else None
    if not is_path(first):
        return None
    folders = list(_folders(root, file.path))
    found = {folder: folder / first for folder in folders if leads_to_file(folder / first)}
    if not found:
        ends = ((folder, find_listed([first], (folder,)).paths[0]) for folder in folders)
        found = {folder: path for folder, path in ends if path is not None and leads_to_file(path)}
    # Several ways to one file, such as links, are one choice.
    holders: dict[str, Path] = {}
    for folder, path in found.items():
        holders.setdefault(os.path.realpath(path), folder)
    ranks = {folder: _rank(root, found[folder], words) for folder in holders.values()}
    best = [folder for folder, rank in ranks.items() if rank == max(ranks.values())]
    if len(best) > 1:
        best = [folder for folder in best if _holds_all(folder, file)] or best
    if len(best) > 1:
        one, other = (os.path.relpath(folder, root) for folder in best[:2])
        raise DetectorError(
            f"its images may be those of {one} or of {other}; a data.yaml says which: "
            f"SPLIT: {{annotations: {os.path.relpath(file.path, root)}, images: {one}}}",
            file=file.path,
        )
    return next(iter(best), None)


def check_owner(
    file: CocoFile,
    root: Path,
    folder: str,
    split: str | None,
    owners: dict[Path, tuple[str | None, Path]],
) -> None:
    """Raise DetectorError if a file of another split has claimed one of the images before.

    Where the folder is named after one of the two splits, the images of the other are missing, and
    its boxes would be paired with these. Folders of no split may hold the images of both.

    Args:
        file: the annotation file.
        root: the data set's folder.
        folder: folder of its images, relative to the root.
        split: split that the file's name means.
        owners: split and annotation file of each image claimed so far, which grows.
    """
    meant = _splits_meant(Path(folder).parts)
    file, _ = locate_images(file, root / folder)
    for image in file.images:
        if not is_path(image["file_name"]):
            continue
        path = root / folder / image["file_name"]
        other, other_file = owners.setdefault(path, (split, file.path))
        if split and other and split != other and meant & {split, other}:
            raise DetectorError(
                f"its image {path} is in {other_file}, which is of split {other!r}, too; expected "
                "images of its own",
                file=file.path,
            )


def _folders(root: Path, file: Path) -> Iterator[Path]:
    yield file.parent
    yield root
    folders = folders_in(root)
    yield from folders
    for folder in folders:
        yield from folders_in(folder)


def _rank(root: Path, image: Path, words: tuple[str, ...]) -> tuple[int, bool]:
    """Return how well the path of an image fits the words of its annotation file.

    First: 3 for a folder of the same name, 2 for the same split, 1 for no split, 0 for another one.
    Second: whether a folder is named after images.
    """
    folders = Path(os.path.relpath(image.parent, root)).parts
    split = split_meant(words)
    meant = _splits_meant(folders)
    if words[0] in folders:
        fit = 3
    elif split in meant:
        fit = 2
    else:
        fit = 0 if meant and split else 1
    return fit, any("images" in folder.lower() for folder in folders)


def _splits_meant(folders: Iterable[str]) -> set[str]:
    return {name for folder in folders if (name := split_name(folder))}


def _holds_all(folder: Path, file: CocoFile) -> bool:
    located, _ = locate_images(file, folder)
    names = [image["file_name"] for image in located.images]
    return all(is_path(name) and leads_to_file(folder / name) for name in names)
