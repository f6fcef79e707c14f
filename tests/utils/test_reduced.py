"""Decoding at a fraction of the size: the same verdict, and the true size."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from detector.utils.errors import DetectorError
from detector.utils.opencv import cv2, decode_image, decode_reduced


def noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    coarse = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height)), np.uint8)


def encoded(pixels: np.ndarray, form: str, orientation: int = 1) -> bytes:
    file, exif = io.BytesIO(), PIL.Image.Exif()
    exif[0x112] = orientation
    PIL.Image.fromarray(pixels).save(file, form, exif=exif.tobytes(), quality=95)
    return file.getvalue()


@pytest.mark.parametrize(
    ("size_hw", "form", "expected"),
    [
        ((64, 64), "JPEG", (64, 64)),  # as small as asked for
        ((127, 300), "JPEG", (127, 300)),  # half of it would be less
        ((128, 301), "JPEG", (64, 151)),
        ((256, 256), "JPEG", (64, 64)),
        ((2000, 600), "JPEG", (250, 75)),
        ((128, 300), "PNG", (128, 300)),
    ],
)
def test_sizes(rng, size_hw, form, expected):
    image, found = decode_reduced(encoded(noise(rng, *size_hw), form), "a", 64)
    assert (image.shape[:2], found) == (expected, size_hw)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size_hw", [(128, 256), (128, 129), (257, 258), (128, 128)])
def test_the_size_is_that_of_the_turned_image(rng, size_hw, orientation: int):
    data = encoded(noise(rng, *size_hw), "JPEG", orientation)
    whole = decode_image(data, "a")
    image, found = decode_reduced(data, "a", 64)
    assert found == whole.shape[:2]
    small = cv2.resize(whole, image.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - image).mean() < 4  # colors in the same order, corners too


def test_broken_files_are_rejected_alike(rng):
    data = encoded(noise(rng, 256, 300), "JPEG")
    for cut in (0, 1, 2, 3, 100, 700, len(data) // 2, len(data) - 2, len(data) - 1):
        messages = []
        for decode in (decode_image, lambda d, n: decode_reduced(d, n, 64)):
            with pytest.raises(DetectorError) as error:
                decode(data[:cut], "a.jpg")
            messages.append(str(error.value))
        assert messages[0] == messages[1]
