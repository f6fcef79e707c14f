"""One class an image: a folder of images for each class, or a list of image paths and classes.

An image's class is that of one object that fills the image, so that everything else treats these
images as it treats those with boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

from detector.data.formats.folders import files_below, visible
from detector.data.formats.names import class_number
from detector.data.formats.problems import Problem
from detector.data.formats.rows import (
    AnnotatedImage,
    LabelRow,
    Labels,
    SizeHW,
    has_image,
    image_files,
    listed_path,
    read_lines,
)
from detector.utils.errors import nearest, shown
from detector.utils.opencv import IMAGE_SUFFIXES

Found = tuple[list[AnnotatedImage], list[Problem]]


def images_in_folders(folder: Path, names: Sequence[str]) -> Found:
    """All images below ``folder/CLASS/``; one that lies elsewhere is a problem.

    The classes come in turns, so that the first few images show all of them.
    """
    by_class: list[list[Path]] = [[] for _ in names]
    problems: list[Problem] = []
    for path in image_files(folder):
        name, *below = path.relative_to(folder).parts
        if not below:
            problems.append(Problem(path, "lies in no class's folder", spoils_image=True))
        elif name not in names:
            what = f"lies in {name!r}, which is no class{_expected(name, names)}"
            problems.append(Problem(path, what, spoils_image=True))
        else:
            by_class[names.index(name)].append(path)
    in_turns = (
        (class_id, path)
        for turn in zip_longest(*by_class)
        for class_id, path in enumerate(turn)
        if path is not None
    )
    images = [_labelled(path, n, path, class_id) for n, (class_id, path) in enumerate(in_turns, 1)]
    return images, problems


def images_in_list(list_file: Path, folder: Path, names: Sequence[str]) -> Found:
    """Images of a list, each with its class's name or number.

    Args:
        list_file: ``path label`` a line; a tab comes before a label with spaces.
        folder: where images are that do not lie beside the list.
        names: class names.
    """
    images: list[AnnotatedImage] = []
    problems: list[Problem] = []
    for line, text, label in _rows(list_file):
        class_id = _class_number(label, names)
        if class_id is None:
            what = (
                f"class {shown(label)}{_expected(label, names)}"
                if label
                else "no class after a path"
            )
            problems.append(Problem(list_file, what, line, spoils_image=True))
            continue
        path = listed_path(text, list_file.parent, folder)
        images.append(_labelled(path, len(images) + 1, list_file, class_id, line))
    return images, problems


def folder_names(folder: Path) -> list[str]:
    """Names of the folders in a folder that hold images, sorted."""
    # All images are gone through, so that the names are those that the images will be read under.
    places = (path.relative_to(folder).parts for path in files_below(folder, IMAGE_SUFFIXES))
    return sorted({name for name, *below in places if below})


def list_names(list_file: Path) -> list[str]:
    """The classes in a list: names, sorted, or 0 … the largest number."""
    lines = {label: line for line, _, label in _rows(list_file) if label}
    if all(label.isdecimal() for label in lines):
        numbers = (class_number(label, list_file, line) for label, line in lines.items())
        return [str(number) for number in range(max(numbers, default=-1) + 1)]
    return sorted(lines)


def is_list(list_file: Path) -> bool:
    """Whether a list's first line has something behind the image's path."""
    if not list_file.is_file():
        return False
    _, text = read_lines(list_file)[0]
    return Path(text).suffix.lower() not in IMAGE_SUFFIXES


def is_folder(folder: Path) -> bool:
    """Whether a folder holds folders of images, no image of its own, and no YOLO labels."""
    # A folder of a hundred thousand images says so with its first one.
    if any(path.suffix.lower() in IMAGE_SUFFIXES for path in visible(folder, "*")):
        return False
    return has_image(folder) and not _has_labels(folder)


def _has_labels(folder: Path) -> bool:
    """Whether there are YOLO labels: a text in a folder ``labels``, or with an image's name.

    Others, such as a README.txt, say nothing about the images.
    """
    texts = list(files_below(folder, {".txt"}))
    if any("labels" in text.relative_to(folder).parts[:-1] for text in texts):
        return True
    stems = {text.stem for text in texts}
    return bool(stems) and any(p.stem in stems for p in files_below(folder, IMAGE_SUFFIXES))


def _rows(list_file: Path) -> Iterator[tuple[int, str, str]]:
    """Line number, path and label of each line; an empty label where there is none."""
    for line, text in read_lines(list_file):
        path, _, label = text.rpartition("\t") if "\t" in text else text.rpartition(" ")
        bare = Path(text).suffix.lower() in IMAGE_SUFFIXES
        yield (line, text, "") if bare or not path else (line, path.strip(), label.strip())


def _labelled(
    path: Path, number: int, file: Path, class_id: int, line: int | None = None
) -> AnnotatedImage:
    return AnnotatedImage(path, number, partial(_whole_image, file, class_id, line))


def _whole_image(file: Path, class_id: int, line: int | None, size_hw: SizeHW) -> Labels:
    height, width = size_hw
    return Labels(file, [LabelRow(class_id, (0.0, 0.0, float(width), float(height)), line)])


def _class_number(label: str, names: Sequence[str]) -> int | None:
    if label in names:
        return names.index(label)
    # A float first: unlike an int it may have any number of digits.
    return int(float(label)) if label.isdecimal() and float(label) < len(names) else None


def _expected(name: str, names: Sequence[str]) -> str:
    return nearest(name, names) or f"; expected a name or 0 to {len(names) - 1}"
