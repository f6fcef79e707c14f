"""The size that an image file states."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.utils.image_header import stated_pixels
from detector.utils.opencv import cv2

PIXELS = 12 * 20


def encoded(suffix: str, *flags: int) -> bytes:
    return cv2.imencode(suffix, np.zeros((12, 20, 3), np.uint8), flags)[1].tobytes()


def tiff(order: str, kind: int, *tags: tuple[int, int]) -> bytes:
    """A directory of integers; types 1, 3, 4: one, two, four bytes, at the start of four."""
    letter = {1: "B", 3: "H", 4: "I"}[kind]
    rows = [
        struct.pack(f"{order}HHI", tag, kind, 1)
        + struct.pack(order + letter, value).ljust(4, b"\0")
        for tag, value in tags
    ]
    start = b"II" if order == "<" else b"MM"
    return start + struct.pack(f"{order}HIH", 42, 8, len(rows)) + b"".join(rows)


def big_tiff(*tags: tuple[int, int]) -> bytes:
    rows = b"".join(struct.pack("<HHQQ", tag, 16, 1, value) for tag, value in tags)
    return b"II" + struct.pack("<HHHQQ", 43, 8, 0, 16, len(tags)) + rows


def webp(kind: bytes, body: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tiff", ".ppm"])
def test_what_opencv_writes(suffix: str) -> None:
    assert stated_pixels(encoded(suffix)) == PIXELS


@pytest.mark.parametrize(
    "data",
    [
        encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        # A comment that holds a frame header, filling, and a restart come before the true one.
        b"\xff\xd8\xff\xfe\0\x0a\xff\xc0\0\x11\x08\xff\xff\xff"
        b"\xff\xd0\xff\xff\xff\xc2\0\x11\x08\0\x0c\0\x14",
        encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
        # Canvas: width and height less one, three bytes each.
        webp(b"VP8X", b"\0\0\0\0" + b"\x13\0\0" + b"\x0b\0\0"),
        b"GIF89a" + struct.pack("<HH", 20, 12),
        b"BM" + bytes(12) + struct.pack("<IHH", 12, 20, 12),
        b"BM" + bytes(12) + struct.pack("<Iii", 40, 20, -12),
        tiff("<", 3, (256, 20), (257, 12)),
        tiff(">", 3, (256, 20), (257, 12)),
        tiff(">", 1, (254, 0), (256, 20), (257, 12)),
        tiff("<", 4, (256, 1), (256, 20), (256, 2), (257, 12)),  # the largest of several
        big_tiff((256, 20), (257, 12)),
        b"P4\n# 9 9\n#\n0000000000000020 #\n12\n",
        b"P6 20#12 255 ",  # the byte behind a number is skipped, whatever it is
    ],
)
def test_forms_of_headers(data: bytes) -> None:
    assert stated_pixels(data) == PIXELS


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe0\0\x10",
        b"\xff\xd8\xff\xd9\xff\xc0\0\x11\x08\0\x0c\0\x14",  # it ends before its frame
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIDAT" + bytes(8),
        b"RIFF\0\0\0\0WAVE" + bytes(40),
        webp(b"ANIM", bytes(40)),
        tiff("<", 3, (256, 20)),
        tiff("<", 3, (256, 20), (257, 12)).replace(b"\1\1\3\0", b"\1\1\5\0"),  # a fraction
        b"II*\0\xff\xff\xff\xff",
        b"P6 20",
        b"P6 20 99999999999 255 ",
        b"P5x20 12 255 ",
    ],
)
def test_no_size(data: bytes) -> None:
    assert stated_pixels(data) is None


STARTS = [encoded(suffix) for suffix in (".jpg", ".png", ".webp", ".bmp", ".tiff", ".ppm")]


@given(st.sampled_from(STARTS), st.integers(0, 60), st.binary(max_size=40))
def test_any_bytes_have_a_size_or_none(start: bytes, keep: int, other: bytes) -> None:
    found = stated_pixels(start[:keep] + other)
    assert found is None or found >= 0
