"""Labels of whole images: a folder of images for each class, or a list of image paths and classes.

Each image gets one object that fills it, so that all other code can treat these images like those
with boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

from detector.data.formats.folders import files_below, visible
from detector.data.formats.issues import Issue
from detector.data.formats.lists import find_listed, searched
from detector.data.formats.names import class_number
from detector.data.formats.rows import (
    AnnotatedImage,
    LabelRow,
    Labels,
    SizeHW,
    has_image,
    image_files,
    read_lines,
)
from detector.utils.errors import nearest, shown
from detector.utils.files import leads_to_file
from detector.utils.opencv import IMAGE_SUFFIXES

ImagesAndIssues = tuple[list[AnnotatedImage], list[Issue]]


def images_in_folders(folder: Path, names: Sequence[str]) -> ImagesAndIssues:
    """Return all images below ``folder/CLASS/``, with an issue for each image that lies elsewhere.

    The classes alternate, so that the first few images show all of them.
    """
    by_class: list[list[Path]] = [[] for _ in names]
    issues: list[Issue] = []
    for path in image_files(folder):
        name, *below = path.relative_to(folder).parts
        if not below:
            issues.append(Issue(path, "is not in the folder of a class", drops_image=True))
        elif name not in names:
            message = f"is in folder {name!r}, which is not a class{_expected(name, names)}"
            issues.append(Issue(path, message, drops_image=True))
        else:
            by_class[names.index(name)].append(path)
    alternating = (
        (class_id, path)
        for turn in zip_longest(*by_class)
        for class_id, path in enumerate(turn)
        if path is not None
    )
    images = [
        _annotated_image(path, n, path, class_id)
        for n, (class_id, path) in enumerate(alternating, 1)
    ]
    return images, issues


def images_in_list(
    list_file: Path, folder: Path, names: Sequence[str]
) -> tuple[list[AnnotatedImage], list[Issue], Counter[str]]:
    """Return a list's images, an issue for each line without a valid class, and amended paths.

    Args:
        list_file: ``path label`` per line; a label is a class name or number, and follows a tab if
            it contains spaces.
        folder: folder of images that are not beside the list.
        names: class names.
    """
    rows: list[tuple[int, str, int]] = []
    issues: list[Issue] = []
    for line, text, label in _rows(list_file):
        class_id = _class_number(label, names)
        if class_id is None:
            message = (
                f"class {shown(label)}{_expected(label, names)}"
                if label
                else "no class after a path"
            )
            issues.append(Issue(list_file, message, line, drops_image=True))
        else:
            rows.append((line, text, class_id))
    listed = find_listed([text for _, text, _ in rows], (list_file.parent, folder))
    images: list[AnnotatedImage] = []
    for number, (path, (line, text, class_id)) in enumerate(
        zip(listed.paths, rows, strict=True), 1
    ):
        if path is None:
            message = f"no image {shown(text)}, {searched(path)}"
            issues.append(Issue(list_file, message, line, drops_image=True))
        else:
            images.append(_annotated_image(path, number, list_file, class_id, line))
    return images, issues, listed.counts


def folder_names(folder: Path) -> list[str]:
    """Return the names of a folder's subfolders that hold images, sorted."""
    # From all images, so that the names agree with those that images_in_folders reads.
    places = (path.relative_to(folder).parts for path in files_below(folder, IMAGE_SUFFIXES))
    return sorted({name for name, *below in places if below})


def list_names(list_file: Path) -> list[str]:
    """Return the classes of a list file: sorted names, or numbers from 0 to the largest."""
    lines = {label: line for line, _, label in _rows(list_file) if label}
    if all(label.isdecimal() for label in lines):
        numbers = (class_number(label, list_file, line) for label, line in lines.items())
        return [str(number) for number in range(max(numbers, default=-1) + 1)]
    return sorted(lines)


def is_list(list_file: Path) -> bool:
    """Return True if the first line of a list file has a label after the image's path.

    Quotes around the whole line are no label; the reader of the list then reports the line.
    """
    if not leads_to_file(list_file):
        return False
    _, text = read_lines(list_file)[0]
    return Path(text.rstrip("'\"")).suffix.lower() not in IMAGE_SUFFIXES


def is_folder(folder: Path) -> bool:
    """Return True if a folder holds folders of images, but no image directly and no YOLO labels."""
    # First the cheap test, which ends at the first image of a folder of many thousands.
    if any(path.suffix.lower() in IMAGE_SUFFIXES for path in visible(folder, "*")):
        return False
    return has_image(folder) and not _has_labels(folder)


def _has_labels(folder: Path) -> bool:
    """Return True if there are YOLO labels: text files in ``labels``, or named like an image.

    Other text files, such as a README.txt, do not count.
    """
    texts = list(files_below(folder, {".txt"}))
    if any("labels" in text.relative_to(folder).parts[:-1] for text in texts):
        return True
    stems = {text.stem for text in texts}
    return bool(stems) and any(p.stem in stems for p in files_below(folder, IMAGE_SUFFIXES))


def _rows(list_file: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line number, path and label of each line; the label is empty if there is none."""
    for line, text in read_lines(list_file):
        path, _, label = text.rpartition("\t") if "\t" in text else text.rpartition(" ")
        bare = Path(text).suffix.lower() in IMAGE_SUFFIXES
        yield (line, text, "") if bare or not path else (line, path.strip(), label.strip())


def _annotated_image(
    path: Path, number: int, file: Path, class_id: int, line: int | None = None
) -> AnnotatedImage:
    return AnnotatedImage(path, number, partial(_whole_image, file, class_id, line))


def _whole_image(file: Path, class_id: int, line: int | None, size_hw: SizeHW) -> Labels:
    height, width = size_hw
    return Labels(file, [LabelRow(class_id, (0.0, 0.0, float(width), float(height)), line)])


def _class_number(label: str, names: Sequence[str]) -> int | None:
    if label in names:
        return names.index(label)
    # float first, since int refuses numbers of more than 4300 digits
    return int(float(label)) if label.isdecimal() and float(label) < len(names) else None


def _expected(name: str, names: Sequence[str]) -> str:
    return nearest(name, names) or f"; expected a name or 0 to {len(names) - 1}"
