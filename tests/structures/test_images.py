"""Images in every form give the pixels of the file they came from."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.structures.images import to_rgb
from detector.utils.errors import DetectorError
from detector.utils.opencv import Image, cv2, decode_image, read_image, write_image

pillow = pytest.importorskip("PIL.Image")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def image(rng: np.random.Generator) -> Image:
    return rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)


def planes(image: Image) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


def encoded(image: Any, form: str = "png", **options: object) -> bytes:
    """The bytes of a file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def test_every_form_of_an_image_gives_equal_pixels(image: Image, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, image)
    before = image.copy()
    for form in (
        path,
        str(path),
        path.read_bytes(),
        bytearray(path.read_bytes()),
        pillow.open(path),
        pillow.fromarray(image),
        image,
        image[:, ::-1][:, ::-1],  # a view of other strides
        planes(image),
        planes(image) / 255,
        (planes(image).double() / 255).requires_grad_(),
        torch.nn.Parameter(planes(image).float() / 255),
    ):
        found = to_rgb(form)
        assert (found.dtype, found.shape) == (np.uint8, (12, 20, 3))
        np.testing.assert_array_equal(found, before)
    np.testing.assert_array_equal(to_rgb(image[..., ::-1], bgr=True), before)
    np.testing.assert_array_equal(to_rgb(path, bgr=True), before)  # a file says its order itself
    np.testing.assert_array_equal(image, before)


def test_16_bit_floats_are_within_a_level(image: Image) -> None:
    """Half precision has 11 bits, bfloat16 8, of which 255/256 are the worst."""
    for dtype, limit in ((torch.float16, 0), (torch.bfloat16, 1)):
        found = to_rgb((planes(image) / 255).to(dtype))
        assert np.abs(found.astype(int) - image).max() <= limit


def test_grey_becomes_three_equal_channels(image: Image) -> None:
    grey = np.ascontiguousarray(image[..., 1])
    threefold = np.dstack([grey] * 3)
    for form in (grey, pillow.fromarray(grey), encoded(pillow.fromarray(grey))):
        np.testing.assert_array_equal(to_rgb(form), threefold)
    np.testing.assert_array_equal(to_rgb(grey, bgr=True), threefold)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_pillow_image_equals_its_file(mode: str, image: Image) -> None:
    """Alpha is left out, not laid over black or white; a palette is looked up."""
    with_alpha = np.dstack([image, image[..., 0]])
    form = pillow.fromarray(with_alpha).convert(mode)
    np.testing.assert_array_equal(to_rgb(form), decode_image(encoded(form), "a.png"))


def test_a_palette_with_a_transparent_colour() -> None:
    form = pillow.new("P", (4, 2), 1)
    form.putpalette([0, 0, 0, 10, 20, 30])
    data = encoded(form, transparency=1)
    opened = pillow.open(io.BytesIO(data))
    assert (opened.mode, opened.info["transparency"]) == ("P", 1)
    expected = np.full((2, 4, 3), (10, 20, 30), np.uint8)
    np.testing.assert_array_equal(to_rgb(opened), expected)
    np.testing.assert_array_equal(to_rgb(data), expected)


def test_16_bits_keep_the_upper_8(rng: np.random.Generator) -> None:
    grey = rng.integers(0, 1 << 16, (6, 5)).astype(np.uint16)
    upper = np.dstack([(grey // 256).astype(np.uint8)] * 3)
    data = cv2.imencode(".png", grey)[1].tobytes()
    for form in (data, pillow.open(io.BytesIO(data)), pillow.fromarray(grey.astype(np.int32))):
        np.testing.assert_array_equal(to_rgb(form), upper)


def test_cmyk_is_converted_by_pillow() -> None:
    """Cyan alone takes all red away; half of black takes half of the rest."""
    form = pillow.new("CMYK", (3, 2), (255, 0, 0, 0))
    np.testing.assert_array_equal(to_rgb(form), np.full((2, 3, 3), (0, 255, 255), np.uint8))
    form = pillow.new("CMYK", (3, 2), (0, 0, 0, 255))
    np.testing.assert_array_equal(to_rgb(form), np.zeros((2, 3, 3), np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_both(orientation: int, image: Image) -> None:
    exif = pillow.Exif()
    exif[0x0112] = orientation
    data = encoded(pillow.fromarray(image), exif=exif)
    opened = pillow.open(io.BytesIO(data))
    np.testing.assert_array_equal(to_rgb(opened), to_rgb(data))
    assert to_rgb(opened).shape == ((20, 12, 3) if orientation > 4 else (12, 20, 3))
    assert opened.size == (20, 12)  # the one that was given stays as it is


ARRAY = "expected a uint8 array of shape (h, w, 3) or (h, w), found "
TENSOR = "expected a tensor of shape (3, h, w), uint8 or floating-point numbers in 0..1, found "
KIND = (
    "expected an image as path, bytes of a file, numpy array, Pillow image or torch tensor, found "
)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), ARRAY + "uint8 of shape (0, 5, 3)"),
        (np.zeros((4, 5, 3), np.float32), ARRAY + "float32 of shape (4, 5, 3)"),
        (np.zeros((4, 5), bool), ARRAY + "bool of shape (4, 5)"),
        (np.zeros((3, 4, 5), np.uint8), ARRAY + "uint8 of shape (3, 4, 5)"),
        (np.zeros((4, 5, 4), np.uint8), ARRAY + "uint8 of shape (4, 5, 4)"),
        (np.zeros((2, 4, 5, 3), np.uint8), ARRAY + "uint8 of shape (2, 4, 5, 3)"),
        (torch.zeros(3, 0, 5), TENSOR + "torch.float32 of shape (3, 0, 5)"),
        (torch.zeros(4, 5, 3), TENSOR + "torch.float32 of shape (4, 5, 3)"),
        (torch.zeros(1, 3, 4, 5), TENSOR + "torch.float32 of shape (1, 3, 4, 5)"),
        (torch.zeros(3, 4, 5, dtype=torch.int64), TENSOR + "torch.int64 of shape (3, 4, 5)"),
        (torch.full((3, 4, 5), 114.0),
         "expected a tensor of numbers in 0..1, found 114 to 114; "
         "normalized images are not accepted"),
        (torch.linspace(-2.118, 2.64, 60).reshape(3, 4, 5),
         "expected a tensor of numbers in 0..1, found -2.118 to 2.64; "
         "normalized images are not accepted"),
        (torch.full((3, 4, 5), torch.nan),
         "expected a tensor of numbers in 0..1, found nan to nan; "
         "normalized images are not accepted"),
        (pillow.new("F", (4, 5)),
         "a Pillow image of mode 'F' cannot be converted to RGB: its values have no known range"),
        (pillow.new("I", (4, 5), 1 << 20),
         "a Pillow image of mode 'I' cannot be converted to RGB: its values are outside 0..65535"),
        (pillow.new("RGB", (0, 5)),
         "a Pillow image of 0×5 pixels, expected 1 to 134217728 in all"),
        (b"", "image bytes: is empty, expected an image"),
        (b"hello", "image bytes: is not an image that OpenCV can decode"),
        ("none.png", "none.png: cannot be read: No such file or directory"),
        (None, KIND + "NoneType"),
        ({"path": "a.png"}, KIND + "dict"),
    ],
)  # fmt: skip
def test_what_is_no_image(form: Any, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        to_rgb(form)
    assert str(caught.value) == message


def test_a_truncated_file_that_pillow_has_opened(image: Image) -> None:
    opened = pillow.open(io.BytesIO(encoded(pillow.fromarray(image))[:200]))
    with pytest.raises(
        DetectorError, match="^a Pillow image of mode 'RGB' cannot be converted to RGB: "
    ):
        to_rgb(opened)


WITHOUT = """
import sys
for name in ("torch", "PIL", "PIL.Image"):
    sys.modules[name] = None  # importing it raises ImportError
import numpy as np
from detector.structures.images import to_rgb
forms = (sys.argv[1], open(sys.argv[1], "rb").read(), np.ones((12, 20), np.uint8))
print(*(to_rgb(form).shape for form in forms))
"""


def test_neither_torch_nor_pillow_is_needed(image: Image, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", image)
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "a.png")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(12, 20, 3) (12, 20, 3) (12, 20, 3)\n", "")


def test_a_jpeg_s_bytes_are_decoded_as_its_file_is(image: Image, tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", image)
    found = to_rgb((tmp_path / "a.jpg").read_bytes())
    np.testing.assert_array_equal(found, read_image(tmp_path / "a.jpg"))
