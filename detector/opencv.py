"""OpenCV, imported in one place, and the only functions that read and write image files.

Images are uint8 RGB arrays of shape (height, width, 3) with the EXIF orientation applied.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.errors import DetectorError
from detector.files import atomic

MAX_IMAGE_PIXELS = 2**27
"""Larger images are refused before they are decoded (134 megapixels, 400 MB)."""

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
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DetectorError("is not a regular file, expected an image", file=path)
        return Path(path).read_bytes()
    except OSError as error:
        raise DetectorError(f"cannot be read: {error.strerror}", file=path) from error


def decode_image(data: bytes, name: str) -> Image:
    """Decode the bytes of an image file; ``name`` is what errors call it."""
    if not data:
        raise DetectorError("is empty, expected an image", file=name)
    # OpenCV fills the lost part of a truncated JPEG with grey and reports success.
    if data.startswith(_JPEG_START) and _JPEG_END not in data[-_JPEG_TRAILER_BYTES:]:
        raise DetectorError("is a truncated JPEG (its end marker is missing)", file=name)
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        reason = str(error.err if hasattr(error, "err") else error).split("\n")[0]
        if "MAX_IMAGE_PIXELS" in reason:
            reason = f"more than {MAX_IMAGE_PIXELS} pixels"
        raise DetectorError(f"cannot be decoded: {reason}", file=name) from error
    if image is None:
        raise DetectorError("is not an image that OpenCV can decode", file=name)
    return np.asarray(image, np.uint8)


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
