"""Sources of images: file, folder, glob, list file, video, camera or stream.

======================  ==========================================================================
``bus.jpg``             one image
``clip.mp4``            one video, frame by frame
``images``              a folder: its images and videos, sorted by name, without subfolders
``images/**/*.jpg``     a glob pattern: the images and videos that match, sorted by name
``list.txt``            one path a line, relative to the list's own folder
``0``, ``/dev/video0``  a camera by number, unless a file of that name exists, or by its device
``https://…/bus.jpg``   one image at a URL, http or https
``rtsp://…``            a stream, also rtmp, http and https; only URLs open a socket
``door.streams``        a list of cameras and streams, one a line, which are read at the same time
======================  ==========================================================================

Images are decoded one at a time, when they are asked for. Cameras and streams are read by
:mod:`detector.runtime.streams`.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

from detector.runtime.patterns import matching
from detector.runtime.shards import Shard
from detector.runtime.streams.address import (
    LIST_SUFFIX,
    Address,
    address_of,
    is_image_url,
    is_live,
    read_list,
    stream_name,
)
from detector.runtime.streams.live import LiveFrames
from detector.runtime.video import (
    STREAM_PREFIXES,
    IncompleteVideoError,
    count_frames,
    is_video,
    read_video,
)
from detector.settings.streams import StreamSettings
from detector.structures.images import ImageLike, to_rgb
from detector.utils.errors import DetectorError, is_url, nearest, public_url
from detector.utils.opencv import IMAGE_SUFFIXES, Image, check_image, decode_image, read_image

MAX_LINE_BYTES = 1 << 15
"""Maximum length of a line in a list file; operating systems limit paths to 4096 bytes."""

_SIBLINGS = 2000
"""Maximum number of file names that are compared with a misspelled one."""


@dataclass(frozen=True)
class Frame:
    """One image, or one frame of a video, with its origin.

    Attributes:
        name: name of its results: the file's stem, or a name for the camera or stream.
        path: the image or video file, None for cameras, streams and images in memory.
        index: number of the frame in its video, from 0; 0 for an image.
        image_rgb: (h, w, 3) uint8.
        fps: frames per second of its video, as they are read; None for an image.
        seconds: time in its video, or since the first frame of its camera; None for an image.
        time: when it came from a camera or stream, in UTC; None for files.
        dropped: number of frames of its camera that were dropped just before it.

    Raises:
        DetectorError: ``image_rgb`` has another shape or type.
    """

    name: str
    path: Path | None
    index: int
    image_rgb: Image
    fps: float | None = None
    seconds: float | None = None
    time: datetime | None = None
    dropped: int = 0

    def __post_init__(self) -> None:
        check_image(self.image_rgb)


@dataclass(frozen=True)
class Source:
    """The frames of a source; each ``iter()`` starts from the beginning.

    Attributes:
        read: returns a new iterator over the frames.
        total: number of frames, None if it cannot be known without reading them.
        earlier: files of earlier shards, which other processes read.
        folders: folders of all its files, of all shards; none of cameras and URLs.
        has_videos: there may be frames that belong together, not only single images.
        live: the cameras and streams that are kept alive, if it is made of them.
    """

    read: Callable[[], Iterator[Frame]]
    total: int | None
    earlier: Sequence[str] = ()
    folders: frozenset[str] = frozenset()
    has_videos: bool = False
    live: LiveFrames | None = None

    def __iter__(self) -> Iterator[Frame]:
        return self.read()

    def stop(self) -> None:
        """End the frames of cameras and streams, which may wait for the next one. Thread-safe."""
        if self.live is not None:
            self.live.stop()


OnBad = Callable[[DetectorError], None]


def open_source(
    source: str | Path,
    on_bad: OnBad | None = None,
    shard: Shard | None = None,
    streams: StreamSettings | None = None,
) -> Source:
    """Find the images of a source, without decoding any of them.

    Args:
        source: one of the forms listed at the top of this module.
        on_bad: called with the error of each unreadable file of a folder, glob or list, which is
            then skipped, and with the ``IncompleteVideoError`` of each video and camera; without it
            the error is raised.
        shard: this process's share of the files; default: all of them.
        streams: stride of videos, and how a camera or stream is kept alive; default: every frame,
            and a camera or stream is read by one connection until that ends.

    Raises:
        DetectorError: there is nothing to read (the message names the nearest file), or a shard
            is given for a single file, camera or stream.
    """
    if not str(source):
        raise DetectorError("the source is empty; expected a file, folder, glob or stream")
    try:
        return _find(str(source), Path(source), on_bad, shard or Shard(1, 1), streams)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        raise DetectorError(message, file=error.filename or source) from error


def _find(
    source: str, path: Path, on_bad: OnBad | None, shard: Shard, streams: StreamSettings | None
) -> Source:
    stride = 1 if streams is None else streams.vid_stride
    if path.is_dir():
        return _files(_in_folder(path), on_bad, shard, stride)
    if path.suffix.lower() == ".txt" and path.is_file():
        return _list_file(path, on_bad, shard, stride)
    if is_live(source) or path.is_file():
        if shard.count > 1:
            raise DetectorError(
                f"--shard {shard}: expected a folder, glob or list of files, "
                f"found {public_url(source)!r}"
            )
        if path.suffix.lower() == LIST_SUFFIX and path.is_file():
            return _live(read_list(path), on_bad, streams or StreamSettings())
        if streams is not None and is_live(source) and not is_image_url(source):
            return _live([address_of(source)], on_bad, streams)
        return _single(source, path, on_bad, stride)
    if is_url(source):
        raise DetectorError(f"expected one of {', '.join(STREAM_PREFIXES)}", file=source)
    if glob.has_magic(source):
        return _files(_matching(source), on_bad, shard, stride)
    raise missing(path)


def _live(addresses: list[Address], on_bad: OnBad | None, streams: StreamSettings) -> Source:
    """Return the source of cameras and streams that are kept alive."""
    live = LiveFrames(addresses, streams, on_bad)

    def read() -> Iterator[Frame]:
        for frame in live:
            is_image = frame.fps is None
            yield Frame(
                frame.name,
                None,
                frame.index,
                frame.image_rgb,
                frame.fps,
                None if is_image else frame.seconds,
                frame.time,
                frame.dropped,
            )

    return Source(read, None, has_videos=True, live=live)


def _single(source: str, path: Path, on_bad: OnBad | None, stride: int) -> Source:
    """Return the source of one image or video, or of one connection to a camera or stream."""
    total = None
    if source.startswith(STREAM_PREFIXES):
        frames = partial(_at_url, source, stream_name(source))
    elif path.is_file():
        frames = partial(_frames, path, stride)
        total = count_frames(path) if is_video(path) else 1
        total = total and -(-total // stride)
    elif source.isdecimal():
        frames = partial(_video, int(source), f"camera{source}", None)
    else:
        raise DetectorError("is a camera, expected a file", file=path)

    def read() -> Iterator[Frame]:
        with _skip_bad(on_bad, IncompleteVideoError):
            yield from frames()

    folders = frozenset([str(path.parent)] if path.is_file() else [])
    return Source(read, total, folders=folders, has_videos=is_video(path))


def _files(names: list[str], on_bad: OnBad | None, shard: Shard, stride: int) -> Source:
    """Return a source of existing files; their paths are strings, since there may be millions."""
    part = shard.part(len(names))
    own = names[part.start : part.stop]

    def read() -> Iterator[Frame]:
        for name in own:
            with _skip_bad(on_bad):
                yield from _frames(Path(name), stride)

    has_videos = any(map(is_video, own))
    total = None if has_videos else len(own)
    return Source(read, total, names[: part.start], _folders_of(names), has_videos)


def _folders_of(names: Iterable[str], folder: str = "") -> frozenset[str]:
    """Return the folders of files, whose names are absolute or relative to a folder."""
    return frozenset(os.path.join(folder, os.path.dirname(name)) for name in names)


def _list_file(path: Path, on_bad: OnBad | None, shard: Shard, stride: int) -> Source:
    names = [name for _, name in _lines(path)]
    if not names:
        raise DetectorError("lists no image", file=path)
    part = shard.part(len(names))

    def read() -> Iterator[Frame]:
        for number, name in islice(_lines(path), part.start, part.stop):
            with _skip_bad(on_bad):
                try:
                    if is_url(name):
                        hint = f"a list of streams is a file that ends in {LIST_SUFFIX}"
                        raise DetectorError(f"is a URL, expected a file; {hint}", file=name)
                    yield from _frames(path.parent / name, stride)
                except DetectorError as error:
                    raise type(error)(str(error), file=path, line=number) from error

    has_videos = any(is_video(names[index]) for index in part)
    total = None if has_videos else len(part)
    folders = _folders_of(names, str(path.parent))
    return Source(read, total, names[: part.start], folders, has_videos)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line numbers and paths of a list file, without empty lines."""
    try:
        with path.open("rb") as lines:
            each = iter(lambda: lines.readline(MAX_LINE_BYTES), b"")
            for number, line in enumerate(each, 1):
                if len(line) == MAX_LINE_BYTES:
                    message = f"has {MAX_LINE_BYTES} bytes or more, expected one path a line"
                    raise DetectorError(message, file=path, line=number)
                if name := _decode(line, path, number).strip():
                    yield number, name
    except OSError as error:
        raise DetectorError(f"cannot be read: {error.strerror}", file=path) from error


def _decode(line: bytes, path: Path, number: int) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DetectorError("is not UTF-8 text", file=path, line=number) from error


@contextmanager
def _skip_bad(on_bad: OnBad | None, kind: type[DetectorError] = DetectorError) -> Iterator[None]:
    """Pass the error of one file to ``on_bad``, or raise it where there is no such function."""
    try:
        yield
    except kind as error:
        if on_bad is None:
            raise
        on_bad(error)


def _in_folder(folder: Path) -> list[str]:
    # Hidden files are left out, as by glob: macOS writes a ._0.jpg beside 0.jpg.
    visible = (entry for entry in os.scandir(folder) if not entry.name.startswith("."))
    entries = (entry for entry in visible if _is_media(entry.path))
    names = sorted(entry.path for entry in entries if entry.is_file())
    if not names:
        raise DetectorError(
            "holds no image or video; subfolders are searched by a pattern such as "
            f"{str(folder / '**' / '*.jpg')!r}",
            file=folder,
        )
    return names


def _matching(pattern: str) -> list[str]:
    names = sorted(name for name in matching(pattern) if _is_media(name) and Path(name).is_file())
    if not names:
        raise DetectorError("matches no image or video", file=pattern)
    return names


def missing(path: Path) -> DetectorError:
    """Return an error that names the first missing part of a path and the nearest existing name."""
    parts = [*reversed(path.parents), path]
    for folder, part in pairwise(parts):
        if part.exists():
            continue
        if not folder.is_dir():
            return DetectorError(f"{str(folder)!r} is a file, not a folder", file=path)
        what = "file or folder" if part == path else f"folder as {part.name!r} in {str(folder)!r}"
        siblings = sorted(entry.name for entry in islice(os.scandir(folder), _SIBLINGS))
        return DetectorError(f"no such {what}{nearest(part.name, siblings)}", file=path)
    return DetectorError("is neither a file nor a folder", file=path)


def _is_media(path: str) -> bool:
    return is_video(path) or os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def _frames(path: Path, stride: int) -> Iterator[Frame]:
    """Yield the image of an image file, or every so many frames of a video."""
    if is_video(path):
        yield from _video(str(path), path.stem, path, stride)
    else:
        yield Frame(path.stem, path, 0, read_image(path))


def _video(target: str | int, name: str, path: Path | None, stride: int = 1) -> Iterator[Frame]:
    """Yield the frames of a video file, camera or stream whose numbers the stride divides."""
    for number, image_rgb, fps, seconds in read_video(target):
        if number % stride == 0:
            yield Frame(name, path, number, image_rgb, fps / stride, seconds)


def _at_url(url: str, name: str) -> Iterator[Frame]:
    """Yield the image at a URL, or the frames of the video or stream there."""
    data = None
    if url.startswith(("http://", "https://")):
        from detector.runtime.download import download_image  # its modules are needed only here

        data = download_image(url)
    if data is None:
        yield from _video(url, name, None)
    else:
        yield Frame(name, None, 0, decode_image(data, url))


def frames_of(images: Iterable[ImageLike], *, bgr: bool = False) -> Iterator[Frame]:
    """Yield a frame for each image, given as a path, bytes, array, tensor or Pillow image.

    Raises:
        DetectorError: one is not an image; the message has its index.
    """
    for index, image in enumerate(images):
        try:
            yield frame_of(image, f"image{index}", bgr=bgr)
        except DetectorError as error:
            if error.file is not None:
                raise
            raise DetectorError(f"image {index}: {error}") from error


def frame_of(image: ImageLike, name: str = "image", *, bgr: bool = False) -> Frame:
    """Return the frame of one image, a file or in memory.

    Args:
        image: anything that :func:`detector.structures.images.to_rgb` accepts.
        name: name of its results, unless it is a file.
        bgr: arrays are in OpenCV's order, blue first.

    Raises:
        DetectorError: not an image; for a missing file, the message names the nearest one.
    """
    if not isinstance(image, (str, Path)):
        return Frame(name, None, 0, to_rgb(image, bgr=bgr))
    path = Path(image)
    if is_url(str(image)):
        message = "is a URL, expected an image; loop over predictor(source) for URLs"
        raise DetectorError(message, file=image)
    if not path.exists():
        raise missing(path)
    if path.is_dir() or is_video(path):
        kind = "folder" if path.is_dir() else "video"
        raise DetectorError(
            f"is a {kind}, expected an image; loop over predictor(source) for folders and videos",
            file=path,
        )
    return Frame(path.stem, path, 0, to_rgb(path))
