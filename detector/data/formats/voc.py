"""Pascal VOC XML: one file per image. Boxes are used as written, without subtracting 1."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeGuard
from xml.parsers import expat

from detector.data.formats.converters import is_cvat
from detector.data.formats.folders import files_below
from detector.data.formats.issues import Issue, other_size
from detector.data.formats.pairing import Match, Pairing, path_below
from detector.data.formats.rows import (
    UNLABELED,
    AnnotatedImage,
    LabelRow,
    Labels,
    SizeHW,
    are_fractions,
    image_files,
    parse_number,
    read_lines,
)
from detector.utils.errors import DetectorError, MissingFileError, nearest, shown
from detector.utils.files import read_limited
from detector.utils.opencv import IMAGE_SUFFIXES

SUFFIXES = frozenset({".xml"})
MAX_XML_BYTES = 4 << 20
MAX_XML_DEPTH = 32
MAX_DIGITS = 9
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Entry(NamedTuple):
    """An entry of an image set: where it is, its text, and the path of an image without suffix."""

    file: Path
    line: int | None
    text: str
    path: str


@dataclass
class XmlElement:
    """An XML element, with the line that it starts on."""

    tag: str
    line: int
    text: str = ""
    children: list[XmlElement] = field(default_factory=list)

    def child(self, tag: str) -> XmlElement | None:
        """Return the first child with a tag, or None."""
        return next((child for child in self.children if child.tag == tag), None)

    def value(self, tag: str) -> str | None:
        """Return the stripped text of the first child with a tag, or None."""
        child = self.child(tag)
        return None if child is None else child.text.strip()


def annotated_images(
    images: Sequence[Path], folder: Path, annotations: Path, names: Sequence[str]
) -> tuple[list[AnnotatedImage], list[Issue]]:
    """Pair images with XML files; an image whose file is ambiguous becomes an issue.

    Args:
        images: requested images of the folder.
        folder: the folder of images.
        annotations: the folder of XML files. A file has its image's relative path; its image's name
            suffices if no other image and no other file has that name.
        names: class names.

    Raises:
        DetectorError: no such folder.
    """
    # Pair all images of the folder: whether a name is ambiguous must not depend on the request.
    by_path = {path_below(folder, image): image for image in image_files(folder)}
    pairing = Pairing(annotations, xml_files(annotations), by_path)
    class_ids = {name: index for index, name in enumerate(names)}
    matches = [pairing.find(path_below(folder, image)) for image in images]
    annotated: list[AnnotatedImage] = []
    issues: list[Issue] = []
    for number, (image, match) in enumerate(zip(images, matches, strict=True), 1):
        own = annotations / f"{path_below(folder, image)}.xml"
        if match.is_ambiguous:
            message = f"{_choices(match, by_path)}, expected {own}"
            issues.append(Issue(image, message, drops_image=True))
        else:
            read = partial(read_labels, match.file or own, class_ids=class_ids)
            annotated.append(AnnotatedImage(image, number, read, match.file or own))
    return annotated, issues


def label_files(images: Sequence[Path], folder: Path, annotations: Path) -> list[tuple[Path, Path]]:
    """Return images, each with its XML file, which need not exist; ambiguous ones are left out.

    Args:
        images: see :func:`annotated_images`.
        folder: see :func:`annotated_images`.
        annotations: see :func:`annotated_images`.
    """
    paired, _ = annotated_images(images, folder, annotations, [])
    return [(image.path, image.label_file) for image in paired if image.label_file is not None]


def labels_without_image(images: Sequence[Path], folder: Path, annotations: Path) -> int:
    """Count the annotations that belong to none of the images.

    Args:
        images: all images of the folder.
        folder: see :func:`annotated_images`.
        annotations: see :func:`annotated_images`.
    """
    used = {file for _, file in label_files(images, folder, annotations)}
    return sum(file not in used and is_annotation(file) for file in xml_files(annotations))


def listed_images(image_set: Path, folder: Path) -> tuple[list[Path], list[Issue]]:
    """Return the images of an image set, and an issue for each entry without an image.

    Args:
        image_set: a list, of which a line is an image's path below the folder, or its name if that
            is unique, with or without suffix; or a folder of XML files named like the images.
        folder: folder of images.
    """
    files = image_files(folder)
    if image_set.is_dir():
        paths = ((file, path_below(image_set, file)) for file in xml_files(image_set))
        entries = [_Entry(file, None, path, path) for file, path in paths]
    else:
        known = {stem for file in files for stem in (path_below(folder, file), file.stem)}
        lines = read_lines(image_set)
        entries = [_Entry(image_set, line, text, _listed(text, known)) for line, text in lines]
    pairing = Pairing(folder, files, (path for *_, path in entries))
    images: list[Path] = []
    issues: list[Issue] = []
    for file, line, text, path in entries:
        match = pairing.find(path)
        if match.file is not None:
            images.append(match.file)
            continue
        message = f"no image {shown(text)} in {folder}"
        if len(match.files) > 1:
            message = f"{text!r} may be {_either(match.files)}, expected a path below {folder}"
        elif match.files:
            message += f"; {match.files[0]} may also be {match.rivals[0]!r}"
        issues.append(Issue(file, message, line, drops_image=True))
    return images, issues


def xml_files(folder: Path) -> list[Path]:
    """Return all XML files below a folder, sorted by path.

    Raises:
        DetectorError: no such folder.
    """
    if not folder.is_dir():
        raise DetectorError("no such folder of annotations", file=folder)
    return sorted(files_below(folder, SUFFIXES))


def is_annotation(file: Path) -> bool:
    """Return True if an XML file is a VOC annotation; an unreadable file counts as one.

    A file of CVAT never does, though it may be too large to be read.
    """
    try:
        return read_xml(file).tag == "annotation"
    except DetectorError:
        return not is_cvat(file)


def read_labels(file: Path, size_hw: SizeHW, class_ids: dict[str, int]) -> Labels:
    """Read the labels of one XML file; a missing file means an image without objects."""
    labels = Labels(file)
    try:
        root = read_xml(file)
        if root.tag != "annotation":
            raise DetectorError(f"expected <annotation>, found <{root.tag}>", line=root.line)
    except MissingFileError:
        labels.counts[UNLABELED] += 1
        return labels
    except DetectorError as error:
        labels.add_issue(error.message, error.line, drops_image=True)
        return labels
    stated_hw = _stated_size(root)
    if stated_hw and stated_hw != size_hw:
        labels.add_issue(other_size(stated_hw, size_hw), drops_image=True)
    for element in root.children:
        if element.tag == "object":
            try:
                labels.rows.append(_row(element, class_ids))
            except ValueError as error:
                labels.add_issue(str(error), element.line)
    return labels


def class_names(files: Sequence[Path]) -> list[str]:
    """Return the sorted names of all objects in XML files; unreadable files are skipped."""
    names: set[str] = set()
    for file in files:
        try:
            root = read_xml(file)
        except DetectorError:
            continue  # the check before training reports it, with its line
        values = (element.value("name") for element in root.children if element.tag == "object")
        names.update(name for name in values if name)
    return sorted(names)


def read_xml(file: Path) -> XmlElement:
    """Read an XML file; document types, and so entities, are refused.

    Raises:
        DetectorError: unreadable, too large, nested too deeply, not well-formed, or with a document
            type.
    """
    return _Reader(file).read(read_limited(file, MAX_XML_BYTES, "an XML file"))


def _listed(text: str, known: Collection[str]) -> str:
    """Return a line of an image set as a path, without the suffix of an image or label file."""
    path = Path(text)
    has_suffix = path.suffix.lower() in IMAGE_SUFFIXES | SUFFIXES and path.as_posix() not in known
    return (path.with_suffix("") if has_suffix else path).as_posix()


def _choices(match: Match, by_path: Mapping[str, Path]) -> str:
    """Describe an ambiguous match: the candidate files, or the images that share a candidate."""
    if len(match.files) > 1:
        return f"its labels may be {_either(match.files)}"
    return f"{match.files[0]} may be its labels or those of {by_path[match.rivals[0]]}"


def _either(files: Sequence[Path]) -> str:
    first, second, *more = files
    return f"{first} or {second}" + (f" or {len(more)} more" if more else "")


class _Reader:
    """Builder of an element tree from expat's events, which have line numbers."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        # Entities are declared in a document type: refusing it refuses entity expansion attacks.
        self.parser.StartDoctypeDeclHandler = self._refuse_document_type
        self.top = XmlElement("", 0)
        self.open = [self.top]

    def read(self, data: bytes) -> XmlElement:
        try:
            self.parser.Parse(data, True)
        except expat.ExpatError as error:
            reason = expat.errors.messages.get(error.code, "error")
            message = f"XML syntax: {reason}"
            raise DetectorError(message, file=self.file, line=error.lineno) from error
        except (LookupError, ValueError) as error:  # unknown encoding
            raise DetectorError(f"XML syntax: {error}", file=self.file) from error
        return self.top.children[0]

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.open) > MAX_XML_DEPTH:
            self._fail(f"is nested deeper than {MAX_XML_DEPTH} levels")
        element = XmlElement(tag, self.parser.CurrentLineNumber)
        self.open[-1].children.append(element)
        self.open.append(element)

    def _end(self, tag: str) -> None:
        self.open.pop()

    def _characters(self, text: str) -> None:
        self.open[-1].text += text

    def _refuse_document_type(self, *unused: object) -> None:
        self._fail("has a document type (<!DOCTYPE …>), which annotations do not need")

    def _fail(self, message: str) -> NoReturn:
        raise DetectorError(message, file=self.file, line=self.parser.CurrentLineNumber)


def _row(element: XmlElement, class_ids: dict[str, int]) -> LabelRow:
    """Parse one ``<object>``.

    Raises:
        ValueError: no name, a name that is not a class, no box, corners that are not numbers.
    """
    name = element.value("name")
    if not name:
        raise ValueError("an object without <name>")
    if name not in class_ids:
        hint = nearest(name, class_ids) or f", expected one of: {', '.join(class_ids)}"
        raise ValueError(f"class {name!r} is not among the names{hint}")
    box = element.child("bndbox")
    if box is None:
        raise ValueError(f"an object {name!r} without <bndbox>")
    x1, y1, x2, y2 = (_corner(box, corner) for corner in CORNERS)
    if are_fractions((x1, y1), (x2, y2)):
        corners = f"({x1:g}, {y1:g}, {x2:g}, {y2:g})"
        raise ValueError(f"<bndbox>: {corners} has fractions of the image, expected pixels")
    difficult = element.value("difficult") not in (None, "", "0")
    return LabelRow(class_ids[name], (x1, y1, x2, y2), element.line, difficult=difficult)


def _corner(box: XmlElement, name: str) -> float:
    text = box.value(name)
    if text is None:
        raise ValueError(f"a <bndbox> without <{name}>")
    return parse_number(text, f"<{name}>: ")


def _stated_size(root: XmlElement) -> SizeHW | None:
    """Return the image size that the file states, or None; some tools write none, or zeros."""
    size = root.child("size")
    height, width = (size.value(name) if size else None for name in ("height", "width"))
    if not _is_count(height) or not _is_count(width):
        return None
    return int(height), int(width)


def _is_count(text: str | None) -> TypeGuard[str]:
    return text is not None and text.isdecimal() and 0 < len(text.lstrip("0")) <= MAX_DIGITS
