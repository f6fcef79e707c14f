"""The error about a folder of no known layout: what it holds, and which layout is nearest."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from detector.data.formats import coco, voc
from detector.data.formats.folders import files_below, relative_path
from detector.data.formats.json_file import read_json
from detector.data.formats.left_out import LeftOut, why_unusable
from detector.data.formats.rows import read_lines
from detector.utils.errors import DetectorError, shown
from detector.utils.opencv import IMAGE_SUFFIXES

MAX_SUFFIXES = 6
"""Largest number of kinds of files that are counted one by one."""

MAX_KEYS = 8
"""Largest number of a JSON file's keys that are named."""

MAX_EXAMPLE_BYTES = 64 << 20
"""Largest JSON file that is read to name its keys."""

EXPECTED = {
    ".json": "COCO JSON, a file with lists of images, annotations and categories",
    ".xml": "Pascal VOC XML, an <annotation> file named like each image",
    ".txt": "YOLO txt, rows of `class x y width height` in a file named like each image, in "
    "labels/ or beside the images",
    ".csv": "CSV, rows path,x1,y1,x2,y2,class or a header with filename, xmin, ymin, xmax, ymax "
    "and class",
}
"""Layouts of boxes by the suffix of their files, and what they need."""

EXPECTED_BY_KEY = {
    "shapes": "labelme JSON, a file named like each image, with imagePath and a list of shapes",
    "imagePath": "labelme JSON, a file named like each image, with imagePath and a list of shapes",
    "regions": "VIA JSON, a file of images with filename and regions each",
}
"""Layouts of JSON files, by a key that no others have."""

EXPECTED_OF_IMAGES = (
    "a folder of images for each class; for boxes, files of labels are missing: txt (YOLO), XML "
    "(Pascal VOC) or JSON (labelme) named like the images, or one file of all: COCO JSON, VIA JSON "
    "or CSV"
)
EXPECTED_OF_NOTHING = "images/ and labels/ (YOLO), a COCO JSON and images, or a data.yaml"


def unknown_layout(root: Path, source: str, inner: str | None, left_out: LeftOut) -> DetectorError:
    """Return the error about a folder whose layout is not known.

    Args:
        root: the folder.
        source: the folder as the user wrote it.
        inner: folder inside it that has a known layout, if there is one.
        left_out: annotation files that could not be used.
    """
    files = sorted(files_below(root, None))
    counts = Counter(file.suffix.lower() or "without suffix" for file in files)
    parts = [
        "neither a data.yaml nor a known layout in this folder, which holds "
        f"{_counted(counts) or 'no files'}",
        *left_out.lines(root),
    ]
    if inner is not None:
        parts.append(f"the folder {inner} in it has one: --data {Path(source) / inner}")
    elif left_out.without_images:
        parts.append("--data takes the folder that holds the images, too")
    else:
        suffix = max(EXPECTED, key=lambda suffix: counts[suffix])
        if counts[suffix]:
            example = next(file for file in files if file.suffix.lower() == suffix)
            if example not in left_out.unusable:
                parts.append(f"{relative_path(example, root)} {_content(example)}")
            expected = _expected_json(example) if suffix == ".json" else EXPECTED[suffix]
        else:
            has_image = not IMAGE_SUFFIXES.isdisjoint(counts)
            expected = EXPECTED_OF_IMAGES if has_image else EXPECTED_OF_NOTHING
        parts.append(f"the nearest layout is {expected}")
    return DetectorError("; ".join(parts), file=source)


def _counted(counts: Counter[str]) -> str:
    """Return the numbers of files of each suffix, images first, then the most frequent."""
    ranked = sorted(counts, key=lambda suffix: (suffix not in IMAGE_SUFFIXES, -counts[suffix]))
    parts = [f"{counts[suffix]} {suffix}" for suffix in ranked[:MAX_SUFFIXES]]
    others = sum(counts[suffix] for suffix in ranked[MAX_SUFFIXES:])
    return ", ".join([*parts, *([f"{others} others"] if others else [])])


def _content(file: Path) -> str:
    """Return what a file of labels holds, in a few words."""
    describe = {".json": _json_content, ".xml": _xml_content}.get(file.suffix.lower(), _first_line)
    try:
        return describe(file)
    except DetectorError as error:
        return why_unusable(error)


def _expected_json(file: Path) -> str:
    """Return the layout whose keys a JSON file has, in itself or in its first record."""
    content = _read_json(file)
    record = next(iter(content.values()), None) if isinstance(content, dict) else None
    keys = [key for part in (content, record) if isinstance(part, dict) for key in part]
    return next((EXPECTED_BY_KEY[key] for key in keys if key in EXPECTED_BY_KEY), EXPECTED[".json"])


def _read_json(file: Path) -> Any:
    """Return the content of a JSON file, or None if it cannot be read."""
    try:
        return read_json(file, MAX_EXAMPLE_BYTES, "a JSON file")
    except DetectorError:
        return None


def _json_content(file: Path) -> str:
    if os.path.exists(file) and os.path.getsize(file) > MAX_EXAMPLE_BYTES:
        return f"has more than {MAX_EXAMPLE_BYTES} bytes, too many to name its keys"
    content = _read_json(file)
    if isinstance(content, list):
        first = next(iter(content), None)
        return f"holds a list, of {_keys(first)}" if isinstance(first, dict) else "holds a list"
    if not isinstance(content, dict) or "annotations" in content:
        coco.read_file(file)  # raises an error that says more
    return f"holds {_keys(content)}"


def _keys(content: object) -> str:
    keys = [shown(key)[1:-1] for key in content] if isinstance(content, dict) else []
    more = ", …" if len(keys) > MAX_KEYS else ""
    return f"the keys {', '.join(keys[:MAX_KEYS])}{more}" if keys else "no keys"


def _xml_content(file: Path) -> str:
    return f"holds <{shown(voc.read_xml(file).tag)[1:-1]}>"


def _first_line(file: Path) -> str:
    return f"begins with {shown(read_lines(file, 'text')[0][1])}"
