"""The check of a definition's folders of labels: whether the files are of the format of the key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from detector.data.formats import coco, csv_boxes, via, voc
from detector.data.formats.beside import has_row
from detector.data.formats.converters import FORMATS, check_foreign
from detector.data.formats.folders import files_below, relative_path
from detector.data.formats.labelme import is_labelme_file
from detector.data.formats.pairing import path_below
from detector.data.formats.splits import Format, Split
from detector.utils.errors import DetectorError
from detector.utils.files import read_start

MAX_TRIED = 8
"""Largest number of files of a kind that are opened to find out their format."""


OF_ONE_FORMAT = ("image_set", "kpt_shape", "polygons")
"""Keys of a place that go with a single format."""

MAX_START_BYTES = 1 << 12
"""Length of the beginning of a text file that tells if it is empty."""


class _Kind(NamedTuple):
    """Files by which a format is recognized.

    Attributes:
        format: the format.
        key: key of a place that names such a folder or file.
        suffix: suffix of the files.
        is_one: function from a file to whether it is of the format.
        is_folder: True if the key names the folder, with a file for each image.
    """

    format: Format
    key: str
    suffix: str
    is_one: Callable[[Path], bool]
    is_folder: bool


def _is_yolo_file(file: Path) -> bool:
    """Return True for rows of YOLO txt, or none: those of an image without objects."""
    return has_row(file) or not read_start(file, MAX_START_BYTES).strip()


def _is_coco_file(file: Path) -> bool:
    try:
        return coco.read_any(file) is not None
    except DetectorError:
        return False


KINDS = (
    _Kind("Pascal VOC XML", "annotations", ".xml", voc.is_annotation, True),
    _Kind("YOLO txt", "labels", ".txt", _is_yolo_file, True),
    _Kind("labelme JSON", "labelme", ".json", is_labelme_file, True),
    _Kind("VIA JSON", "via", ".json", via.is_via_file, False),
    _Kind("COCO JSON", "annotations", ".json", _is_coco_file, False),
    _Kind("CSV", "annotations", ".csv", csv_boxes.is_of_boxes, False),
)


def check_label_folder(place: Split, root: Path) -> None:
    """Raise DetectorError for a folder of labels of another format, or of two formats.

    A folder without labels of any format passes: its images may all be without objects.

    Args:
        place: a place of a definition.
        root: the data set's folder.
    """
    own = next((kind for kind in KINDS if kind.is_folder and kind.format == place.format), None)
    value = None if own is None else getattr(place, own.key)
    if own is None or value is None:
        return
    folder = root / value
    files = sorted(files_below(folder, {kind.suffix for kind in KINDS}))
    if _first(own, files) is not None:
        _check_mixture(place, folder, files)
        return
    for kind in KINDS:
        file = _first(kind, files)
        if file is not None:
            inner = "" if kind.is_folder else relative_path(file, folder)
            written = _renamed(place, own.key, kind.key, (Path(value) / inner).as_posix())
            raise DetectorError(
                f"{own.key}: {folder} holds no {own.format}, {file.name} is {kind.format}: "
                f"write {written.as_yaml()}"
            )
    check_foreign(folder, str(folder), FORMATS)


def _check_mixture(place: Split, folder: Path, files: Sequence[Path]) -> None:
    """Raise DetectorError if images without an XML file have one of labelme's."""
    if place.format != "Pascal VOC XML" or place.image_set is not None:
        return
    paths = {path_below(folder, file) for file in files if file.suffix.lower() == ".xml"}
    others = [
        file
        for file in files
        if file.suffix.lower() == ".json" and path_below(folder, file) not in paths
    ]
    if any(map(is_labelme_file, others[:MAX_TRIED])):
        of_xml = place.model_copy(update={"image_set": place.annotations})
        of_json = _renamed(place, "annotations", "labelme", str(place.annotations))
        raise DetectorError(
            f"annotations: {folder} holds {len(paths)} .xml and, of other images, {len(others)} "
            f".json of labelme: write [{of_xml.as_yaml()}, {of_json.as_yaml()}]"
        )


def _first(kind: _Kind, files: Sequence[Path]) -> Path | None:
    """Return the first file of a format, of the first few with its suffix, or None."""
    tried = [file for file in files if file.suffix.lower() == kind.suffix][:MAX_TRIED]
    return next((file for file in tried if kind.is_one(file)), None)


def _renamed(place: Split, old: str, new: str, value: str) -> Split:
    """Return a place whose labels are named by another key, without keys of the old format."""
    kept = place.model_dump(exclude_unset=True, exclude={old, *OF_ONE_FORMAT})
    return Split.model_validate({**kept, new: value})
