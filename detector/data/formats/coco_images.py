"""The folder of a COCO annotation file's images, in a data set without a definition."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from detector.data.formats.coco import CocoFile
from detector.data.formats.folders import visible
from detector.data.formats.split_words import split_name
from detector.utils.errors import DetectorError
from detector.utils.files import exists


def folder_of_images(root: Path, file: CocoFile, words: tuple[str, ...]) -> Path | None:
    """Return the folder that a file's image paths are relative to, or None if there is none.

    Of several folders that hold the first image, the one whose name means the file's split is
    chosen; of those whose names fit equally, the one that holds all images of the file.

    Args:
        root: the data set's folder.
        file: the annotation file.
        words: words of the file's name that may mean a split, the most telling one first.

    Raises:
        DetectorError: several folders fit equally; names two of them.
    """
    if not file.images:
        return None
    first = file.images[0]["file_name"]
    # Several ways to one file, such as links, are one choice.
    holders: dict[str, Path] = {}
    for folder in _folders(root, file.path):
        if _is_file(folder / first):
            holders.setdefault(os.path.realpath(folder / first), folder)
    ranks = {folder: _rank(root, folder / first, words) for folder in holders.values()}
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
    for image in file.images:
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
    for pattern in ("*", "*/*"):
        yield from sorted(path for path in visible(root, pattern) if path.is_dir())


def _rank(root: Path, image: Path, words: tuple[str, ...]) -> tuple[int, bool]:
    """Return how well the path of an image fits the words of its annotation file.

    First: 3 for a folder of the same name, 2 for the same split, 1 for no split, 0 for another one.
    Second: whether a folder is named after images.
    """
    folders = Path(os.path.relpath(image.parent, root)).parts
    split = next((name for word in words if (name := split_name(word))), None)
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
    return all(_is_file(folder / image["file_name"]) for image in file.images)


def _is_file(path: Path) -> bool:
    return exists(path) and path.is_file()
