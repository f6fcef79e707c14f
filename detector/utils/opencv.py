"""The only import of OpenCV, and the only functions that read and write image files.

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
from detector.utils.image_header import avif_turns, stated_pixels, tiff_content

MAX_IMAGE_PIXELS = 2**27
"""Largest image that is decoded, in pixels: 134 megapixels, which take 400 MB."""

MAX_IMAGE_BYTES = 1 << 30
"""Largest image file that is read: ``MAX_IMAGE_PIXELS`` of uncompressed 16-bit RGB take 800 MB."""

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_IMAGE_PIXELS))
os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")  # broken files are reported by our own errors

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
    "encode_image",
    "read_bytes",
    "read_image",
    "write_image",
]

Image = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".dib", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm")
    + (".ppm", ".tif", ".tiff", ".webp")
)
"""Suffixes of image files in folders, lower case; a file given by name may have any suffix."""

_PNG, _SIXTEEN_BITS = b"\x89PNG", b"\x10"
"""First bytes of PNG files, and their byte 24 where a channel has 16 bits."""

_WIDE_FORMATS = (
    *(b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"P5", b"P6"),
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
)
"""First bytes of PNG, TIFF, PNM and JPEG 2000 files, whose 16-bit values OpenCV divides by 256."""

MAX_FLAT = 16
"""Largest range of brightness, of 255, at which a divided image counts as flat."""

MAX_DARK = 64
"""Largest maximum, of 255, at which it counts as dark: cameras write 10 to 14 bits into 16."""

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_TRAILER_BYTES = 64 * 1024


def check_image(image_rgb: Any) -> None:
    """Validate an image given by a program.

    Raises:
        DetectorError: it is not a (h, w, 3) uint8 array, or is empty.
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
    """Read the bytes of an image file, for :func:`decode_image`.

    Raises:
        DetectorError: the file is missing, not a regular file, or too large.
    """
    return read_limited(path, MAX_IMAGE_BYTES, "an image")


def decode_image(data: bytes, name: str) -> Image:
    """Decode the bytes of an image file to (height, width, 3) uint8 RGB.

    Args:
        data: content of the file.
        name: name of the file in errors.

    Raises:
        DetectorError: the data are empty, truncated, too large, or not an image.
    """
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
        raise DetectorError(_decoding_failure(data), file=name)
    _check_tiff(data, name)
    _check_contrast(data, image, name)
    return _turned(np.asarray(image, np.uint8), data, name)


def _turned(image_rgb: Image, data: bytes, name: str) -> Image:
    """Turn and mirror an AVIF image as its header says; OpenCV does so for all other formats."""
    turns = avif_turns(data)
    if turns is None:
        raise DetectorError("is an AVIF file of images that are turned differently", file=name)
    if turns.get("irot"):
        image_rgb = np.rot90(image_rgb, turns["irot"])
    if "imir" in turns:
        image_rgb = np.flip(image_rgb, turns["imir"])
    return np.ascontiguousarray(image_rgb)


def _check_tiff(data: bytes, name: str) -> None:
    """Reject a TIFF image whose colors OpenCV would change."""
    content = tiff_content(data)
    if content.is_signed:
        raise DetectorError("is a TIFF image of signed integers, expected unsigned ones", file=name)
    if content.is_lab:
        raise DetectorError("is a TIFF image in L*a*b*, expected RGB or grey", file=name)
    if content.has_alpha and not _is_opaque(data):
        raise DetectorError(
            "is a TIFF image with transparency, which darkens its colors; save it without an alpha "
            "channel",
            file=name,
        )


def _is_opaque(data: bytes) -> bool:
    """Return whether the alpha channel is at its maximum everywhere.

    OpenCV decodes grey images without their alpha channel, and does not multiply them by it.
    """
    values: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.ndim < 3 or values.shape[2] != 4:
        return True
    return bool((values[..., 3] == np.iinfo(values.dtype).max).all())


def _check_contrast(data: bytes, image: Image, name: str) -> None:
    """Reject a 16-bit image that was made dark or flat by dividing its values by 256."""
    if not data.startswith(_WIDE_FORMATS) or (data[:4] == _PNG and data[24:25] != _SIXTEEN_BITS):
        return
    low, high = int(image.min()), int(image.max())
    if high > MAX_DARK and high - low > MAX_FLAT:
        return
    values: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        return
    color = values.reshape(*values.shape[:2], -1)[..., :3]  # without alpha
    low, high = int(color.min()), int(color.max())
    if low == high:
        return  # one color has no contrast to lose
    levels = (high >> 8) - (low >> 8) + 1
    raise DetectorError(
        f"is a 16-bit image with values of {low} to {high} only, of which 8 bits would keep "
        f"{levels} levels of 256; convert the whole set to 8 bits by one range",
        file=name,
    )


def _check_pixels(data: bytes, name: str) -> None:
    """Reject an image whose header declares too many pixels.

    An image whose size is unknown is rejected, too, unless OpenCV enforces the limit itself.
    """
    pixels = stated_pixels(data)
    if pixels is None and not _opencv_enforces_limit():
        raise DetectorError(
            "is not an image whose size is known before decoding (JPEG, PNG, WebP, BMP, TIFF, "
            "GIF, PNM); for other formats import detector before cv2",
            file=name,
        )
    if pixels is not None and pixels > MAX_IMAGE_PIXELS:
        raise DetectorError(f"cannot be decoded: more than {MAX_IMAGE_PIXELS} pixels", file=name)


@cache
def _opencv_enforces_limit() -> bool:
    """Return whether OpenCV refuses an image of more than ``MAX_IMAGE_PIXELS``.

    OpenCV reads the environment variable once, when it is loaded; that may have been before this
    module set it, or with another value.
    """
    width = 2**14
    header = f"P5 {width} {MAX_IMAGE_PIXELS // width + 1} 255\n".encode()  # no pixels follow
    try:
        cv2.imdecode(np.frombuffer(header, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        return "MAX_IMAGE_PIXELS" in str(error)
    return False


def _decoding_failure(data: bytes) -> str:
    """Describe why OpenCV could not decode an image file."""
    if data.startswith(_JPEG_START) and _JPEG_END not in data[-_JPEG_TRAILER_BYTES:]:
        return "is a truncated JPEG (its end marker is missing)"
    return "is not an image that OpenCV can decode"


def write_image(path: str | Path, image_rgb: Image) -> None:
    """Write an image atomically; the suffix determines the format.

    Args:
        path: the file.
        image_rgb: (h, w, 3) uint8.

    Raises:
        DetectorError: the suffix is unknown, or the file cannot be written.
    """
    path = Path(path)
    # OpenCV 5 crashes on text that is not UTF-8.
    if not path.suffix.isascii() or not cv2.haveImageWriter(f"image{path.suffix}"):
        raise DetectorError(f"no image format has the suffix {path.suffix!r}", file=path)
    try:
        data = encode_image(image_rgb, path.suffix)
    except DetectorError as error:
        raise DetectorError(error.message, file=path) from error
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def encode_image(image_rgb: Image, suffix: str) -> bytes:
    """Return an image as the bytes of a file.

    Args:
        image_rgb: (h, w, 3) uint8.
        suffix: of the format, such as ``.png``.

    Raises:
        DetectorError: the format does not take this image.
    """
    done, data = cv2.imencode(suffix, cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
    if not done:
        raise DetectorError("cannot be encoded")
    return data.tobytes()
