"""Boxes stay on their objects, whatever happens to the image."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data.augment.transforms import (
    Augment,
    Example,
    fit_matrix,
    further_transforms,
    jitter_colors,
    mosaic_matrices,
    random_matrix,
    transform_boxes,
    warp,
    warp_boxes,
    worth_keeping,
)
from detector.settings.heads import AugmentSettings
from detector.structures.preprocess import Preprocess
from detector.utils.errors import DetectorError

NOTHING = AugmentSettings(mosaic=0, translate=0, scale=0, fliplr=0, hsv_h=0, hsv_s=0, hsv_v=0)
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]


def example(
    box: tuple[int, int, int, int] = (30, 20, 70, 50),
    size_hw: tuple[int, int] = (90, 120),
    number: int = 0,
) -> Example:
    """A rectangle of the number's colour on black, and its box."""
    image = np.zeros((*size_hw, 3), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = COLOURS[number]
    return Example(image, np.array([box], np.float32), np.array([number]))


def extent(image: np.ndarray, colour: tuple[int, int, int]) -> tuple[float, ...] | None:
    """The box around a colour, edges from how much of the outermost pixels it covers.

    None where the colour is not seen.
    """
    wanted = np.array(colour) > 0
    coverage = image[..., wanted].min(-1) / 255.0 - (
        image[..., ~wanted].max(-1) / 255.0 if (~wanted).any() else 0
    )
    coverage = np.clip(coverage, 0, 1)
    columns, rows = coverage.max(0), coverage.max(1)
    if columns.max() < 0.5:
        return None
    edges = []
    for profile in (columns, rows):
        inside = np.flatnonzero(profile > 0.02)
        first, last = inside[0], inside[-1]
        edges.append((first + 1 - profile[first], last + profile[last]))
    (x1, x2), (y1, y2) = edges
    return x1, y1, x2, y2


def apply(settings: dict[str, Any], seed: int, examples: list[Example], side: int = 96) -> Example:
    augment = Augment(
        NOTHING.model_copy(update=settings), Preprocess(size_hw=(side, side), pad_value=0)
    )
    return augment(examples, np.random.default_rng(seed))


# ---------------------------------------------------------------------------------------- matrices


def test_fit_is_the_letterbox_of_validation() -> None:
    """The same place as the preprocessing's, which alone decides in validation."""
    boxes = np.array([[30, 20, 70, 50]], np.float32)
    for size_hw in ((90, 120), (120, 90), (50, 50)):
        _, placement = Preprocess(size_hw=(96, 96)).fit(np.zeros((*size_hw, 3), np.uint8))
        ours = transform_boxes(boxes, fit_matrix((*size_hw, 3), (96, 96)))
        assert np.abs(ours - placement.to_input(boxes)).max() <= 0.5  # it places on whole pixels


def test_fit_by_hand() -> None:
    # 90×120 into 96×96: ratio min(96/90, 96/120) = 0.8; 72×96, so 12 pixels above
    assert fit_matrix((90, 120, 3), (96, 96)).tolist() == [[0.8, 0, 0], [0, 0.8, 12], [0, 0, 1]]


def test_transform_boxes_by_hand() -> None:
    # a quarter turn: (x, y) → (−y, x); the corners (1, 2) and (3, 5) become (−2, 1) and (−5, 3)
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], float)
    assert transform_boxes(np.array([[1, 2, 3, 5]], np.float32), turn).tolist() == [[-5, 1, -2, 3]]
    assert transform_boxes(np.zeros((0, 4), np.float32), turn).shape == (0, 4)


def test_mosaic_images_meet_in_one_point() -> None:
    shapes = [(90, 120, 3), (120, 90, 3), (50, 50, 3), (10, 400, 3)]
    matrices = mosaic_matrices(shapes, (96, 96), np.random.default_rng(3))
    corners = []
    for position, (matrix, (height, width, _)) in enumerate(zip(matrices, shapes, strict=True)):
        # the corner that lies inside: bottom right, bottom left, top right, top left
        x, y = (0 if position % 2 else width), (0 if position // 2 else height)
        corners.append(matrix @ [x, y, 1])
        ratio = min(96 / height, 96 / width)
        assert matrix[0, 0] == matrix[1, 1] == pytest.approx(ratio)
    assert np.allclose(corners, corners[0])
    assert np.all((corners[0][:2] >= 48) & (corners[0][:2] <= 144))


def test_settings_of_zero_change_nothing() -> None:
    matrix = random_matrix(NOTHING, (96, 96), (96, 96), np.random.default_rng(0))
    assert np.allclose(matrix, np.eye(3))


def test_flips_by_hand() -> None:
    both = NOTHING.model_copy(update={"fliplr": 1, "flipud": 1})
    matrix = random_matrix(both, (40, 60), (40, 60), np.random.default_rng(0))
    assert matrix.tolist() == [[-1, 0, 60], [0, -1, 40], [0, 0, 1]]


def test_ranges() -> None:
    settings = NOTHING.model_copy(update={"scale": 0.5, "translate": 0.1})
    rng = np.random.default_rng(0)
    matrices = np.array([random_matrix(settings, (100, 100), (100, 100), rng) for _ in range(500)])
    zoom = matrices[:, 0, 0]
    assert 0.5 <= zoom.min() < 0.52
    assert 1.48 < zoom.max() <= 1.5
    centres = (matrices @ [50, 50, 1])[:, :2]  # the centre moves by up to 10 pixels
    assert 40 <= centres.min() < 40.5
    assert 59.5 < centres.max() <= 60
    turned = NOTHING.model_copy(update={"degrees": 10.0})
    matrices = np.array([random_matrix(turned, (100, 100), (100, 100), rng) for _ in range(500)])
    angles = np.degrees(np.arctan2(matrices[:, 0, 1], matrices[:, 0, 0]))
    assert -10 <= angles.min() < -9.8
    assert 9.8 < angles.max() <= 10


# ----------------------------------------------------------------------------------------- warping


@given(st.floats(0.3, 3), st.floats(-30, 60), st.floats(-30, 60), st.booleans(), st.booleans())
def test_boxes_lie_on_their_objects(
    zoom: float, left: float, top: float, flip_x: bool, flip_y: bool
) -> None:
    source = example()
    matrix = np.array(
        [[-zoom if flip_x else zoom, 0, left], [0, -zoom if flip_y else zoom, top], [0, 0, 1]]
    )
    if flip_x:
        matrix[0, 2] += 120 * zoom
    if flip_y:
        matrix[1, 2] += 90 * zoom
    image = warp([source.image], [matrix], (96, 96), 0)
    whole = transform_boxes(source.boxes_xyxy, matrix)[0]
    seen = extent(image, COLOURS[0])
    expected = whole.clip(0, 96)
    if seen is None:
        assert min(expected[2:] - expected[:2]) < 1.5
    elif min(expected[2:] - expected[:2]) > 2:
        # shrinking samples single pixels, so an edge may be off by up to half a source pixel
        assert np.abs(np.array(seen) - expected).max() < 0.6 + 0.5 * max(zoom, 1)


def test_zoom_of_one_copies_pixels() -> None:
    source = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    shifted = warp([source], [np.array([[1, 0, 5], [0, 1, 7], [0, 0, 1]], float)], (40, 50), 99)
    assert np.array_equal(shifted[7:27, 5:35], source)
    shifted[7:27, 5:35] = 99
    assert np.all(shifted == 99)


def test_an_image_outside_the_canvas_draws_nothing() -> None:
    source = np.zeros((20, 30, 3), np.uint8)
    for x, y in ((200, 0), (-200, 0), (0, 200), (0, -200)):
        matrix = np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], float)
        assert np.all(warp([source], [matrix], (40, 50), 99) == 99)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "settings",
    [
        {"fliplr": 1.0},
        {"flipud": 1.0},
        {"translate": 0.2, "scale": 0.5, "fliplr": 0.5},
        {"degrees": 30.0, "shear": 10.0, "scale": 0.2},
    ],
    ids=["fliplr", "flipud", "shift and zoom", "turn and shear"],
)
def test_the_augmented_box_holds_its_object(settings: dict[str, Any], seed: int) -> None:
    result = apply(settings, seed, [example()])
    seen = extent(result.image, COLOURS[0])
    if seen is None:
        assert len(result.boxes_xyxy) == 0
        return
    # The rectangle's corners are the box's corners, so the box is tight even when turned; one
    # that is cut off when turned may be looser.
    (box,) = result.boxes_xyxy
    assert np.all(box[:2] <= np.array(seen[:2]) + 1.2)
    assert np.all(box[2:] >= np.array(seen[2:]) - 1.2)
    if box.min() > 0 and box.max() < 96:
        assert np.abs(box - seen).max() < 2


@pytest.mark.parametrize("seed", range(12))
def test_mosaic_boxes_hold_their_objects(seed: int) -> None:
    sizes = [(90, 120), (120, 90), (50, 50), (200, 120)]
    boxes = [(30, 20, 70, 50), (5, 60, 60, 110), (0, 0, 40, 50), (50, 100, 120, 200)]
    sources = [
        example(box, size, number)
        for number, (box, size) in enumerate(zip(boxes, sizes, strict=True))
    ]
    settings = {"translate": 0.1, "scale": 0.5, "fliplr": 0.5}
    result = apply(settings, seed, sources)
    kept = dict(zip(result.class_ids.tolist(), result.boxes_xyxy, strict=True))
    for number, colour in enumerate(COLOURS):
        seen = extent(result.image, colour)
        if number in kept:
            assert seen is not None
            assert np.abs(kept[number] - seen).max() < 2
        elif seen is not None:  # dropped, since little is left
            area = (seen[2] - seen[0]) * (seen[3] - seen[1])
            assert area < 0.15 * 96 * 96


def test_what_is_left_of_a_box_decides() -> None:
    whole = np.array([[0, 0, 100, 100]] * 5 + [[0, 0, 300, 2.5]], float)
    cut = np.array(
        [
            [0, 0, 100, 10.5],  # 10.5 % of the area is left
            [0, 0, 100, 10.0],  # 10 %
            [0, 0, 2.0, 100],  # 2 pixels wide
            [50, 50, 50, 60],  # nothing
            [40, 40, 100, 100],
            [0, 0, 300, 2.5],  # 120 times as long as wide
        ],
        float,
    )
    assert worth_keeping(whole, cut).tolist() == [True, False, False, False, True, False]


def test_warp_boxes_of_nothing() -> None:
    source = Example(np.zeros((9, 9, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, int))
    boxes, class_ids = warp_boxes([source], [np.eye(3)], (32, 32))
    assert boxes.shape == (0, 4)
    assert boxes.dtype == np.float32
    assert class_ids.shape == (0,)


def test_the_source_is_not_changed() -> None:
    source = example()
    image, boxes = source.image.copy(), source.boxes_xyxy.copy()
    every = {"scale": 0.5, "fliplr": 0.5, "hsv_h": 0.5, "hsv_s": 0.5, "hsv_v": 0.5}
    further = [{"name": "RandomBrightnessContrast", "p": 1.0}]
    apply({**every, "albumentations": further}, 1, [source])
    assert np.array_equal(source.image, image)
    assert np.array_equal(source.boxes_xyxy, boxes)


# ----------------------------------------------------------------------------------------- colours


def test_brightness_by_hand() -> None:
    settings = NOTHING.model_copy(update={"hsv_v": 0.4})
    rng = np.random.default_rng(0)
    gain = 1 + np.random.default_rng(0).uniform(-1, 1, 3)[2] * 0.4
    grey = np.full((2, 2, 3), 100, np.uint8)
    assert np.all(jitter_colors(grey, settings, rng) == math.floor(100 * gain))


def test_hue_turns_both_ways_round() -> None:
    """Pure red shifted by ±0.5 · 180 half degrees stays a saturated, bright colour."""
    settings = NOTHING.model_copy(update={"hsv_h": 0.5})
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 255
    colours = {
        tuple(jitter_colors(red, settings, np.random.default_rng(seed))[0, 0].tolist())
        for seed in range(30)
    }
    assert len(colours) > 20
    assert all(max(colour) == 255 and min(colour) == 0 for colour in colours)


def test_no_jitter_gives_the_image_itself() -> None:
    image = example().image
    assert jitter_colors(image, NOTHING, np.random.default_rng(0)) is image


# ------------------------------------------------------------------------- albumentations, by name


def further(*entries: dict[str, Any]) -> Any:
    return further_transforms(entries, (64, 64))


def test_no_list_no_transform() -> None:
    assert further() is None


def test_a_named_transform_is_applied() -> None:
    transform = further({"name": "HorizontalFlip", "p": 1.0}, {"name": "InvertImg", "p": 1})
    source = example((10, 20, 40, 50), (64, 64))
    result = transform(source, np.random.default_rng(0))
    assert result.boxes_xyxy.tolist() == [[24, 20, 54, 50]]  # 64 − 40, 64 − 10
    assert np.array_equal(result.image, 255 - source.image[:, ::-1])
    assert result.class_ids.tolist() == [0]


def test_the_generator_decides_everything() -> None:
    transform = further({"name": "GaussNoise", "p": 1.0}, {"name": "HorizontalFlip", "p": 0.5})
    source = example((10, 20, 40, 50), (64, 64))
    first, again = (
        [transform(source, np.random.default_rng(seed)) for seed in range(6)] for _ in range(2)
    )
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.image, two.image)
        assert np.array_equal(one.boxes_xyxy, two.boxes_xyxy)
    assert len({result.image.tobytes() for result in first}) == 6
    assert len({result.boxes_xyxy.tobytes() for result in first}) == 2


def test_a_sliver_is_no_target() -> None:
    """Of a side of 40 pixels 10 are left, a quarter, or 3, less than a tenth."""
    source = example((0, 0, 40, 60), (64, 64))
    for moved, left in ((30, 1), (37, 0)):
        transform = further({"name": "Affine", "translate_px": {"x": -moved, "y": 0}, "p": 1.0})
        assert len(transform(source, np.random.default_rng(0)).class_ids) == left


def test_an_image_without_boxes_passes() -> None:
    transform = further({"name": "HorizontalFlip", "p": 1.0})
    empty = Example(np.zeros((64, 64, 3), np.uint8), np.zeros((0, 4), np.float32), np.zeros(0, int))
    result = transform(empty, np.random.default_rng(0))
    assert result.boxes_xyxy.shape == (0, 4)
    assert result.class_ids.dtype == np.int64


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"p": 0.1}, "albumentations[1]: no name, expected e.g. {name: Blur, p: 0.1}"),
        (
            {"name": "Blurr", "p": 0.1},
            "albumentations[1]: unknown transform 'Blurr'; did you mean 'Blur'?",
        ),
        # what albumentations has besides transforms cannot be named
        ({"name": "Compose"}, "albumentations[1]: unknown transform 'Compose'"),
        ({"name": "os"}, "albumentations[1]: unknown transform 'os'"),
        ({"name": "__builtins__"}, "albumentations[1]: unknown transform '__builtins__'"),
        (
            {"name": "Blur", "blur_limits": 3},
            "albumentations[1]: Blur has no argument 'blur_limits'; did you mean 'blur_limit'?",
        ),
        ({"name": "Blur", "p": 3}, "albumentations[1]: Blur: p: expected at most 1, found 3"),
        (
            {"name": "Blur", "blur_limit": "big"},
            "albumentations[1]: Blur: blur_limit.tuple[int, int]: expected a list, found 'big'",
        ),
        (
            {"name": "Resize", "height": 8, "width": 8},
            "albumentations[1]: Resize gives (8, 8, 3) uint8 images, expected (64, 64, 3) uint8",
        ),
        (
            {"name": "RandomCrop", "height": 100, "width": 100},
            "albumentations[1]: RandomCrop: Crop size ",
        ),
        (
            {"name": "ToFloat"},
            "albumentations[1]: ToFloat gives (64, 64, 3) float32 images, expected ",
        ),
    ],
)
def test_bad_lists(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        further({"name": "Blur", "p": 0.1}, entry)
    text = str(caught.value)
    assert text.startswith(message)
    assert "\n" not in text


def test_albumentations_is_imported_only_when_used_and_asks_nobody() -> None:
    code = (
        "import sys, socket\n"
        "def refuse(*a, **k): raise SystemExit('a socket was opened')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from detector.data.augment.transforms import further_transforms\n"
        "assert further_transforms([], (32, 32)) is None\n"
        "assert 'albumentations' not in sys.modules\n"
        "further_transforms([{'name': 'Blur'}], (32, 32))\n"
        "assert 'albumentations' in sys.modules\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
