"""Results of many images as rows of plain values, for engines that spread files over machines.

An engine (Ray, Spark, Dask, a queue) gives each of its workers some of the files. A file that
cannot be read becomes a row with an error. :mod:`detector.runtime.bulk_results` reads and continues
what is written.
"""

from __future__ import annotations

import glob
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from detector.runtime.packed import PACKED_SUFFIXES, is_packed, packed_images
from detector.runtime.patterns import matching
from detector.runtime.pipeline import Result
from detector.runtime.sources import Frame, frame_of, missing
from detector.runtime.video import is_video
from detector.utils.errors import DetectorError
from detector.utils.opencv import IMAGE_SUFFIXES, decode_image

Row = dict[str, Any]
"""Name, path, size_hw and the fields of the prediction, as in a JSON line; or path and error."""

ImageOfFile = tuple[str, "str | bytes | DetectorError"]
"""Path of an image as it is written, and the image's path or bytes, or why it has none."""


def list_files(source: str) -> list[str]:
    """Return the images, videos, tars and Parquet files of a folder or a pattern, sorted by name.

    Raises:
        DetectorError: there are none.
    """
    if os.path.isdir(source):
        found = {entry.path for entry in os.scandir(source) if not entry.name.startswith(".")}
    elif os.path.isfile(source):
        return [source]
    elif glob.has_magic(source):
        found = matching(source)
    else:
        raise missing(Path(source))
    files = sorted(file for file in found if _is_read(file) and os.path.isfile(file))
    if not files:
        packed = " or ".join(sorted(PACKED_SUFFIXES))
        raise DetectorError(f"holds no image and no {packed} file", file=source)
    return files


def images_of(
    files: Iterable[str],
    written: Collection[str] = frozenset(),
    image_column: str = "bytes",
    name_column: str | None = None,
) -> Iterator[ImageOfFile]:
    """Yield the images of files that are not written yet; those of tars as ``x.tar/0001.jpg``.

    Args:
        files: images, tars and Parquet files.
        written: paths of the images that have a row already.
        image_column: see :func:`detector.runtime.packed.packed_images`.
        name_column: see there.
    """
    for file in files:
        images: Iterable[tuple[str, str | bytes | DetectorError]] = [("", file)]
        if is_packed(file):
            images = packed_images(Path(file), image_column, name_column)
        for name, image in images:
            path = as_text(os.path.join(file, name) if name else file)
            if path not in written:
                yield path, image


def rows_of(
    images: Iterable[ImageOfFile], predict: Callable[[Iterable[Frame]], Iterator[Result]]
) -> Iterator[Row]:
    """Yield a row for each image, in order.

    Args:
        images: see :func:`images_of`.
        predict: :meth:`detector.Predictor.frames`.
    """
    waiting: deque[Row | None] = deque()  # rows of errors; None for an image in the network

    def frames() -> Iterator[Frame]:
        for path, image in images:
            try:
                frame = _frame(path, image)
            except DetectorError as error:
                waiting.append({"path": path, "error": as_text(str(error))})
            else:
                waiting.append(None)
                yield frame

    for result in predict(frames()):
        while (row := waiting.popleft()) is not None:
            yield row
        frame = result.frame
        size_hw = list(frame.image_rgb.shape[:2])
        row = {"name": frame.name, "path": str(frame.path), "size_hw": size_hw}
        yield row | result.prediction.to_dict()
    yield from (row for row in waiting if row is not None)


def as_text(path: str) -> str:
    r"""Return a path with its bytes that are not UTF-8 written as ``\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _frame(path: str, image: str | bytes | DetectorError) -> Frame:
    if isinstance(image, DetectorError):
        raise image
    pixels = frame_of(image).image_rgb if isinstance(image, str) else decode_image(image, path)
    return Frame(Path(path).stem, Path(path), 0, pixels)


def _is_read(file: str) -> bool:
    return is_packed(file) or is_video(file) or os.path.splitext(file)[1].lower() in IMAGE_SUFFIXES
