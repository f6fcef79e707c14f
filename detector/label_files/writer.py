"""Base classes of the writers: a file for each image, or one file for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, ClassVar, Literal, TypeVar

from detector.label_files.labeled_image import LabeledImage
from detector.utils.errors import DetectorError, shown
from detector.utils.files import atomic

Kind = Literal["crowd", "difficult", "areas"]
"""Properties of boxes for which a format may have a place."""

WriterT = TypeVar("WriterT", bound="LabelWriter")


class _DiscardError(Exception):
    """Signal to ``atomic`` to discard its temporary file."""


class LabelWriter:
    """Writer of the labels of images, a context manager that holds one image at a time.

    Attributes:
        title: name of the format in messages.
        holds: properties of boxes that the format can state.

    Args:
        path: the file or folder to write.
        names: class names.
        synced: flush each file to the disk before it is renamed.

    Raises:
        DetectorError: a class name that the format cannot hold.
    """

    title: ClassVar[str]
    holds: ClassVar[frozenset[Kind]] = frozenset()

    def __init__(self, path: Path, names: Sequence[str], *, synced: bool = True) -> None:
        self.path = path
        self.names = tuple(names)
        self.synced = synced
        for name in self.names:
            issue = self.name_issue(name)
            if issue is not None:
                raise DetectorError(
                    f"class name {shown(name)} {issue}, which {self.title} cannot hold"
                )

    @classmethod
    def name_issue(cls, name: str) -> str | None:
        """Return what the format cannot hold of a class name, or None."""
        return None if is_utf8(name) else "is not UTF-8 text"

    def write(self, image: LabeledImage) -> None:
        """Write the labels of one image.

        Raises:
            DetectorError: they cannot be written.
        """
        raise NotImplementedError

    def open(self) -> None:
        """Begin the file."""

    def close(self, failed: bool = False) -> None:
        """Complete the file, or discard it after a failure."""

    def __enter__(self: WriterT) -> WriterT:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(failed=kind is not None)


class FolderWriter(LabelWriter):
    """Writer of a text file for each image, with the image's path and another suffix."""

    suffix: ClassVar[str]

    def __init__(self, path: Path, names: Sequence[str], *, synced: bool = True) -> None:
        super().__init__(path, names, synced=synced)
        self._images: dict[str, str] = {}

    def text(self, image: LabeledImage) -> str:
        """Return the content of an image's file."""
        raise NotImplementedError

    def write(self, image: LabeledImage) -> None:
        """Write one file; raise DetectorError if it is the file of another image, too."""
        name = PurePosixPath(image.name).with_suffix(self.suffix).as_posix()
        other = self._images.setdefault(name, image.name)
        if other != image.name:
            raise DetectorError(
                f"would be the label file of {other} and of {image.name}, expected images whose "
                "names differ without their suffixes",
                file=self.path / name,
            )
        with atomic(self.path / name, synced=self.synced) as temporary:
            temporary.write_text(self.text(image), encoding="utf-8", newline="\n")


class FileWriter(LabelWriter):
    """Writer of one file for all images, which appears when it is complete."""

    encoding_errors: ClassVar[str] = "strict"

    def open(self) -> None:
        """Begin a temporary file."""
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic(self.path, synced=self.synced))
            self._file = stack.enter_context(
                temporary.open("w", encoding="utf-8", errors=self.encoding_errors, newline="")
            )
            self.put(self.head())
            self._stack = stack.pop_all()

    def head(self) -> str:
        """Return the beginning of the file."""
        return ""

    def tail(self) -> None:
        """Write the end of the file."""

    def put(self, text: str, file: IO[str] | None = None) -> None:
        """Append a text to the file, or to another one that becomes part of it."""
        try:
            (file or self._file).write(text)
        except OSError as error:
            message = f"cannot be written: {error.strerror or error}"
            raise DetectorError(message, file=self.path) from error

    def close(self, failed: bool = False) -> None:
        """Complete the file and rename it, or discard it."""
        if not failed:
            try:
                self.tail()
            except BaseException:
                self.close(failed=True)
                raise
        error = _DiscardError() if failed else None
        self._stack.__exit__(type(error) if error else None, error, None)


def is_utf8(text: str) -> bool:
    """Return False for text with bytes of a file name that are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_image_name(name: str, title: str) -> str:
    """Return an image's name.

    Raises:
        DetectorError: it is not UTF-8 text, and so cannot stand in a file of the format.
    """
    if not is_utf8(name):
        raise DetectorError(f"its name is not UTF-8 text, which {title} cannot hold", file=name)
    return name
