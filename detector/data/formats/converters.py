"""Annotation formats that are not read: how each is recognised, and which converter reads it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detector.data.formats.folders import relative_path, visible
from detector.data.formats.splits import BOX_FORMATS
from detector.utils.errors import DetectorError
from detector.utils.files import read_start

MAX_SIGN_BYTES = 1 << 16
"""Length of the beginning of a file by which its format is recognised."""

MAX_TRIED = 8
"""Largest number of files of a pattern that are opened."""

NEW = "NEW"
"""Name of the converted folder or file in a command."""


@dataclass(frozen=True)
class Foreign:
    """A format that is not read.

    Attributes:
        name: name of the format.
        patterns: paths below the data set's folder that such a set has.
        is_sign: function from such a path to whether it is of that format.
        command: shell command that converts it, with ``{root}`` and ``{file}``; "": none is known.
        package: package that holds the command, with its licence.
    """

    name: str
    patterns: tuple[str, ...]
    is_sign: Callable[[Path], bool]
    command: str = ""
    package: str = "datumaro[cli] (MIT)"


def check_foreign(root: Path, source: str, formats: Sequence[Foreign]) -> None:
    """Raise DetectorError for a folder in a known format that is not read; names a converter.

    Args:
        root: the folder.
        source: the folder as the user wrote it, for messages.
        formats: the formats to look for.
    """
    for foreign in formats:
        for file in _some_paths(root, foreign.patterns):
            if foreign.is_sign(file):
                raise DetectorError(_message(foreign, root, file), file=source)


def _message(foreign: Foreign, root: Path, file: Path) -> str:
    found = f"{relative_path(file, root)} is {foreign.name}, which is not read"
    if not foreign.command:
        return f"{found}; no converter is known, expected one of: {', '.join(BOX_FORMATS)}"
    paths = {"root": shlex.quote(str(root)), "file": shlex.quote(str(file))}
    command = foreign.command.format(**paths)
    return f"{found}; {foreign.package} converts it: {command}"


def _some_paths(root: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        yield from sorted(visible(root, pattern))[:MAX_TRIED]


def _datumaro(name: str) -> str:
    return f"datum convert -i {{root}} -if {name} -f coco -o {NEW} -- --save-media"


def _start(file: Path) -> str:
    return read_start(file, MAX_SIGN_BYTES)


def _holds_keys(*keys: str, first: str = "") -> Callable[[Path], bool]:
    """Return a function that tells if the beginning of a JSON file has some keys.

    Args:
        keys: the keys.
        first: character that the file begins with; "" accepts any.
    """

    def is_sign(file: Path) -> bool:
        start = _start(file).lstrip()
        return start.startswith(first) and all(f"{json.dumps(key)}:" in start for key in keys)

    return is_sign


def is_cvat(file: Path) -> bool:
    """Return True for a CVAT XML file, of any size."""
    return "<annotations>" in _start(file)


def _is_open_images(file: Path) -> bool:
    header = _start(file).partition("\n")[0]
    return {"ImageID", "LabelName", "XMin"} <= set(header.strip().split(","))


def _is_via_csv(file: Path) -> bool:
    return _start(file).startswith("filename,file_size,file_attributes,region_count,")


JSON_FILES = ("*.json", "*/*.json", "*/*/*.json")

FORMATS: tuple[Foreign, ...] = (
    Foreign("KITTI", ("label_2", "*/label_2"), Path.is_dir, _datumaro("kitti_detection")),
    Foreign("DOTA with turned boxes", ("labelTxt", "*/labelTxt"), Path.is_dir),
    Foreign(
        "WIDER FACE",
        ("wider_face_*_bbx_gt.txt", "*/wider_face_*_bbx_gt.txt"),
        Path.is_file,
        f"{_datumaro('wider_face')} (with the text in wider_face_split/)",
    ),
    Foreign(
        "CVAT XML",
        ("*.xml", "*/*.xml"),
        is_cvat,
        f"globox convert {{file}} {NEW}.json -f cvat -F coco -A",
        "globox (MIT)",
    ),
    Foreign(
        "Open Images",
        ("*.csv", "*/*.csv"),
        _is_open_images,
        f"{_datumaro('open_images')} (with class descriptions and image ids beside the boxes)",
    ),
    Foreign(
        "CSV of VIA",
        ("*.csv", "*/*.csv"),
        _is_via_csv,
        "Annotation > Export Annotations (as json)",
        "VIA itself (BSD)",
    ),
    Foreign(
        "Supervisely",
        ("*/ann/*.json",),
        _holds_keys("objects", "size"),
        'python -c "import sys, supervisely; supervisely.convert.project_to_coco(sys.argv[1], '
        f"'{NEW}', copy_images=True)\" {{root}}",
        "supervisely (Apache-2.0)",
    ),
    Foreign(
        "CreateML",
        ("_annotations.createml.json", "*/_annotations.createml.json"),
        Path.is_file,
        _datumaro("roboflow_create_ml"),
    ),
    Foreign("CreateML", JSON_FILES, _holds_keys("coordinates", "annotations", first="[")),
    Foreign(
        "VoTT JSON",
        ("*-export.json", "*/*-export.json"),
        _holds_keys("assets"),
        _datumaro("vott_json"),
    ),
    Foreign(
        "Label Studio JSON",
        JSON_FILES,
        _holds_keys("data", "annotations", "result", first="["),
        f"label-studio-converter export -i {{file}} -c CONFIG.xml -o {NEW} -f COCO "
        "(with the project's labelling interface as CONFIG.xml)",
        "label-studio-converter (Apache-2.0)",
    ),
    Foreign(
        "BDD100K",
        JSON_FILES,
        _holds_keys("name", "labels", "box2d"),
        f"python -m bdd100k.label.to_coco -m det -i {{file}} -o {NEW}.json",
        "bdd100k (BSD)",
    ),
)
"""Formats in the order in which they are tried; those with the surest sign come first."""

CONTAINERS: tuple[Foreign, ...] = (
    Foreign(
        "TFRecord",
        ("*.tfrecord", "*/*.tfrecord"),
        Path.is_file,
        _datumaro("tf_detection_api"),
        "datumaro[cli,tf] (MIT)",
    ),
    Foreign("parquet with columns of its own", ("*.parquet", "*/*.parquet"), Path.is_file),
)
"""Files that hold the images, too. A folder may have them beside a layout that is read."""
