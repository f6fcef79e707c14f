"""Reading and writing image files."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from PIL import features

from detector.utils.errors import DetectorError
from detector.utils.image_header import avif_turns
from detector.utils.opencv import (
    IMAGE_SUFFIXES,
    MAX_IMAGE_PIXELS,
    Image,
    check_image,
    cv2,
    decode_image,
    read_image,
    write_image,
)


@pytest.fixture
def image(rng: np.random.Generator) -> Image:
    return rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)


def encoded(suffix: str, array: np.ndarray) -> bytes:
    return cv2.imencode(suffix, array)[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tiff"])
def test_written_images_are_read_unchanged(suffix: str, image: Image, tmp_path: Path) -> None:
    file = tmp_path / f"a{suffix}"
    write_image(file, image)
    read = read_image(file)
    assert read.dtype == np.uint8
    if suffix != ".webp":  # that one loses a little
        np.testing.assert_array_equal(read, image)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_is_of_a_format_that_is_read(suffix: str) -> None:
    """Black on the left, white on the right."""
    if not cv2.haveImageWriter(f"a{suffix}"):
        pytest.skip(f"this OpenCV writes no {suffix}")
    shape = (64, 96) if suffix in (".pbm", ".pgm") else (64, 96, 3)
    image = np.zeros(shape, np.uint8)
    image[:, 48:] = 255
    read = decode_image(encoded(suffix, image), "a")
    assert read.shape == (64, 96, 3)
    assert read[:, :32].max() < 8
    assert read[:, 64:].min() > 247


def test_channels_are_red_green_blue(tmp_path: Path) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    write_image(tmp_path / "red.png", red)
    assert cv2.imread(str(tmp_path / "red.png"))[0, 0].tolist() == [0, 0, 255]  # OpenCV: BGR
    assert read_image(tmp_path / "red.png")[0, 0].tolist() == [255, 0, 0]


def test_grey_alpha_and_16_bit_become_three_channels(image: Image) -> None:
    grey = image[..., 0]
    threefold = np.repeat(grey[..., None], 3, -1)
    np.testing.assert_array_equal(decode_image(encoded(".png", grey), "a"), threefold)
    wide = grey.astype(np.uint16) << 8
    np.testing.assert_array_equal(decode_image(encoded(".png", wide), "a"), threefold)
    with_alpha = np.dstack([image[..., ::-1], np.zeros((12, 20), np.uint8)])
    np.testing.assert_array_equal(decode_image(encoded(".png", with_alpha), "a"), image)


RAMP = np.tile(np.linspace(0, 1, 64), (48, 1))


def color(values: np.ndarray) -> np.ndarray:
    return np.dstack([values] * 3)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".jp2"])
@pytest.mark.parametrize(
    ("low", "high", "levels"),
    [
        (0, 255, 1),  # 8 bits: black
        (0, 4095, 16),  # 12 bits: 4095 / 256 = 15.99
        (0, 16383, 64),  # 14 bits
        (21000, 24000, 12),  # a thermal camera: 82 to 93
    ],
)
def test_16_bit_images_whose_contrast_would_be_lost(
    suffix: str, low: int, high: int, levels: int
) -> None:
    values = (low + RAMP * (high - low)).round().astype(np.uint16)
    layouts = [values] if suffix == ".pgm" else [values, color(values)]
    for layout in layouts:
        with pytest.raises(DetectorError) as caught:
            decode_image(encoded(suffix, layout), "a.png")
        assert str(caught.value) == (
            f"a.png: is a 16-bit image with values of {low} to {high} only, of which 8 bits would "
            f"keep {levels} levels of 256; convert the whole set to 8 bits by one range"
        )


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm", ".jp2"])
@pytest.mark.parametrize(("low", "high"), [(0, 65535), (0, 16640), (20000, 28000), (700, 700)])
def test_16_bit_images_with_contrast(suffix: str, low: int, high: int) -> None:
    values = (low + RAMP * (high - low)).round().astype(np.uint16)
    read = decode_image(encoded(suffix, values), "a")
    np.testing.assert_array_equal(read[..., 0], values >> 8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_dark_and_flat_images_of_8_bits_are_read(suffix: str) -> None:
    for values in (RAMP * 15, 80 + RAMP * 5, RAMP * 0):
        read = decode_image(encoded(suffix, values.astype(np.uint8)), "a")
        np.testing.assert_array_equal(read[..., 0], values.astype(np.uint8))


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Put an EXIF segment with an orientation behind the start of a JPEG."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation_is_applied(orientation: int, turn: object, image: Image) -> None:
    jpeg = encoded(".jpg", image)
    upright = decode_image(jpeg, "a")
    turned = decode_image(with_orientation(jpeg, orientation), "a")
    np.testing.assert_array_equal(turned, turn(upright))  # type: ignore[operator]


def png_header_of(width: int, height: int) -> bytes:
    """A PNG that promises an image it does not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100)
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty, expected an image"),
        (b"hello", "is not an image that OpenCV can decode"),
        (b"\xff\xd8\xff\xe0", "is a truncated JPEG (its end marker is missing)"),
        (png_header_of(20_000, 20_000), f"cannot be decoded: more than {MAX_IMAGE_PIXELS} pixels"),
    ],
)
def test_no_image(data: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(data)
    with pytest.raises(DetectorError) as caught:
        read_image(file)
    assert str(caught.value) == f"{file}: {message}"


LIMIT = f"cannot be decoded: more than {MAX_IMAGE_PIXELS} pixels"
UNKNOWN = (
    "is not an image whose size is known before decoding (JPEG, PNG, WebP, BMP, TIFF, GIF, "
    "PNM); for other formats import detector before cv2"
)


def in_new_process(code: str, environment: dict[str, str]) -> str:
    """Return the output of a program run in the checkout with OpenCV's default limit."""
    root = Path(__file__).resolve().parents[2]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV_")}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout


@pytest.mark.parametrize(
    ("imports", "environment", "messages"),
    [
        ("import cv2", {}, [LIMIT, UNKNOWN]),
        ("pass", {"OPENCV_IO_MAX_IMAGE_PIXELS": str(2**33)}, [LIMIT, UNKNOWN]),
        ("pass", {}, [LIMIT, "is not an image that OpenCV can decode"]),
        (
            "import cv2",
            {"OPENCV_IO_MAX_IMAGE_PIXELS": "100"},
            [LIMIT, "is not an image that OpenCV can decode"],
        ),
    ],
)
def test_the_limit_holds_whoever_loads_opencv(
    imports: str, environment: dict[str, str], messages: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(png_header_of(15_000, 15_000))
    (tmp_path / "b.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n")  # a format without a reader here
    code = (
        f"{imports}\n"
        "from detector.utils.errors import DetectorError\n"
        "from detector.utils.opencv import read_image\n"
        f"for name in {[str(tmp_path / 'a.png'), str(tmp_path / 'b.jp2')]}:\n"
        "    try:\n"
        "        read_image(name)\n"
        "    except DetectorError as error:\n"
        "        print(error.message)\n"
    )
    assert in_new_process(code, environment).splitlines() == messages


def test_a_smaller_limit_of_opencv_is_named() -> None:
    code = (
        "from detector.utils.errors import DetectorError\n"
        "from detector.utils.opencv import decode_image\n"
        "try:\n"
        "    decode_image(b'P5 11 11 255 ' + bytes(121), 'a')\n"
        "except DetectorError as error:\n"
        "    print(error)\n"
    )
    printed = in_new_process(code, {"OPENCV_IO_MAX_IMAGE_PIXELS": "100"})
    assert printed == ("a: cannot be decoded: more pixels than OPENCV_IO_MAX_IMAGE_PIXELS allows\n")


JPEG_KINDS = {
    "baseline": ([], 3),
    "progressive": ([cv2.IMWRITE_JPEG_PROGRESSIVE, 1], 3),
    "grey": ([], 1),
    "restarts": ([cv2.IMWRITE_JPEG_RST_INTERVAL, 2], 3),
}


@pytest.mark.parametrize("kind", JPEG_KINDS)
def test_a_jpeg_that_is_cut_anywhere_is_an_error(kind: str, rng: np.random.Generator) -> None:
    flags, channels = JPEG_KINDS[kind]
    noise = rng.integers(0, 256, (40, 64, channels), dtype=np.uint8)
    jpeg = cv2.imencode(".jpg", noise, flags)[1].tobytes()
    for keep in np.linspace(1, len(jpeg) - 1, 30).astype(int):
        with pytest.raises(DetectorError) as caught:
            decode_image(jpeg[:keep], "cut")
        expected = "cut: is a truncated JPEG (its end marker is missing)"
        assert str(caught.value) == expected or keep == 1  # one byte is no JPEG's start


def test_a_jpeg_with_something_behind_its_end(image: Image) -> None:
    """Telephones put a short video there."""
    jpeg = encoded(".jpg", image)
    expected = decode_image(jpeg, "a")
    for trailer in (b"\0" * 1_000_000, b"ftypmp42" * 10_000):
        np.testing.assert_array_equal(decode_image(jpeg + trailer, "a"), expected)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_truncated_image_is_an_error(suffix: str, part: float, image: Image) -> None:
    data = encoded(suffix, image)
    with pytest.raises(DetectorError, match=r"^cut: (is a truncated JPEG|is not an image)"):
        decode_image(data[: int(len(data) * part)], "cut")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_has_no_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in ("/dev/zero", tmp_path / "pipe.png", tmp_path):
        with pytest.raises(DetectorError) as caught:
            read_image(path)
        assert str(caught.value) == f"{path}: is not a regular file, expected an image"


@pytest.mark.parametrize(
    ("image", "found"),
    [
        ([[0]], "list"),
        (np.zeros((10, 10), np.uint8), "uint8 of shape (10, 10)"),
        (np.zeros((10, 10, 4), np.uint8), "uint8 of shape (10, 10, 4)"),
        (np.zeros((0, 10, 3), np.uint8), "uint8 of shape (0, 10, 3)"),
        (np.zeros((2, 9, 9, 3), np.uint8), "uint8 of shape (2, 9, 9, 3)"),
        (np.zeros((10, 10, 3), np.float32), "float32 of shape (10, 10, 3)"),
    ],
)
def test_arrays_that_are_no_images(image: object, found: str) -> None:
    with pytest.raises(DetectorError) as caught:
        check_image(image)
    expected = f"an image is an (h, w, 3) uint8 RGB array, found {found}"
    assert str(caught.value) == expected


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DetectorError) as caught:
        read_image(tmp_path / "a.jpg")
    assert str(caught.value) == f"{tmp_path / 'a.jpg'}: cannot be read: No such file or directory"


@pytest.mark.parametrize("name", ["a.zzz", "a"])
def test_unknown_suffix(name: str, image: Image, tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match="no image format has the suffix"):
        write_image(tmp_path / name, image)
    assert list(tmp_path.iterdir()) == []


def test_missing_libgl_is_one_line_that_names_the_mend() -> None:
    code = (
        "import sys\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'cv2': raise ImportError('libGL.so.1: cannot open shared object')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "from detector.utils.errors import DetectorError\n"
        "try:\n"
        "    import detector.utils.opencv\n"
        "except DetectorError as error:\n"
        "    print(error)\n"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert result.stdout == (
        "OpenCV does not load (libGL.so.1: cannot open shared object); on a machine without a "
        "screen run: pip install --force-reinstall --no-deps opencv-python-headless\n"
    )


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_as_jpeg_is(orientation: int) -> None:
    """Pillow stores an EXIF orientation as AVIF's own boxes, which OpenCV ignores."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :16], pixels[16:, :16] = 255, 120
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    jpeg, avif = (encoded_by_pillow(pixels, form, exif) for form in ("JPEG", "AVIF"))
    expected, found = decode_image(jpeg, "a").astype(int), decode_image(avif, "a").astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 8  # both are lossy; a wrong corner differs by 100


def encoded_by_pillow(pixels: Image, form: str, exif: PIL.Image.Exif) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, form, exif=exif.tobytes(), quality=95)
    return file.getvalue()


def test_avif_of_images_that_are_turned_differently() -> None:
    turns = b"\0\0\0\x09irot\1"
    start = b"\0\0\0\x1cftypavif"
    assert avif_turns(start + turns + turns) == {"irot": 1}
    assert avif_turns(start + turns + b"\0\0\0\x09irot\2") is None
    assert avif_turns(start + b"mdat" + turns) == {}
    assert avif_turns(turns) == {}
