"""Preprocessing of images, and mapping of boxes to the input and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.structures.preprocess import Placement, Preprocess
from detector.utils.errors import DetectorError


def picture(height: int, width: int, value: int = 200) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


# Sizes, and by hand: new size, offset (left, top), scale (x, y).
@pytest.mark.parametrize(
    ("size_hw", "image_hw", "new_hw", "offset_xy"),
    [
        ((64, 64), (64, 64), (64, 64), (0, 0)),
        ((64, 64), (32, 64), (32, 64), (0, 16)),  # (64 − 32) / 2
        ((64, 64), (100, 50), (64, 32), (16, 0)),  # 50 · 0.64 = 32
        ((64, 96), (100, 100), (64, 64), (16, 0)),
        ((64, 64), (480, 640), (48, 64), (0, 8)),
        ((64, 64), (33, 64), (33, 64), (0, 15)),  # 31 rows over: 15 above, 16 below
        ((64, 64), (1, 6400), (1, 64), (0, 31)),  # never thinner than a pixel
    ],
)
def test_letterbox(
    size_hw: tuple[int, int],
    image_hw: tuple[int, int],
    new_hw: tuple[int, int],
    offset_xy: tuple[int, int],
) -> None:
    canvas, placement = Preprocess(size_hw=size_hw).fit(picture(*image_hw))
    assert canvas.shape == (*size_hw, 3)
    assert canvas.dtype == np.uint8
    assert placement.offset_xy == offset_xy
    assert placement.image_size_hw == image_hw
    assert placement.scale_xy == (new_hw[1] / image_hw[1], new_hw[0] / image_hw[0])
    inside = np.zeros(size_hw, bool)
    left, top = offset_xy
    inside[top : top + new_hw[0], left : left + new_hw[1]] = True
    assert (canvas[inside] == 200).all()
    assert (canvas[~inside] == 114).all()


def test_padding_at_the_right_and_bottom_only() -> None:
    """33 rows of 64 are 31 short: none above, 31 below."""
    preprocess = Preprocess(size_hw=(64, 64), padding="right_bottom")
    canvas, placement = preprocess.fit(picture(33, 64))
    assert placement.offset_xy == (0, 0)
    assert (canvas[:33] == 200).all() and (canvas[33:] == 114).all()
    box = np.array([[10.0, 20, 30, 40]], np.float32)
    np.testing.assert_array_equal(placement.to_image(placement.to_input(box)), [[10, 20, 30, 33]])


def test_sides_rounded_down() -> None:
    """427 · 416 / 640 = 277.55."""
    for rounding, rows in (("nearest", 278), ("down", 277)):
        preprocess = Preprocess(size_hw=(416, 416), rounding=rounding, padding="right_bottom")
        canvas, placement = preprocess.fit(picture(427, 640))
        assert (canvas[:rows] == 200).all() and (canvas[rows:] == 114).all()
        assert placement.scale_xy == (0.65, rows / 427)


def test_blue_comes_first_where_the_network_wants_it() -> None:
    """Mean and scale stay those of red, green, blue: (30 − 10) / 1, (20 − 0) / 2, (10 − 0) / 4."""
    image = np.broadcast_to(np.array([30, 20, 10], np.uint8), (8, 8, 3))
    keys = {"size_hw": (8, 8), "mean_rgb": (10.0, 0.0, 0.0), "scale_rgb": (1.0, 2.0, 4.0)}
    for order, expected in (("rgb", [20, 10, 2.5]), ("bgr", [2.5, 10, 20])):
        planes = Preprocess(channel_order=order, **keys).normalize(image[None])
        assert planes.flags.c_contiguous
        np.testing.assert_array_equal(planes[0, :, 0, 0], expected)


# Letterboxed into 64×96 as by hand, then up to multiples of 32 with ⌊rest / 2⌋ before the image.
@pytest.mark.parametrize(
    ("image_hw", "input_hw", "offset_xy"),
    [
        ((64, 96), (64, 96), (0, 0)),
        ((48, 96), (64, 96), (0, 8)),
        ((32, 96), (32, 96), (0, 0)),
        ((640, 480), (64, 64), (8, 0)),  # 64×48
        ((10, 3000), (32, 96), (0, 15)),  # one row
        ((64, 32), (64, 32), (0, 0)),
    ],
)
def test_smallest_rectangle(
    image_hw: tuple[int, int], input_hw: tuple[int, int], offset_xy: tuple[int, int]
) -> None:
    rectangle = Preprocess(size_hw=(64, 96)).with_rectangle(32)
    assert rectangle.input_size(image_hw) == input_hw
    canvas, placement = rectangle.fit(picture(*image_hw))
    assert canvas.shape == (*input_hw, 3)
    assert placement.offset_xy == offset_xy
    _, square = Preprocess(size_hw=(64, 96)).fit(picture(*image_hw))
    assert placement.scale_xy == square.scale_xy


def test_only_letterboxes_have_rectangles() -> None:
    with pytest.raises(DetectorError) as caught:
        Preprocess(size_hw=(64, 64), mode="stretch").with_rectangle(32)
    assert str(caught.value) == (
        "letterbox rectangle: the model preprocesses by 'stretch', to one size"
    )


def test_stretch_fills_the_input() -> None:
    canvas, placement = Preprocess(size_hw=(64, 32), mode="stretch").fit(picture(16, 64))
    assert (canvas == 200).all()
    assert placement == Placement((0.5, 4.0), (0, 0), (16, 64))


# Sizes, and by hand: the part of the image that fills the input, its left and top.
@pytest.mark.parametrize(
    ("size_hw", "image_hw", "fraction", "part_hw", "left_top"),
    [
        ((224, 224), (256, 256), 0.875, (224, 224), (16, 16)),
        ((224, 224), (512, 768), 0.875, (448, 448), (160, 32)),
        ((224, 224), (800, 500), 0.875, (438, 438), (31, 181)),  # 500 · 0.875 = 437.5
        ((32, 32), (32, 64), 1.0, (32, 32), (16, 0)),
        ((32, 64), (64, 64), 0.5, (16, 32), (16, 24)),  # half of 32×64
        ((32, 32), (1, 3), 1.0, (1, 1), (1, 0)),
        ((32, 32), (1, 100_000), 0.875, (1, 1), (49_999, 0)),
    ],
)
def test_crop(
    size_hw: tuple[int, int],
    image_hw: tuple[int, int],
    fraction: float,
    part_hw: tuple[int, int],
    left_top: tuple[int, int],
) -> None:
    preprocess = Preprocess(size_hw=size_hw, mode="crop", crop_fraction=fraction)
    image = picture(*image_hw)
    (left, top), (height, width) = left_top, part_hw
    image[top : top + height, left : left + width] = 50
    canvas, placement = preprocess.fit(image)
    assert canvas.shape == (*size_hw, 3) and canvas.dtype == np.uint8
    assert (canvas == 50).all()
    corners = np.array([[left, top, left + width, top + height]], np.float32)
    whole = [[0, 0, size_hw[1], size_hw[0]]]
    np.testing.assert_allclose(placement.to_input(corners), whole, atol=1e-2)
    np.testing.assert_allclose(placement.to_image(np.array(whole, np.float32)), corners, atol=1e-2)


def test_an_image_that_is_none() -> None:
    with pytest.raises(DetectorError, match=r"found uint8 of shape \(10, 10\)$"):
        Preprocess(size_hw=(64, 64)).fit(np.zeros((10, 10), np.uint8))


def test_argument_stays_as_it_is() -> None:
    image = picture(64, 64)
    for preprocess in (
        Preprocess(size_hw=(64, 64)),
        Preprocess(size_hw=(64, 64), mode="crop", crop_fraction=1),
    ):
        canvas, _ = preprocess.fit(image)
        canvas[:] = 0
    assert (image == 200).all()


def test_boxes_there_and_back_by_hand() -> None:
    # 100×50 (h×w) into 64×64: scale 0.64, 32 wide, 16 to the left.
    _, placement = Preprocess(size_hw=(64, 64)).fit(picture(100, 50))
    boxes = np.array([[0, 0, 50, 100], [10, 20, 20, 40]], np.float32)
    expected = np.array([[16, 0, 48, 64], [22.4, 12.8, 28.8, 25.6]], np.float32)
    np.testing.assert_allclose(placement.to_input(boxes), expected, rtol=1e-6)
    np.testing.assert_allclose(placement.to_image(expected), boxes, rtol=1e-6, atol=1e-5)
    assert placement.to_image(expected).dtype == np.float32


def test_boxes_are_clipped_to_the_image_and_none_is_fine() -> None:
    _, placement = Preprocess(size_hw=(64, 64)).fit(picture(100, 50))
    outside = np.array([[0, -9, 99, 99]], np.float32)
    np.testing.assert_array_equal(placement.to_image(outside), [[0, 0, 50, 100]])
    none = np.zeros((0, 4), np.float32)
    assert placement.to_image(none).shape == placement.to_input(none).shape == (0, 4)


sides = st.integers(1, 500)


@given(
    st.tuples(sides, sides),
    st.tuples(st.integers(8, 300), st.integers(8, 300)),
    st.sampled_from(["letterbox", "stretch"]),
    st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4),
)
def test_to_image_inverts_to_input(
    image_hw: tuple[int, int], size_hw: tuple[int, int], mode: str, corners: list[float]
) -> None:
    _, placement = Preprocess(size_hw=size_hw, mode=mode).fit(picture(*image_hw))  # type: ignore[arg-type]
    height, width = image_hw
    boxes = np.array([corners], np.float32) * np.array([width, height, width, height], np.float32)
    there = placement.to_input(boxes)
    assert (there >= -1e-3).all()
    assert (there <= np.array([size_hw[1], size_hw[0]] * 2) + 1e-3).all()
    np.testing.assert_allclose(placement.to_image(there), boxes, rtol=1e-4, atol=1e-2)


def test_normalize_by_hand() -> None:
    images = np.zeros((2, 8, 16, 3), np.uint8)
    images[1, 2, 3] = [255, 51, 0]
    planes = Preprocess(size_hw=(8, 16)).normalize(images)
    assert planes.shape == (2, 3, 8, 16)
    assert planes.dtype == np.float32
    assert planes.flags.c_contiguous
    np.testing.assert_allclose(planes[1, :, 2, 3], [1, 0.2, 0])
    assert planes.sum() == pytest.approx(1.2)


def test_normalize_into_memory_that_is_given() -> None:
    images = [picture(8, 16, value) for value in (0, 51, 255)]
    out = np.full((3, 3, 8, 16), np.nan, np.float32)
    assert Preprocess(size_hw=(8, 16)).normalize(images, out) is out
    np.testing.assert_array_equal(out[:, 2, 7, 15], np.float32([0, 51, 255]) / np.float32(255))


def test_mean_and_scale() -> None:
    # SSD's input: minus the mean, no scaling.
    ssd = Preprocess(size_hw=(8, 8), mean_rgb=(123, 117, 104), scale_rgb=(1, 1, 1))
    planes = ssd.normalize(picture(8, 8, 124)[None])
    np.testing.assert_array_equal(planes[0, :, 0, 0], [1, 7, 20])


def test_with_size_and_json() -> None:
    stored = Preprocess(size_hw=(64, 96), mode="stretch", pad_value=0, mean_rgb=(1, 2, 3))
    assert Preprocess.model_validate_json(stored.model_dump_json()) == stored
    other = stored.with_size((32, 32))
    assert other.size_hw == (32, 32)
    assert other.with_size((64, 96)) == stored


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "key 'size_hw' is missing"),
        ({"size_hw": (0, 64)}, "size_hw.0: expected at least 8, found 0"),
        ({"size_hw": (64, 10_000)}, "size_hw.1: expected at most 8192, found 10000"),
        ({"size_hw": 64}, "size_hw: expected a list, found 64"),
        ({"mode": "pad"}, "mode: expected 'letterbox', 'stretch' or 'crop', found 'pad'"),
        ({"crop_fraction": 0}, "crop_fraction: expected more than 0, found 0"),
        ({"pad_value": 256}, "pad_value: expected at most 255, found 256"),
        ({"scale_rgb": (0, 1, 1)}, "scale_rgb.0: expected more than 0, found 0"),
        ({"mean": (0, 0, 0)}, "unknown key 'mean'; did you mean 'mean_rgb'?"),
    ],
)
def test_bad_specification(values: dict[str, object], message: str) -> None:
    size = {"size_hw": (64, 64)} if values else {}
    with pytest.raises(DetectorError) as caught:
        Preprocess(**size | values)
    assert str(caught.value) == message


def test_a_stride_larger_than_the_input_is_refused():
    message = "rectangle 8000 is larger than the input, 64×96"
    assert Preprocess(size_hw=(64, 96), rectangle=96).input_size((64, 96)) == (96, 96)
    with pytest.raises(DetectorError, match=message):
        Preprocess(size_hw=(64, 96), rectangle=8000)
    with pytest.raises(DetectorError, match=message):
        Preprocess(size_hw=(64, 96)).with_rectangle(8000)
    with pytest.raises(DetectorError, match="rectangle: expected at most 8192, found 30000"):
        Preprocess(size_hw=(64, 96), rectangle=30_000)
