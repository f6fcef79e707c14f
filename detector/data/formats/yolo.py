"""YOLO txt: one file per image, one row per object: class, center x, y, width, height as fractions.

A row of a polygon (segmentation) is read as the box around it, a row with keypoints as its box:
``yolo_rows.py`` tells them apart.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from detector.data.formats.folders import files_below
from detector.data.formats.issues import Issue
from detector.data.formats.lists import find_listed, searched
from detector.data.formats.moved import path_parts
from detector.data.formats.names import class_number
from detector.data.formats.pairing import shared_files
from detector.data.formats.rows import (
    UNLABELED,
    AnnotatedImage,
    LabelRow,
    Labels,
    SizeHW,
    read_lines,
)
from detector.data.formats.yolo_rows import BOX_COLUMNS, RowJudge, parse_row
from detector.utils.errors import DetectorError, MissingFileError, shown
from detector.utils.files import exists, is_folder, read_text
from detector.utils.opencv import IMAGE_SUFFIXES

MAX_LABEL_BYTES = 16 << 20


def annotated_images(
    images: Sequence[Path],
    class_count: int,
    folder: Path | None = None,
    labels: Path | None = None,
    keypoint_columns: int | None = None,
) -> list[AnnotatedImage]:
    """Pair images with their label files.

    Args:
        images: image files.
        class_count: number of classes; label files use 0 … class_count − 1.
        folder: the folder that was searched for the images; None for images of a list file.
        labels: the folder of label files; None looks for it as :func:`label_path` does.
        keypoint_columns: number of columns of rows with keypoints; None if longer rows are
            polygons.
    """
    files = [label_path(image, folder, labels) for image in images]
    read = partial(read_labels, class_count=class_count, keypoint_columns=keypoint_columns)
    return [
        AnnotatedImage(image, number, partial(read, file), file)
        for number, (image, file) in enumerate(zip(images, files, strict=True), 1)
    ]


def judge_rows(
    images: Sequence[Path],
    folder: Path | None = None,
    labels: Path | None = None,
    kpt_shape: tuple[int, int] | None = None,
    polygons: bool = False,
) -> tuple[int | None, list[str]]:
    """Return the number of columns of rows with keypoints, and a line that counts kinds of rows.

    Args:
        images: image files.
        folder: see :func:`annotated_images`.
        labels: see :func:`annotated_images`.
        kpt_shape: number of keypoints, and values of each, if the definition states them.
        polygons: whether the definition states that longer rows are polygons.

    Raises:
        DetectorError: neither is stated, and the rows do not tell.
    """
    judge = RowJudge()
    for image in images:
        file = label_path(image, folder, labels)
        with contextlib.suppress(DetectorError):  # the check before training reports it
            judge.add(file, _text(file).splitlines())
    if kpt_shape is not None:
        columns: int | None = BOX_COLUMNS + kpt_shape[0] * kpt_shape[1]
    else:
        columns = None if polygons else judge.keypoint_columns()
    return columns, judge.describe(columns)


def images_sharing_labels(
    images: Sequence[Path], folder: Path | None = None, labels: Path | None = None
) -> dict[Path, Issue]:
    """Return an issue for each image that shares its label file with one of another folder."""
    stems = Counter(image.stem for image in images)
    namesakes = [image for image in images if stems[image.stem] > 1]
    return shared_files((image, label_path(image, folder, labels)) for image in namesakes)


def labels_without_image(images: Sequence[Path], labels: Path | None, folder: Path) -> int:
    """Count the label files of a split's label folders that belong to none of its images."""
    wanted = {label_path(image, folder, labels) for image in images}
    folders = {file.parent for file in wanted}
    found = {file for place in folders for file in place.glob("*.txt")}
    return sum(file.name != "classes.txt" for file in found - wanted)


def listed_images(list_file: Path, root: Path) -> tuple[list[Path], list[Issue], Counter[str]]:
    """Return the images of a list file, an issue for each line without one, and amended paths.

    Raises:
        DetectorError: none of the images exists.
    """
    lines = read_lines(list_file)
    listed = find_listed([text for _, text in lines], (list_file.parent, root))
    images = [path for path in listed.paths if path is not None and exists(path)]
    if not images:
        line, text = lines[0]
        raise DetectorError(
            f"none of {len(lines)} listed images exists; the first, {shown(text)}, was "
            f"{searched(listed.paths[0])}{_namesake(text, root)}",
            file=list_file,
            line=line,
        )
    issues = [
        Issue(list_file, f"no image {shown(text)}, {searched(path)}", line, drops_image=True)
        for (line, text), path in zip(lines, listed.paths, strict=True)
        if path is None or not exists(path)
    ]
    return images, issues, listed.counts


def _namesake(text: str, root: Path) -> str:
    """Return words that name an image elsewhere with the name of a listed one, or nothing."""
    name = path_parts(text)[-1:]
    found = (file for file in files_below(root, IMAGE_SUFFIXES) if [file.name] == name)
    file = next(found, None)
    if file is None:
        return ""
    folder = os.path.relpath(file.parent, root)
    return (
        f"; {os.path.relpath(file, root)} has its name; a data.yaml says where its labels are: "
        f"SPLIT: {{images: {folder}, labels: FOLDER}}"
    )


def label_path(image: Path, folder: Path | None = None, labels: Path | None = None) -> Path:
    """Return the path of an image's label file.

    With ``labels``, the image's relative path below that folder. Else the first of these whose
    folder exists: the image's path with its last ``images`` folder replaced by ``labels``; a folder
    ``labels`` beside the image's folder; the image's folder.

    >>> label_path(Path("set/images/train/a.jpg")).as_posix()
    'set/labels/train/a.txt'
    """
    if labels is not None:
        relative = _end_of_path(image, labels) if folder is None else image.relative_to(folder)
        return labels / relative.with_suffix(".txt")
    name = f"{image.stem}.txt"
    places = [image.parent.parent / "labels" / name, image.with_name(name)]
    parts = image.parts
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        places.insert(0, Path(*parts[:last], "labels", *parts[last + 1 : -1], name))
    return next((place for place in places if is_folder(place.parent)), places[0])


def read_labels(
    file: Path, size_hw: SizeHW, class_count: int, keypoint_columns: int | None = None
) -> Labels:
    """Read one label file; a missing file means an image without objects."""
    labels = Labels(file)
    try:
        text = _text(file)
    except MissingFileError:
        labels.counts[UNLABELED] += 1
        return labels
    except DetectorError as error:
        labels.add_issue(error.message, drops_image=True)
        return labels
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                class_id, box_xyxy = parse_row(line, size_hw, class_count, keypoint_columns)
            except ValueError as error:
                labels.add_issue(str(error), number)
            else:
                labels.rows.append(LabelRow(class_id, box_xyxy, number))
    return labels


def largest_class(files: Sequence[Path]) -> int:
    """Return the largest class number in label files, −1 if there is none.

    Raises:
        DetectorError: a number too large for a class; names file and line.
    """
    largest = -1
    for file in files:
        try:
            lines = _text(file).splitlines()
        except DetectorError:
            continue  # the check before training reports it
        for number, line in enumerate(lines, 1):
            first = next(iter(line.split(maxsplit=1)), "")
            if first.isdecimal():
                largest = max(largest, class_number(first, file, number))
    return largest


def _end_of_path(image: Path, labels: Path) -> Path:
    """Return the longest end of an image's path whose folder exists below ``labels``."""
    parts = Path(os.path.normpath(image)).relative_to(image.anchor).parts
    ends = (Path(*parts[start:]) for start in range(len(parts)))
    return next(
        (end for end in ends if ".." not in end.parts and is_folder((labels / end).parent)),
        Path(image.name),
    )


def _text(file: Path) -> str:
    return read_text(file, MAX_LABEL_BYTES, "labels")
