"""OpenCV, imported in one place, and the only functions that read and write image files.

Images are uint8 RGB arrays of shape (height, width, 3) with the EXIF orientation applied.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.utils.errors import DetectorError, one_line
from detector.utils.files import atomic, read_limited
from detector.utils.image_header import stated_pixels

MAX_IMAGE_PIXELS = 2**27
"""Larger images are refused before they are decoded (134 megapixels, 400 MB)."""

MAX_IMAGE_BYTES = 1 << 30
"""Largest image file: as many pixels of 16-bit colours, not compressed, take 800 MB."""

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_IMAGE_PIXELS))
os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")  # what it says of broken files, we say

try:
    import cv2
except ImportError as error:  # opencv-python needs libGL, the headless build does not
    raise DetectorError(
        f"OpenCV does not load ({error}); on a machine without a screen run: "
        "pip install --force-reinstall --no-deps opencv-python-headless"
    ) from error

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_IMAGE_PIXELS",
    "Image",
    "check_image",
    "cv2",
    "decode_image",
    "read_bytes",
    "read_image",
    "write_image",
]

Image = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".dib", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm")
    + (".ppm", ".tif", ".tiff", ".webp")
)
"""What image files in a folder end in, lower case; a file that is named may have any name."""

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_TRAILER_BYTES = 64 * 1024


def check_image(image_rgb: Any) -> None:
    """Check what a program hands over as an image.

    Raises:
        DetectorError: it is no (h, w, 3) uint8 array, or has no pixel.
    """
    if not isinstance(image_rgb, np.ndarray):
        found = type(image_rgb).__name__
    elif image_rgb.dtype != np.uint8 or image_rgb.shape[2:] != (3,) or not image_rgb.size:
        found = f"{image_rgb.dtype} of shape {image_rgb.shape}"
    else:
        return
    raise DetectorError(f"an image is an (h, w, 3) uint8 RGB array, found {found}")


def read_image(path: str | Path) -> Image:
    """Read an image file as (height, width, 3) uint8 RGB.

    Raises:
        DetectorError: the file is missing, empty, truncated, too large, or not an image.
    """
    return decode_image(read_bytes(path), str(path))


def read_bytes(path: str | Path) -> bytes:
    """The bytes of an image file, for :func:`decode_image`; devices and pipes may have no end."""
    return read_limited(path, MAX_IMAGE_BYTES, "an image")


def decode_image(data: bytes, name: str) -> Image:
    """Decode the bytes of an image file; ``name`` is what errors call it."""
    if not data:
        raise DetectorError("is empty, expected an image", file=name)
    _check_pixels(data, name)
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        reason = one_line(getattr(error, "err", error))
        if "MAX_IMAGE_PIXELS" in reason:
            reason = "more pixels than OPENCV_IO_MAX_IMAGE_PIXELS allows"
        raise DetectorError(f"cannot be decoded: {reason}", file=name) from error
    if image is None:
        raise DetectorError(_why_not_decoded(data), file=name)
    return np.asarray(image, np.uint8)


def _check_pixels(data: bytes, name: str) -> None:
    """Refuse an image that is too large, or may be and would be decoded all the same."""
    pixels = stated_pixels(data)
    if pixels is None and not _opencv_knows_the_limit():
        raise DetectorError(
            "is not an image whose size can be told before it is decoded (JPEG, PNG, WebP, BMP, "
            "TIFF, GIF, PNM); for other formats import detector before cv2",
            file=name,
        )
    if pixels is not None and pixels > MAX_IMAGE_PIXELS:
        raise DetectorError(f"cannot be decoded: more than {MAX_IMAGE_PIXELS} pixels", file=name)


@cache
def _opencv_knows_the_limit() -> bool:
    """Whether OpenCV refuses an image above the limit.

    It reads its variable once, when it is loaded: maybe before this file, or with another value.
    """
    width = 2**14
    header = f"P5 {width} {MAX_IMAGE_PIXELS // width + 1} 255\n".encode()  # without its pixels
    try:
        cv2.imdecode(np.frombuffer(header, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        return "MAX_IMAGE_PIXELS" in str(error)
    return False


def _why_not_decoded(data: bytes) -> str:
    if data.startswith(_JPEG_START) and _JPEG_END not in data[-_JPEG_TRAILER_BYTES:]:
        return "is a truncated JPEG (its end marker is missing)"
    return "is not an image that OpenCV can decode"


def write_image(path: str | Path, image_rgb: Image) -> None:
    """Write an image; the format follows the suffix; the file appears whole or not at all."""
    path = Path(path)
    if not cv2.haveImageWriter(path.name):
        raise DetectorError(f"no image format has the suffix {path.suffix!r}", file=path)
    done, data = cv2.imencode(path.suffix, cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise DetectorError("cannot be encoded", file=path)
    with atomic(path) as temporary:
        temporary.write_bytes(data.tobytes())
