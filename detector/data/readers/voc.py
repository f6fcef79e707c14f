"""Pascal VOC XML: one file an image. Boxes are used as written, without subtracting 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from detector.data.problems import Problem
from detector.data.readers.rows import (
    LabelledImage,
    LabelRow,
    Labels,
    SizeHW,
    by_stem,
    image_files,
    read_lines,
)
from detector.errors import DetectorError, MissingFileError, nearest
from detector.files import read_limited

MAX_XML_BYTES = 4 << 20
MAX_XML_DEPTH = 32
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass
class Node:
    """An XML element with the line it begins on."""

    tag: str
    line: int
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def child(self, tag: str) -> Node | None:
        """The first child of that name."""
        return next((child for child in self.children if child.tag == tag), None)

    def value(self, tag: str) -> str | None:
        """The text of the first child of that name, stripped; None where it is missing."""
        child = self.child(tag)
        return None if child is None else child.text.strip()


def labelled_images(
    images: Sequence[Path], annotations: Path, names: Sequence[str]
) -> list[LabelledImage]:
    """Pair images with the XML files below a folder that have their stems.

    Raises:
        DetectorError: not one of the images has an XML file.
    """
    files = xml_files(annotations)
    class_ids = {name: index for index, name in enumerate(names)}
    if not any(image.stem in files for image in images):
        raise DetectorError(
            f"not one of {len(images)} images has an XML file; the first was looked for as "
            f"{images[0].stem}.xml",
            file=annotations,
        )
    return [
        LabelledImage(
            image,
            number,
            partial(
                read_labels,
                files.get(image.stem, annotations / f"{image.stem}.xml"),
                class_ids=class_ids,
            ),
        )
        for number, image in enumerate(images, 1)
    ]


def listed_images(image_set: Path, folder: Path) -> tuple[list[Path], list[Problem]]:
    """The images whose stems an image-set list names, one a line, and the lines without one."""
    stems = by_stem(image_files(folder))
    images: list[Path] = []
    problems: list[Problem] = []
    for line, stem in read_lines(image_set):
        image = stems.get(stem) or stems.get(Path(stem).stem)
        if image is None:
            what = f"no image {stem!r} in {folder}"
            problems.append(Problem(image_set, what, line, spoils_image=True))
        else:
            images.append(image)
    return images, problems


def xml_files(folder: Path) -> dict[str, Path]:
    """Stem → XML file, of all below a folder.

    Raises:
        DetectorError: no such folder.
    """
    if not folder.is_dir():
        raise DetectorError("no such folder of annotations", file=folder)
    return by_stem(sorted(folder.rglob("*.xml")))


def read_labels(file: Path, size_hw: SizeHW, class_ids: dict[str, int]) -> Labels:
    """Read one XML file; a missing one means an image without objects."""
    labels = Labels(file)
    try:
        root = read_xml(file)
        if root.tag != "annotation":
            raise DetectorError(f"expected <annotation>, found <{root.tag}>", line=root.line)
    except MissingFileError:
        labels.counts["images without a label file, taken as without objects"] += 1
        return labels
    except DetectorError as error:
        labels.problem(error.message, error.line, spoils_image=True)
        return labels
    if _states_other_size(root, size_hw):
        labels.counts["images whose size is not the one that their labels state"] += 1
    for node in root.children:
        if node.tag == "object":
            try:
                labels.rows.append(_row(node, class_ids))
            except ValueError as error:
                labels.problem(str(error), node.line)
    return labels


def class_names(files: Sequence[Path]) -> list[str]:
    """The names of all objects in XML files, sorted. Unreadable files have none."""
    names: set[str] = set()
    for file in files:
        try:
            root = read_xml(file)
        except DetectorError:
            continue  # the check before training lists it, with its line
        values = (node.value("name") for node in root.children if node.tag == "object")
        names.update(name for name in values if name)
    return sorted(names)


def read_xml(file: Path) -> Node:
    """Read an XML file without document types and entities.

    Raises:
        DetectorError: unreadable, too large, too deep, not well-formed, with a document type.
    """
    return _Reader(file).read(read_limited(file, MAX_XML_BYTES, "an XML file"))


class _Reader:
    """Builds nodes from expat's events: unlike ElementTree, it knows lines."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        # Entities exist only inside a document type, so refusing it refuses entity bombs too.
        self.parser.StartDoctypeDeclHandler = self._refuse_document_type
        self.top = Node("", 0)
        self.open = [self.top]

    def read(self, data: bytes) -> Node:
        try:
            self.parser.Parse(data, True)
        except expat.ExpatError as error:
            reason = expat.errors.messages.get(error.code, "error")
            message = f"XML syntax: {reason}"
            raise DetectorError(message, file=self.file, line=error.lineno) from error
        except (LookupError, ValueError) as error:  # an encoding that Python does not know
            raise DetectorError(f"XML syntax: {error}", file=self.file) from error
        return self.top.children[0]

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.open) > MAX_XML_DEPTH:
            self._fail(f"is nested deeper than {MAX_XML_DEPTH} levels")
        node = Node(tag, self.parser.CurrentLineNumber)
        self.open[-1].children.append(node)
        self.open.append(node)

    def _end(self, tag: str) -> None:
        self.open.pop()

    def _characters(self, text: str) -> None:
        self.open[-1].text += text

    def _refuse_document_type(self, *unused: object) -> None:
        self._fail("has a document type (<!DOCTYPE …>), which annotations do not need")

    def _fail(self, message: str) -> NoReturn:
        raise DetectorError(message, file=self.file, line=self.parser.CurrentLineNumber)


def _row(node: Node, class_ids: dict[str, int]) -> LabelRow:
    """One ``<object>``.

    Raises:
        ValueError: no name, a name that is not a class, no box, corners that are no numbers.
    """
    name = node.value("name")
    if not name:
        raise ValueError("an object without <name>")
    if name not in class_ids:
        hint = nearest(name, class_ids) or f", expected one of: {', '.join(class_ids)}"
        raise ValueError(f"class {name!r} is not among the names{hint}")
    box = node.child("bndbox")
    if box is None:
        raise ValueError(f"an object {name!r} without <bndbox>")
    x1, y1, x2, y2 = (_corner(box, corner) for corner in CORNERS)
    difficult = node.value("difficult") not in (None, "", "0")
    return LabelRow(class_ids[name], (x1, y1, x2, y2), node.line, difficult=difficult)


def _corner(box: Node, name: str) -> float:
    text = box.value(name)
    if text is None:
        raise ValueError(f"a <bndbox> without <{name}>")
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"<{name}>: {text!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"<{name}>: {text!r} is not a finite number")
    return value


def _states_other_size(root: Node, size_hw: SizeHW) -> bool:
    size = root.child("size")
    if size is None:
        return False
    stated = (size.value("height"), size.value("width"))
    if any(value in (None, "", "0") for value in stated):
        return False
    return stated != (str(size_hw[0]), str(size_hw[1]))
