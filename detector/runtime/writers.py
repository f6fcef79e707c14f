"""Writers of results: images, videos, YOLO txt files, JSON lines.

A writer is a context manager with ``write(result)``. It holds one image at a time and the names it
has used. Files are written atomically: a file that is open when a run fails is discarded, one that
is open when the run is interrupted from the keyboard (Ctrl-C) is completed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from detector.runtime.pending import PendingFile, PendingText
from detector.runtime.pipeline import Result
from detector.runtime.sources import Frame
from detector.runtime.video import count_readable_frames
from detector.utils.errors import DetectorError
from detector.utils.files import utf8_path, write_text
from detector.utils.opencv import cv2, write_image
from detector.utils.unique_names import UniqueNames

KEPT_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
"""Suffixes of images that are written in the format of their source; others become ``.jpg``."""

VIDEO_CODEC = "mp4v"

PROBE_BYTES = 4096
"""Number of bytes that must fit on the disk before a video is begun."""

WriterT = TypeVar("WriterT", bound="Writer")


class ResultNames:
    """Unique names for the results of frames.

    A second ``bus.jpg``, or a ``bus.png``, becomes ``bus_2``. The frames of ``clip.mp4`` become
    ``clip/000000``, ``clip/000001`` …, in a folder, so that they never clash with an image's name.
    Names are compared without case, as on many file systems. Memory: about 100 bytes per file.

    Args:
        earlier: files of earlier shards, whose names other processes use.
    """

    def __init__(self, earlier: Iterable[str] = ()) -> None:
        self._names = UniqueNames()
        self._origin: tuple[Path | None, str] | None = None
        self._index = 0
        self._stem = ""
        self._live: dict[str, str] = {}
        for file in earlier:
            self._names.unused(Path(file).stem)

    def for_frame(self, frame: Frame) -> str:
        """Return the name of one frame's results, without suffix."""
        stem = self.for_file(frame)
        return stem if frame.fps is None else f"{stem}/{frame.index:06d}"

    def for_file(self, frame: Frame) -> str:
        """Return the name of a file's results; the same for all frames of a video or camera."""
        if frame.time is not None:  # frames of several cameras come in turn
            if frame.name not in self._live:
                self._live[frame.name] = self._names.unused(frame.name)
            return self._live[frame.name]
        origin = (frame.path, frame.name)
        if frame.index <= self._index or origin != self._origin:
            self._stem = self._names.unused(frame.name)
        self._origin, self._index = origin, frame.index
        return self._stem


class Writer:
    """Base class of all writers.

    Attributes:
        count: number of results written.
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
        """Close open files; discard them after a failure."""

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
    """Writer of images into a folder, each with its own name and format.

    Args:
        folder: created if missing; files of the same name are replaced.
        drawn: draw boxes and labels, or a caption; otherwise write the image unchanged.
        names: names of the results; one object is shared by all writers of a folder.
    """

    def __init__(
        self, folder: str | Path, drawn: bool = True, names: ResultNames | None = None
    ) -> None:
        super().__init__()
        self.folder = _folder(folder)
        self.drawn = drawn
        self._names = names or ResultNames()

    def _write(self, result: Result) -> None:
        suffix = result.path.suffix.lower() if result.path else ""
        suffix = suffix if suffix in KEPT_SUFFIXES else ".jpg"
        image_rgb = result.draw() if self.drawn else result.image_rgb
        write_image(self.folder / f"{self._names.for_frame(result.frame)}{suffix}", image_rgb)


class VideoWriter(Writer):
    """Writer of one ``.mp4`` for each video, camera or stream, without sound.

    The arguments are those of ``ImageWriter``.
    """

    def __init__(
        self, folder: str | Path, drawn: bool = True, names: ResultNames | None = None
    ) -> None:
        super().__init__()
        self.folder = _folder(folder)
        self.drawn = drawn
        self._names = names or ResultNames()
        self._video: VideoFile | None = None

    def _write(self, result: Result) -> None:
        path = self.folder / f"{self._names.for_file(result.frame)}.mp4"
        if self._video is None or self._video.path != path:
            self._finish(failed=False)
            self._video = VideoFile(path, result)
        image_rgb = result.draw() if self.drawn else result.image_rgb
        self._video.write(image_rgb)

    def _finish(self, failed: bool) -> None:
        if self._video is not None:
            video, self._video = self._video, None
            video.finish(failed)


class MediaWriter(Writer):
    """Writer of images as images and videos as videos; the arguments are ``ImageWriter``'s."""

    def __init__(
        self, folder: str | Path, drawn: bool = True, names: ResultNames | None = None
    ) -> None:
        super().__init__()
        names = names or ResultNames()
        self._images = ImageWriter(folder, drawn, names)
        self._videos = VideoWriter(folder, drawn, names)

    def _write(self, result: Result) -> None:
        writer = self._images if result.frame.fps is None else self._videos
        writer.write(result)

    def _finish(self, failed: bool) -> None:
        self._videos._finish(failed)


class YoloTxtWriter(Writer):
    """Writer of a txt file for each image: ``class cx cy width height [score]``, as fractions.

    Args:
        folder: created if missing; files of the same name are replaced.
        names: names of the results.
        scores: end each line with the score; label files have none.
    """

    def __init__(
        self, folder: str | Path, names: ResultNames | None = None, scores: bool = True
    ) -> None:
        super().__init__()
        self.folder = _folder(folder)
        self._scores = scores
        self._names = names or ResultNames()

    def _write(self, result: Result) -> None:
        height, width = result.image_rgb.shape[:2]
        text = result.detections.to_yolo((height, width), with_scores=self._scores)
        write_text(self.folder / f"{self._names.for_frame(result.frame)}.txt", text)


class JsonLinesWriter(Writer):
    """Writer of JSON lines, an object per image: name, path, frame number, size, prediction.

    Args:
        path: the file, replaced at the end.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        _folder(self.path.parent)

    def __enter__(self) -> JsonLinesWriter:
        self._file = PendingText(self.path)
        return self

    def _write(self, result: Result) -> None:
        try:
            line = json.dumps(record_of(result), ensure_ascii=False, allow_nan=False)
        except ValueError as error:  # JSON has no NaN and no infinity
            message = f"{result.name}: a result is not a finite number"
            raise DetectorError(message, file=self.path) from error
        self._file.write(f"{line}\n")

    def _finish(self, failed: bool) -> None:
        self._file.finish(failed)


def record_of(result: Result) -> dict[str, Any]:
    """Return a result as it is written in JSON."""
    frame = result.frame
    record: dict[str, Any] = {
        "name": frame.name,
        "path": None if frame.path is None else str(frame.path),
        "size_hw": list(frame.image_rgb.shape[:2]),
    }
    if frame.fps is not None:
        record["frame"] = frame.index
    if frame.seconds is not None:
        record["seconds"] = round(frame.seconds, 3)
    if frame.time is not None:
        record["time"] = utc_text(frame.time)
        record["dropped"] = frame.dropped
    return record | result.to_dict()


def utc_text(time: datetime) -> str:
    """Return a time in UTC as ISO 8601, to the millisecond: ``2026-11-30T19:46:48.123Z``."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _folder(folder: str | Path) -> Path:
    """Return a folder's path; raise DetectorError if it is a file."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise DetectorError("is a file, expected a folder to write into", file=folder)
    return folder


class VideoFile:
    """A video file that is being written."""

    def __init__(self, path: Path, first: Result) -> None:
        self.path = path
        self._shape = first.image_rgb.shape
        height, width = self._shape[:2]
        self._frames = 0
        self._pending = PendingFile(path)
        self._check_writable()
        self._open_encoder(first.frame.fps or 30.0, (width, height))

    def _open_encoder(self, fps: float, size_wh: tuple[int, int]) -> None:
        with utf8_path(self._pending.temporary) as name:
            codec = cv2.VideoWriter.fourcc(*VIDEO_CODEC)
            self._encoder: Any = cv2.VideoWriter(name, codec, fps, size_wh)
        if not self._encoder.isOpened():
            self._pending.finish(failed=True)
            raise DetectorError(
                f"cannot be written: OpenCV has no {VIDEO_CODEC} encoder for "
                f"{size_wh[0]}×{size_wh[1]}",
                file=self.path,
            )

    def _check_writable(self) -> None:
        """Write some bytes: OpenCV's encoder would not say why it cannot."""
        try:
            self._pending.temporary.write_bytes(bytes(PROBE_BYTES))
        except OSError as error:
            self._pending.finish(failed=True)
            message = f"cannot be written: {error.strerror or error}"
            raise DetectorError(message, file=self.path) from error

    def fits(self, result: Result) -> bool:
        """Return whether a frame has the size of the video."""
        return result.image_rgb.shape == self._shape

    def write(self, image_rgb: Any) -> None:
        """Add a frame."""
        if image_rgb.shape != self._shape:
            raise DetectorError(
                f"a frame of {image_rgb.shape[1]}×{image_rgb.shape[0]} pixels in a video of "
                f"{self._shape[1]}×{self._shape[0]}",
                file=self.path,
            )
        self._encoder.write(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def finish(self, failed: bool) -> None:
        """Close the file and rename it, if it is whole: OpenCV reports no error of a full disk."""
        self._encoder.release()
        found = 0 if failed else count_readable_frames(self._pending.temporary)
        self._pending.finish(failed or found != self._frames)
        if not failed and found != self._frames:
            raise DetectorError(
                f"cannot be written: {found} of {self._frames} frames can be read from it; "
                "the disk may be full",
                file=self.path,
            )
