"""TIFF images: what OpenCV would decode to other colors is refused by name."""

from __future__ import annotations

import io
import struct

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from detector.utils.errors import DetectorError
from detector.utils.image_header import stated_pixels
from detector.utils.opencv import decode_image

RGB, GREY, LAB = 2, 1, 8
MULTIPLIED, TRANSPARENT, UNKNOWN = 1, 2, 0
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
SHORT, LONG = 3, 4
FORMS = {SHORT: "H", LONG: "I"}


def tiff(
    pixels: NDArray[np.generic],
    colors: int = RGB,
    numbers: int = UNSIGNED,
    alpha: int | None = None,
    order: str = "<",
) -> bytes:
    """Return a TIFF file of one strip without compression."""
    height, width, channels = pixels.shape
    content = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    tags: dict[int, tuple[int, list[int]]] = {
        256: (SHORT, [width]), 257: (SHORT, [height]),
        258: (SHORT, [8 * pixels.dtype.itemsize] * channels), 259: (SHORT, [1]),
        262: (SHORT, [colors]), 273: (LONG, [0]), 277: (SHORT, [channels]),
        278: (SHORT, [height]), 279: (LONG, [len(content)]),
        **({} if alpha is None else {338: (SHORT, [alpha])}),
        339: (SHORT, [numbers] * channels),
    }  # fmt: skip
    behind = 8 + 2 + 12 * len(tags) + 4
    long = [len(values) * struct.calcsize(FORMS[kind]) for kind, values in tags.values()]
    tags[273] = LONG, [behind + sum(size for size in long if size > 4)]
    rows, rest = b"", b""
    for tag, (kind, values) in tags.items():
        data = struct.pack(f"{order}{len(values)}{FORMS[kind]}", *values)
        if len(data) > 4:
            data, rest = struct.pack(f"{order}I", behind + len(rest)), rest + data
        rows += struct.pack(f"{order}HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    start = b"II*\0" if order == "<" else b"MM\0*"
    head = start + struct.pack(f"{order}IH", 8, len(tags))
    return head + rows + bytes(4) + rest + content


def of_color(dtype: type, *color: float) -> NDArray[np.generic]:
    return np.full((6, 8, len(color)), color, dtype)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("make", "color"),
    [
        ((of_color(np.uint8, 200, 100, 50),), (200, 100, 50)),
        ((of_color(np.uint8, 200), GREY), (200, 200, 200)),
        ((of_color(np.uint16, 51400, 25700, 12850),), (200, 100, 50)),  # 200 · 257 …
        ((of_color(np.uint8, 200, 100, 50, 255), RGB, UNSIGNED, TRANSPARENT), (200, 100, 50)),
        ((of_color(np.uint8, 200, 100, 50, 255), RGB, UNSIGNED, MULTIPLIED), (200, 100, 50)),
        ((of_color(np.uint8, 200, 100, 50, 7), RGB, UNSIGNED, UNKNOWN), (200, 100, 50)),
        ((of_color(np.uint16, 51400, 257, 0, 65535), RGB, UNSIGNED, TRANSPARENT), (200, 1, 0)),
        ((of_color(np.uint8, 200, 100), GREY, UNSIGNED, TRANSPARENT), (200, 200, 200)),
    ],
)  # fmt: skip
def test_what_is_read(make: tuple[NDArray[np.generic], int], color: object, order: str) -> None:
    content = tiff(*make, order=order)
    image = decode_image(content, "a.tif")
    assert stated_pixels(content) == 48
    assert image.shape == (6, 8, 3)
    assert (image == np.array(color)).all()


SIGNED_MESSAGE = "a.tif: is a TIFF image of signed integers, expected unsigned ones"
ALPHA_MESSAGE = (
    "a.tif: is a TIFF image with transparency, which darkens its colors; save it without an alpha "
    "channel"
)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        ((of_color(np.int8, 100, -100, 50), RGB, SIGNED), SIGNED_MESSAGE),
        ((of_color(np.int8, 100), GREY, SIGNED), SIGNED_MESSAGE),
        ((of_color(np.int16, 20000, -10000, 5000), RGB, SIGNED), SIGNED_MESSAGE),
        ((of_color(np.int16, 20000), GREY, SIGNED), SIGNED_MESSAGE),
        ((of_color(np.uint8, 100, 20, 236), LAB),
         "a.tif: is a TIFF image in L*a*b*, expected RGB or grey"),
        ((of_color(np.uint16, 25600, 5120, 60416), LAB),
         "a.tif: is a TIFF image in L*a*b*, expected RGB or grey"),
        ((of_color(np.uint8, 200, 100, 50, 100), RGB, UNSIGNED, TRANSPARENT), ALPHA_MESSAGE),
        ((of_color(np.uint8, 80, 40, 20, 100), RGB, UNSIGNED, MULTIPLIED), ALPHA_MESSAGE),
        ((of_color(np.uint16, 51200, 25600, 0, 25600), RGB, UNSIGNED, TRANSPARENT), ALPHA_MESSAGE),
        ((of_color(np.float32, 0.5, 0.2, 1), RGB, FLOAT),
         "a.tif: is not an image that OpenCV can decode"),
    ],
)  # fmt: skip
def test_what_is_refused(make: tuple[NDArray[np.generic], int], message: str, order: str) -> None:
    with pytest.raises(DetectorError) as caught:
        decode_image(tiff(*make, order=order), "a.tif")
    assert str(caught.value) == message


def test_files_of_another_library() -> None:
    def written(mode: str, color: tuple[int, ...]) -> bytes:
        stream = io.BytesIO()
        PIL.Image.new(mode, (8, 6), color).save(stream, "tiff", compression="tiff_deflate")
        return stream.getvalue()

    assert (decode_image(written("RGB", (9, 8, 7)), "a") == (9, 8, 7)).all()
    assert (decode_image(written("RGBA", (9, 8, 7, 255)), "a") == (9, 8, 7)).all()
    with pytest.raises(DetectorError, match="is a TIFF image with transparency"):
        decode_image(written("RGBA", (90, 80, 70, 99)), "a")
    with pytest.raises(DetectorError, match="is a TIFF image in L"):
        decode_image(written("LAB", (90, 80, 70)), "a")
