"""Channels, bits and orientation by the header of a file."""

from __future__ import annotations

import numpy as np
import pytest

from detector.utils.image_content import ImageContent, image_content
from detector.utils.opencv import cv2


def encoded(suffix: str, *shape: int, kind: type = np.uint8) -> bytes:
    return cv2.imencode(suffix, np.full(shape, 90, kind))[1].tobytes()


def with_orientation(jpeg: bytes, value: int, order: str = "big") -> bytes:
    """Add EXIF of one entry: orientation, a short, one value."""
    parts = [(0x2A, 2), (8, 4), (1, 2), (0x0112, 2), (3, 2), (1, 4), (value, 2), (0, 2), (0, 4)]
    tiff = b"".join(number.to_bytes(size, order) for number, size in parts)
    exif = b"Exif\0\0" + (b"MM" if order == "big" else b"II") + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ImageContent()),
        (b"no image", ImageContent()),
        (encoded(".jpg", 8, 8, 3), ImageContent()),
        (encoded(".jpg", 8, 8), ImageContent(channels=1)),
        (encoded(".png", 8, 8, 3), ImageContent()),
        (encoded(".png", 8, 8), ImageContent(channels=1)),
        (encoded(".png", 8, 8, 4), ImageContent(has_alpha=True)),
        (encoded(".png", 8, 8, 3, kind=np.uint16), ImageContent(bits=16)),
        (encoded(".bmp", 8, 8, 3), ImageContent()),
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x10", ImageContent(has_alpha=True)),
        (encoded(".png", 8, 8, 3)[:20], ImageContent()),
        (encoded(".jpg", 8, 8, 3)[:10], ImageContent()),
        # a frame of four channels, as CMYK has
        (b"\xff\xd8\xff\xc0\0\x14\x08\0\x08\0\x08\x04", ImageContent(channels=4)),
    ],
)
def test_content(data: bytes, expected: ImageContent):
    assert image_content(data) == expected


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize(("value", "expected"), [(1, 1), (6, 6), (8, 8), (0, 1), (9, 1)])
def test_orientation(order: str, value: int, expected: int):
    data = with_orientation(encoded(".jpg", 8, 16, 3), value, order)
    assert image_content(data).orientation == expected


def test_it_is_the_orientation_that_opencv_applies():
    data = with_orientation(encoded(".jpg", 8, 16, 3), 6)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (16, 8)


@pytest.mark.parametrize("size", [9, 14, 20, 24, 28])
def test_exif_that_ends_early(size: int):
    data = with_orientation(encoded(".jpg", 8, 16, 3), 6)
    assert image_content(data[: 2 + size]) == ImageContent()


def test_segments_without_end():
    assert image_content(b"\xff\xd8" + b"\xff\xe0\0\x02" * 100_000) == ImageContent()
