"""Where results go: pictures, videos, YOLO txt files, JSON lines.

A writer is a context manager with ``write(result)``. It keeps one image and the names it has used.
Every file appears whole or not at all: what is still open when a run fails is thrown away, and
what is open when it is interrupted from the keyboard is finished.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from detector.runtime.pipeline import Result
from detector.runtime.sources import Frame
from detector.utils.errors import DetectorError
from detector.utils.files import atomic, write_text
from detector.utils.opencv import cv2, write_image

KEPT_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
"""Formats that pictures are written in; others become ``.jpg``."""

VIDEO_CODEC = "mp4v"

WriterT = TypeVar("WriterT", bound="Writer")


class Names:
    """Names for the results of frames, each given once.

    A second ``bus.jpg``, or a ``bus.png``, becomes ``bus_2``. The frames of ``clip.mp4`` become
    ``clip/000000``, ``clip/000001`` …: a folder, so that they never meet an image's name. Upper
    and lower case count as equal, as on many disks. Memory: some 100 bytes a file.

    Args:
        earlier: files whose names another process gives.
    """

    def __init__(self, earlier: Iterable[str] = ()) -> None:
        self._numbers: dict[str, int] = {}
        self._origin: tuple[Path | None, str] | None = None
        self._stem = ""
        for file in earlier:
            self._unused(Path(file).stem)

    def of(self, frame: Frame) -> str:
        """The name of one frame's results, without suffix."""
        stem = self.of_file(frame)
        return stem if frame.fps is None else f"{stem}/{frame.index:06d}"

    def of_file(self, frame: Frame) -> str:
        """The name of a whole file's results; the same for all frames of one video."""
        origin = (frame.path, frame.name)
        if frame.index == 0 or origin != self._origin:
            self._stem = self._unused(frame.name)
            self._origin = origin
        return self._stem

    def _unused(self, stem: str) -> str:
        key, name = stem.casefold(), stem
        number = self._numbers.get(key, 0)
        while number and name.casefold() in self._numbers:
            number += 1
            name = f"{stem}_{number}"
        self._numbers[key] = max(number, 1)
        self._numbers.setdefault(name.casefold(), 1)
        return name


class Writer:
    """Base of all writers.

    Attributes:
        count: results written so far.
    """

    def __init__(self) -> None:
        self.count = 0

    def write(self, result: Result) -> None:
        """Write one result."""
        self._write(result)
        self.count += 1

    def _write(self, result: Result) -> None:
        raise NotImplementedError

    def _finish(self, failed: bool) -> None:
        """Close what is open: keep it, or after a failure throw it away."""

    def __enter__(self: WriterT) -> WriterT:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._finish(failed=kind is not None and not issubclass(kind, KeyboardInterrupt))


class ImageWriter(Writer):
    """Writes each image into a folder, under its own name and format.

    Args:
        folder: made if it does not exist; files of the same name are replaced.
        drawn: with boxes and labels or a caption, else as it came.
        names: shared with other writers of the same folder.
    """

    def __init__(self, folder: str | Path, drawn: bool = True, names: Names | None = None) -> None:
        super().__init__()
        self.folder = _folder(folder)
        self.drawn = drawn
        self._names = names or Names()

    def _write(self, result: Result) -> None:
        suffix = result.path.suffix.lower() if result.path else ""
        suffix = suffix if suffix in KEPT_SUFFIXES else ".jpg"
        image_rgb = result.prediction.draw(result.image_rgb) if self.drawn else result.image_rgb
        write_image(self.folder / f"{self._names.of(result.frame)}{suffix}", image_rgb)


class VideoWriter(Writer):
    """Writes the frames of each video, camera or stream as one ``.mp4``, without sound.

    The arguments are those of ``ImageWriter``.
    """

    def __init__(self, folder: str | Path, drawn: bool = True, names: Names | None = None) -> None:
        super().__init__()
        self.folder = _folder(folder)
        self.drawn = drawn
        self._names = names or Names()
        self._video: _Video | None = None

    def _write(self, result: Result) -> None:
        path = self.folder / f"{self._names.of_file(result.frame)}.mp4"
        if self._video is None or self._video.path != path:
            self._finish(failed=False)
            self._video = _Video(path, result)
        image_rgb = result.prediction.draw(result.image_rgb) if self.drawn else result.image_rgb
        self._video.write(image_rgb)

    def _finish(self, failed: bool) -> None:
        if self._video is not None:
            video, self._video = self._video, None
            video.finish(failed)


class MediaWriter(Writer):
    """Writes images as images and videos as videos. The arguments are those of ``ImageWriter``."""

    def __init__(self, folder: str | Path, drawn: bool = True, names: Names | None = None) -> None:
        super().__init__()
        names = names or Names()
        self._images = ImageWriter(folder, drawn, names)
        self._videos = VideoWriter(folder, drawn, names)

    def _write(self, result: Result) -> None:
        writer = self._images if result.frame.fps is None else self._videos
        writer.write(result)

    def _finish(self, failed: bool) -> None:
        self._videos._finish(failed)


class YoloTxtWriter(Writer):
    """Writes a txt file for each image: ``class cx cy width height score``, as fractions.

    Args:
        folder: made if it does not exist; files of the same name are replaced.
        names: those that are taken.
    """

    def __init__(self, folder: str | Path, names: Names | None = None) -> None:
        super().__init__()
        self.folder = _folder(folder)
        self._names = names or Names()

    def _write(self, result: Result) -> None:
        height, width = result.image_rgb.shape[:2]
        text = result.detections.to_yolo((height, width), with_scores=True)
        write_text(self.folder / f"{self._names.of(result.frame)}.txt", text)


class JsonLinesWriter(Writer):
    """Writes one JSON object a line: name, path, frame of a video, size, and what was found.

    Args:
        path: the file, replaced at the end.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        _folder(self.path.parent)

    def __enter__(self) -> JsonLinesWriter:
        self._pending = _Pending(self.path)
        try:
            self._file = self._pending.temporary.open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise self._error(error) from error
        return self

    def _write(self, result: Result) -> None:
        frame = result.frame
        record: dict[str, Any] = {
            "name": frame.name,
            "path": None if frame.path is None else str(frame.path),
            "size_hw": list(frame.image_rgb.shape[:2]),
        }
        if frame.fps is not None:
            record["frame"] = frame.index
        record |= result.prediction.to_dict()
        try:
            self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
        except OSError as error:
            raise self._error(error) from error
        except ValueError as error:  # JSON has no word for it
            message = f"{frame.name}: a result is not a finite number"
            raise DetectorError(message, file=self.path) from error

    def _finish(self, failed: bool) -> None:
        try:
            self._file.close()
        except OSError as error:
            self._pending.finish(failed=True)
            raise self._error(error) from error
        self._pending.finish(failed)

    def _error(self, error: OSError) -> DetectorError:
        return DetectorError(f"cannot be written: {error.strerror or error}", file=self.path)


def _folder(folder: str | Path) -> Path:
    """A folder that exists or can be made."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise DetectorError("is a file, expected a folder to write into", file=folder)
    return folder


class _DiscardError(Exception):
    """Tells ``atomic`` to throw its temporary file away."""


class _Pending:
    """A file beside ``path`` that takes its place when it is finished."""

    def __init__(self, path: Path) -> None:
        self._atomic = atomic(path)
        self.temporary = self._atomic.__enter__()

    def finish(self, failed: bool) -> None:
        problem = _DiscardError() if failed else None
        self._atomic.__exit__(type(problem) if problem else None, problem, None)


class _Video:
    """One video file that is being written."""

    def __init__(self, path: Path, first: Result) -> None:
        self.path = path
        self._shape = first.image_rgb.shape
        height, width = self._shape[:2]
        self._pending = _Pending(path)
        self._encoder: Any = cv2.VideoWriter(
            str(self._pending.temporary),
            cv2.VideoWriter.fourcc(*VIDEO_CODEC),
            first.frame.fps or 30.0,
            (width, height),
        )
        if not self._encoder.isOpened():
            self._pending.finish(failed=True)
            raise DetectorError(
                f"cannot be written: OpenCV has no {VIDEO_CODEC} encoder for {width}×{height}",
                file=path,
            )

    def write(self, image_rgb: Any) -> None:
        if image_rgb.shape != self._shape:
            raise DetectorError(
                f"a frame of {image_rgb.shape[1]}×{image_rgb.shape[0]} pixels in a video of "
                f"{self._shape[1]}×{self._shape[0]}",
                file=self.path,
            )
        self._encoder.write(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))

    def finish(self, failed: bool) -> None:
        self._encoder.release()
        self._pending.finish(failed)
