"""Bad requests: each is answered by its status and one line, and the next good one as before."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detector.utils.opencv import encode_image

UNKNOWN = "is not a JPEG, PNG, WebP, BMP, TIFF, GIF or PNM image, or its header is cut"

GREY = np.full((64, 64, 3), 100, np.uint8)
JPEG = encode_image(GREY, ".jpg")
PNG = encode_image(GREY, ".png")


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG file that declares a size, without any pixel."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


BAD_IMAGES = [
    (b"", "is empty, expected an image"),
    (b"\0", UNKNOWN),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UNKNOWN),
    (b"%PDF-1.7\n", UNKNOWN),
    (b"\0\0\0\x1cftypavif" + bytes(64), UNKNOWN),  # read by detect; its size is unknown before
    (JPEG[:2], UNKNOWN),
    (JPEG[:-200], "is a truncated JPEG (its end marker is missing)"),
    (PNG[:20], UNKNOWN),
    (PNG[:-100], "is not an image that OpenCV can decode"),
    (png_header(7100, 7100), "has 50,410,000 pixels, at most 50,000,000 are read"),
    (
        png_header(2**31 - 1, 2**31 - 1),
        "has 4,611,686,014,132,420,609 pixels, at most 50,000,000 are read",
    ),
    (b"P6 100000 100000 255\n", "has 10,000,000,000 pixels, at most 50,000,000 are read"),
]


@pytest.mark.parametrize(("data", "error"), BAD_IMAGES, ids=range(len(BAD_IMAGES)))
def test_bad_images(client: Callable[..., Any], data: bytes, error: str) -> None:
    http = client()
    answer = http.post("/v1/detect", files={"image": ("bad.jpg", data)})
    assert (answer.status_code, answer.json()) == (422, {"error": f"bad.jpg: {error}"})
    answer = http.post("/v1/detect", content=data, headers={"content-type": "image/jpeg"})
    assert (answer.status_code, answer.json()) == (422, {"error": f"image: {error}"})
    assert http.post("/v1/detect", files={"image": PNG}).status_code == 200


def test_one_bad_image_among_good_ones(client: Callable[..., Any]) -> None:
    files = [("images", ("a.png", PNG)), ("images", ("b.png", b"x")), ("images", ("c.png", PNG))]
    answer = client().post("/v1/detect", files=files)
    assert (answer.status_code, answer.json()) == (422, {"error": f"b.png: {UNKNOWN}"})


def form(*parts: bytes, end: bytes = b"--B--\r\n") -> bytes:
    return b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + end


IMAGE = b'content-disposition: form-data; name="image"\r\n\r\n' + PNG
FORM = "multipart/form-data; boundary=B"


@pytest.mark.parametrize(
    ("kind", "body", "status", "error"),
    [
        ("", b"", 415, "expected content-type multipart/form-data or image/…, found ''"),
        ("text/plain", PNG, 415, "expected content-type multipart/form-data or image/…, found "),
        ("application/json", b"{}", 415, "expected content-type multipart/form-data or image/…"),
        ("multipart/form-data", form(IMAGE), 400, "content-type multipart/form-data without a"),
        (FORM, b"", 400, "the form is cut: its last boundary is missing"),
        (FORM, b"--B--\r\n", 400, "the form has no field 'image'"),
        (FORM, form(IMAGE, end=b""), 400, "the form is cut: its last boundary is missing"),
        (FORM, form(IMAGE)[:-40], 400, "the form is cut: its last boundary is missing"),
        (FORM, b"no form", 400, "the form is broken: "),
        (
            FORM,
            form(IMAGE.replace(b'"image"', b'"imgae"')),
            400,
            "unknown field 'imgae' of the form; did you mean 'image'?",
        ),
        (
            FORM,
            form(IMAGE.replace(b'"image"', b'"zzz"')),
            400,
            "unknown field 'zzz' of the form; expected 'image' or 'images'",
        ),
        (FORM, form(b"\r\n" + PNG), 400, "unknown field '' of the form; expected 'image'"),
        (FORM, form(b"x: " + b"y" * 9000 + b"\r\n" + IMAGE), 400, "the form is broken: |a field's"),
        (FORM, form(*[IMAGE] * 3), 413, "the form has more than 2 images"),
        (FORM, form(IMAGE + bytes(100_000)), 413, "the request has more than 0.1 MB"),
        ("image/png", PNG + bytes(100_000), 413, "the request has more than 0.1 MB"),
        ("multipart/form-data; boundary=" + "B" * 300, b"", 400, "the form is broken: Boundary"),
    ],
)
def test_bad_bodies(
    client: Callable[..., Any], kind: str, body: bytes, status: int, error: str
) -> None:
    http = client(max_images=2, max_mb=0.1)
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    for content in (body, iter(pieces)):  # with a stated length, and without
        answer = http.post("/v1/detect", content=content, headers={"content-type": kind})
        assert answer.status_code == status, answer.text
        assert list(answer.json()) == ["error"]
        line = answer.json()["error"]
        assert line.startswith(tuple(error.split("|"))), line
        assert "\n" not in line
    answer = http.post("/v1/detect", content=form(IMAGE), headers={"content-type": FORM})
    assert answer.status_code == 200


def test_compressed_bodies_are_refused(client: Callable[..., Any]) -> None:
    headers = {"content-type": "image/png", "content-encoding": "gzip"}
    answer = client().post("/v1/detect", content=PNG, headers=headers)
    error = "content-encoding 'gzip'; send images as they are"
    assert (answer.status_code, answer.json()) == (415, {"error": error})


def test_names_of_files_cannot_break_a_line(client: Callable[..., Any]) -> None:
    part = b'content-disposition: form-data; name="image"; filename="a%0Ab\x1b[31m"\r\n\r\nx'
    answer = client().post("/v1/detect", content=form(part), headers={"content-type": FORM})
    assert answer.status_code == 422
    assert not re.search(r"[\x00-\x1f]", answer.json()["error"])


def test_memory_of_all_uploads(client: Callable[..., Any]) -> None:
    http = client(upload_mb=0.001)  # 1000 bytes
    answer = http.post("/v1/detect", files={"image": PNG + bytes(1000)})
    error = "other requests hold the 0.001 MB that uploads may take; try again"
    assert (answer.status_code, answer.json()) == (503, {"error": error})
    assert answer.headers["retry-after"] == "1"
    for _ in range(10):  # what a request held is free after it
        assert http.post("/v1/detect", files={"image": PNG}).status_code == 200


def test_pixels(client: Callable[..., Any]) -> None:
    http = client(max_megapixels=0.004)  # 4000 pixels; the image has 64 · 64 = 4096
    answer = http.post("/v1/detect", files={"image": PNG})
    error = "upload: has 4,096 pixels, at most 4,000 are read"
    assert answer.status_code == 422
    assert answer.json() == {"error": error}
