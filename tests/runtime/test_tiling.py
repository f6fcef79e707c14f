"""Images in tiles: exact boxes, one box for each object, the same for every batch size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.evaluation.returned import ReturnedOutputs
from detector.runtime.backends.backend import OUTPUTS_AFTER_NMS
from detector.runtime.backends.exported import INPUT, ExportedBackend
from detector.runtime.nms.nms import find_candidates, nms
from detector.runtime.pipeline import Pipeline
from detector.runtime.sources import Frame, frames_of
from detector.runtime.tiling import PartBoxes, replaced
from detector.settings.common import TileSettings
from detector.settings.nms import NmsSettings
from detector.structures.preprocess import Preprocess
from detector.structures.tiles import tile_windows
from detector.utils.errors import DetectorError
from detector.utils.opencv import cv2
from tests.runtime.conftest import METADATA, FakeClassifier

TILE = 64
TILES = TileSettings(tiles=TILE, tile_overlap=0.25)
NO_WHOLE = TileSettings(tiles=TILE, tile_overlap=0.25, tile_whole=False)
MOST = 40
"""Boxes that the finder gives for an input."""


class SquareFinder:
    """Finds the boxes of connected bright pixels; the score is their brightness.

    A square of the class 1 is brighter than 200 of 255. It notes the sizes of its batches.
    """

    def __init__(self, batch_size: int | None = None, side: int = TILE) -> None:
        self.task = "detect"
        self.names = ("dim", "bright")
        self.preprocess = Preprocess(size_hw=(side, side), pad_value=0)
        self.batch_size = batch_size
        self.stride = 32
        self.batches: list[int] = []

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.batches.append(len(images))
        boxes = np.zeros((len(images), MOST, 4), np.float32)
        scores = np.zeros((len(images), MOST, 2), np.float32)
        for image, own_boxes, own_scores in zip(images[:, 0], boxes, scores, strict=True):
            bright = (image > 0.3).astype(np.uint8)
            _, labels, stats, _ = cv2.connectedComponentsWithStats(bright)
            for number, (x, y, w, h, _) in enumerate(stats[1:]):
                own_boxes[number] = x, y, x + w, y + h
                level = float(image[labels == number + 1].max())
                own_scores[number, int(level > 200 / 255)] = level
        return boxes, scores

    def postprocess(self, outputs, settings):
        return nms(*outputs, settings)

    def candidates(self, outputs, settings):
        return find_candidates(*outputs, settings)


def drawn(size_hw: tuple[int, int], *squares: tuple[int, int, int, int, int]) -> np.ndarray:
    """A black image with squares x1, y1, x2, y2 of a grey level; later ones lie on top."""
    image = np.zeros((*size_hw, 3), np.uint8)
    for x1, y1, x2, y2, level in squares:
        image[y1:y2, x1:x2] = level
    return image


def run(images, tiling, backend=None, batch=1, **options):
    pipeline = Pipeline(
        backend or SquareFinder(), NmsSettings(**options), batch, options.pop("parallel", 1), tiling
    )
    return [result.detections for result in pipeline(frames_of(images))]


def test_no_frames():
    pipeline = Pipeline(SquareFinder(), NmsSettings(), tiling=TILES)
    assert list(pipeline([])) == []
    assert (pipeline.timing.images, pipeline.timing.inputs) == (0, 0)


def test_small_objects_are_found_where_they_are():
    image = drawn((160, 160), (70, 10, 72, 12, 250), (150, 155, 152, 157, 150))
    (found,) = run([image], TILES)
    assert found.boxes_xyxy.tolist() == [[70, 10, 72, 12], [150, 155, 152, 157]]
    assert found.scores == pytest.approx([250 / 255, 150 / 255])
    assert found.class_ids.tolist() == [1, 0]
    # Without tiles a pixel of the input is 2.5 px of the image.
    (plain,) = run([image], None)
    assert all(value % 2.5 == 0 for box in plain.boxes_xyxy.tolist() for value in box)


def test_nothing_found():
    (found,) = run([drawn((160, 160))], TILES)
    assert found.boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize("size_hw", [(64, 64), (10, 64), (1, 1)])
def test_an_image_no_larger_than_a_tile(size_hw, monkeypatch):
    """It is one input, and the result is the same, to the last bit, as without tiles."""
    monkeypatch.setattr(SquareFinder, "candidates", None)
    image = drawn(size_hw, (0, 0, 5, 5, 220), (20, 0, 30, 9, 130))
    backend = SquareFinder()
    (tiled,), (plain,) = run([image], TILES, backend), run([image], None)
    assert backend.batches == [1]
    assert len(plain) > 0
    assert tiled.boxes_xyxy.tobytes() == plain.boxes_xyxy.tobytes()
    assert tiled.scores.tobytes() == plain.scores.tobytes()


def test_boxes_are_those_of_the_tile_alone_plus_its_corner(rng):
    """To the last bit, where the input is not of the tile's size, and boxes are no whole pixels."""
    backend = SquareFinder(side=96)
    squares = [
        (int(x), int(y), int(x) + 7, int(y) + 5, 180) for x, y in rng.integers(4, 150, (6, 2))
    ]
    image = drawn((160, 160), *squares)
    (found,) = run([image], NO_WHOLE, backend, iou=1)
    alone = []
    for x1, y1, x2, y2 in tile_windows((160, 160), TILE, 0.25):
        (part,) = run([image[y1:y2, x1:x2].copy()], None, backend, iou=1)
        alone += (part.boxes_xyxy + np.array([x1, y1, x1, y1], np.float32)).tolist()
    assert len(found) > 0
    assert any(value % 1 for box in found.boxes_xyxy.tolist() for value in box)
    assert all(box in alone for box in found.boxes_xyxy.tolist())


def test_an_object_in_two_tiles_is_one_box():
    # Columns begin at 0, 48 and 96: 50..60 is whole in the first and in the second.
    (found,) = run([drawn((64, 160), (50, 20, 60, 30, 250))], NO_WHOLE)
    assert found.boxes_xyxy.tolist() == [[50, 20, 60, 30]]


@pytest.mark.parametrize("level", [250, 150])
def test_a_cut_object_is_the_box_of_the_tile_that_shows_it_whole(level, monkeypatch):
    # 56..72 is whole in 48..112; 0..64 shows 56..64, which has an IoU of 8 / 16 with it and could
    # be kept by an NMS at 0.6.
    image = drawn((64, 160), (56, 20, 72, 36, level))
    assert run([image], NO_WHOLE, iou=0.6)[0].boxes_xyxy.tolist() == [[56, 20, 72, 36]]
    monkeypatch.setattr("detector.runtime.tiling.COVERED", 2)
    assert len(run([image], NO_WHOLE, iou=0.6)[0]) == 2


@pytest.mark.parametrize("nms_method", ["nms", "soft-linear", "soft-gaussian", "fusion"])
def test_an_object_larger_than_a_tile(nms_method):
    # Each tile shows a part of it. The whole image, shrunk to 64 px by 0.4, shows 20..140 as
    # 8..56: back in the image 20..140.
    image = drawn((160, 160), (20, 20, 140, 140, 250))
    (found,) = run([image], TILES, nms_method=nms_method)
    assert found.boxes_xyxy.tolist() == [[20, 20, 140, 140]]
    # Without the whole image, the tiles' parts are all there is: the tile in the middle is full,
    # and those at the corners, from 20 to 64 or from 96 to 140, do not reach it by half.
    (parts,) = run([image], NO_WHOLE)
    assert [48, 48, 112, 112] in parts.boxes_xyxy.tolist()
    assert len(parts) > 1


def test_a_small_object_beside_the_border_of_a_tile_in_front_of_a_large_one():
    """It touches no border: it stays, though it lies in a box of its class from another window."""
    boxes = boxes_of(
        ([0, 0, 150, 150], 0.9, 2, False),  # the whole image
        ([50, 10, 60, 20], 0.8, 0, False),
    )
    assert replaced(boxes, WINDOWS).tolist() == [False, False]


WINDOWS = [(0, 0, 64, 64), (48, 0, 112, 64), (0, 0, 160, 160)]


def boxes_of(*rows) -> PartBoxes:
    boxes, scores, parts, cut, classes = [], [], [], [], []
    for box, score, part, is_cut, *class_id in rows:
        boxes.append(box)
        scores.append(score)
        parts.append(part)
        cut.append(is_cut)
        classes.append(class_id[0] if class_id else 0)
    return PartBoxes(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
        np.array(parts, np.int64),
        np.array(cut, np.bool_),
    )


@pytest.mark.parametrize(
    ("whole", "cut", "expected"),
    [
        # 56..64 of 56..72 is cut by the first window, and whole in the second.
        (([56, 20, 72, 36], 0.9, 1, False), ([56, 20, 64, 36], 0.8, 0, True), True),
        # 0.9 · 0.5 = 0.45: a whole box of 0.5 replaces it, one of 0.4 may be noise.
        (([56, 20, 72, 36], 0.5, 1, False), ([56, 20, 64, 36], 0.9, 0, True), True),
        (([56, 20, 72, 36], 0.4, 1, False), ([56, 20, 64, 36], 0.9, 0, True), False),
        # 8 of 16 rows are covered, and 7 of 16.
        (([56, 28, 72, 60], 0.9, 1, False), ([56, 20, 64, 36], 0.8, 0, True), True),
        (([56, 29, 72, 60], 0.9, 1, False), ([56, 20, 64, 36], 0.8, 0, True), False),
        # another class, the same window, a smaller box
        (([56, 20, 72, 36], 0.9, 1, False, 1), ([56, 20, 64, 36], 0.8, 0, True), False),
        (([56, 20, 72, 36], 0.9, 0, False), ([56, 20, 64, 36], 0.8, 0, True), False),
        (([56, 20, 62, 36], 0.9, 1, False), ([56, 20, 64, 36], 0.8, 0, True), False),
    ],
)  # fmt: skip
def test_which_cut_boxes_are_replaced(whole, cut, expected):
    order = (whole, cut) if whole[1] >= cut[1] else (cut, whole)
    result = replaced(boxes_of(*order), WINDOWS)
    assert result[order.index(cut)] == expected
    assert not result[order.index(whole)]


def test_of_two_equal_cut_boxes_one_remains():
    one, other = ([48, 20, 64, 36], 0.9, 0, True), ([48, 20, 64, 36], 0.9, 1, True)
    assert replaced(boxes_of(one, other), WINDOWS).tolist() == [False, True]


def test_class_agnostic_boxes_are_replaced_by_any_class():
    boxes = boxes_of(
        ([56, 20, 72, 36], 0.9, 1, False, 1), ([56, 20, 64, 36], 0.8, 0, True, 0)
    )  # fmt: skip
    assert replaced(boxes, WINDOWS).tolist() == [False, False]
    assert replaced(boxes, WINDOWS, class_agnostic=True).tolist() == [False, True]


def test_no_boxes_are_replaced():
    assert replaced(boxes_of(), WINDOWS).tolist() == []


def test_pairs_are_compared_a_few_at_a_time(rng, monkeypatch):
    """The same boxes are replaced, whatever the number of pairs at a time."""
    corners = rng.uniform(0, 60, (300, 2))
    rows = [
        ([x, y, x + w, y + h], 0.5, int(rng.integers(3)), bool(rng.random() < 0.5))
        for (x, y), (w, h) in zip(corners, rng.uniform(4, 40, (300, 2)), strict=True)
    ]
    boxes = boxes_of(*rows)
    at_once = replaced(boxes, WINDOWS)
    monkeypatch.setattr("detector.runtime.tiling.MAX_PAIRS", 100)
    assert 0 < at_once.sum() < 300
    assert replaced(boxes, WINDOWS).tolist() == at_once.tolist()


@pytest.mark.parametrize("tiling", [TILES, NO_WHOLE])
def test_the_whole_image_gives_large_boxes_only(tiling):
    """A box of at most the overlap, 16 px, is whole in some tile; that of the image is less exact.

    Shrunk by 0.4, 70..77 is 28..30.8: in the whole image a box from 70 to 77.5.
    """
    image = drawn((160, 160), (70, 70, 77, 77, 250))
    (found,) = run([image], tiling, iou=1)
    assert {tuple(box) for box in found.boxes_xyxy.tolist()} == {(70, 70, 77, 77)}


IMAGES = [
    drawn((160, 160), (20, 20, 140, 60, 250), (5, 100, 9, 104, 150), (100, 90, 120, 110, 130)),
    drawn((64, 64), (5, 5, 10, 10, 230)),
    drawn((70, 200), (60, 20, 75, 40, 250), (180, 50, 190, 60, 170)),
    drawn((300, 40), (10, 30, 30, 130, 210)),
]


@pytest.mark.parametrize("fixed", [None, 1, 4])
@pytest.mark.parametrize("batch", [1, 2, 3, 64])
@pytest.mark.parametrize("parallel", [1, 3])
def test_the_result_does_not_depend_on_batches(fixed, batch, parallel):
    expected = [run([image], TILES)[0] for image in IMAGES]
    backend = SquareFinder(fixed)
    pipeline = Pipeline(backend, NmsSettings(), batch, parallel, TILES)
    results = list(pipeline(frames_of(IMAGES)))
    assert [result.name for result in results] == ["image0", "image1", "image2", "image3"]
    for result, other in zip(results, expected, strict=True):
        assert result.detections.boxes_xyxy.tobytes() == other.boxes_xyxy.tobytes()
        assert result.detections.scores.tobytes() == other.scores.tobytes()
    # 3 · 3 tiles and the image; one; 2 · 4 and the image; 6 · 1 and the image
    assert pipeline.timing.inputs == 10 + 1 + 9 + 7
    assert pipeline.timing.images == 4
    assert max(backend.batches) == (fixed or min(batch, 27))


@pytest.mark.parametrize("nms_method", ["nms", "soft-linear", "soft-gaussian", "fusion"])
@pytest.mark.parametrize("class_agnostic", [False, True])
def test_one_nms_for_the_boxes_of_all_tiles(nms_method, class_agnostic, rng):
    """It gives what NMS gives for the boxes of all tiles, of which none is cut here."""
    settings = NmsSettings(
        nms_method=nms_method, class_agnostic=class_agnostic, iou=0.3, max_detections=7
    )
    windows = tile_windows((160, 160), TILE, 0.25)
    boxes = rng.uniform(10, 30, (9, 20, 4)).astype(np.float32)
    boxes[..., 2:] = boxes[..., :2] + rng.uniform(4, 20, (9, 20, 2))
    scores = rng.uniform(0, 1, (9, 20, 2)).astype(np.float32)

    class Noise(SquareFinder):
        def __call__(self, images):
            self.batches.append(len(images))
            return boxes[len(self.batches) - 1 :][:1], scores[len(self.batches) - 1 :][:1]

    pipeline = Pipeline(Noise(), settings, tiling=NO_WHOLE)
    (result,) = pipeline(frames_of([drawn((160, 160))]))
    corners = np.array([[x, y, x, y] for x, y, _, _ in windows], np.float32)
    kept, values, class_ids = nms(
        (boxes + corners[:, None]).reshape(-1, 4), scores.reshape(-1, 2), settings
    )
    assert len(kept) == 7
    assert result.detections.boxes_xyxy.tolist() == kept.tolist()
    assert result.detections.scores.tolist() == values.tolist()
    assert result.detections.class_ids.tolist() == class_ids.tolist()


def test_limits_count_the_boxes_of_the_whole_image():
    squares = [(x, y, x + 4, y + 4, 150 + x // 4) for x in range(4, 150, 20) for y in (8, 100)]
    (found,) = run([drawn((160, 160), *squares)], NO_WHOLE, max_detections=5)
    assert len(found) == 5
    # The brightest of the image are at x = 144 and x = 124, on both rows, whatever their tiles.
    assert found.boxes_xyxy[:4, 0].tolist() == [144, 144, 124, 124]
    (found,) = run([drawn((160, 160), *squares)], NO_WHOLE, candidates=2)
    assert found.boxes_xyxy[:, 0].tolist() == [144, 144]


def test_classes_are_selected():
    image = drawn((160, 160), (70, 10, 74, 14, 250), (150, 150, 154, 154, 150))
    assert run([image], TILES, classes=(0,))[0].class_ids.tolist() == [0]


def test_rectangles():
    """Tiles and the whole image have inputs of different sizes there."""
    backend = SquareFinder()
    backend.preprocess = backend.preprocess.with_rectangle(32)
    image = drawn((96, 200), (10, 10, 14, 14, 250), (190, 88, 195, 93, 220))
    (found,) = run([image], TILES, backend, batch=3)
    assert found.boxes_xyxy.tolist() == [[10, 10, 14, 14], [190, 88, 195, 93]]


@pytest.mark.parametrize("tiles", [1, 63])
def test_tiles_smaller_than_the_stride(tiles):
    backend = SquareFinder()
    backend.stride = 64
    settings = TileSettings.model_construct(tiles=tiles, tile_overlap=0.2, tile_whole=True)
    with pytest.raises(DetectorError) as caught:
        Pipeline(backend, NmsSettings(), tiling=settings)
    assert str(caught.value) == f"tiles {tiles}: expected at least the network's stride, 64 px"
    Pipeline(backend, NmsSettings(), tiling=TileSettings(tiles=64))


def test_a_classifier():
    with pytest.raises(DetectorError) as caught:
        Pipeline(FakeClassifier(), NmsSettings(), tiling=TILES)
    assert str(caught.value) == "a classifier has no boxes, found tiles"


def test_a_file_that_holds_its_nms():
    metadata = METADATA.model_copy(update={"nms": NmsSettings()})
    inputs = {INPUT: (None, 3, None, None)}
    backend = ExportedBackend(
        Path("x.onnx"), metadata, inputs, dict.fromkeys(OUTPUTS_AFTER_NMS, ())
    )
    with pytest.raises(DetectorError) as caught:
        Pipeline(backend, NmsSettings(), tiling=TILES)
    assert str(caught.value) == (
        "x.onnx: holds its NMS, which would drop boxes before those of all tiles are known, found "
        "tiles 64; export it without --nms"
    )
    Pipeline(backend, NmsSettings())


def test_outputs_computed_elsewhere():
    with pytest.raises(DetectorError) as caught:
        ReturnedOutputs.candidates(None, (), NmsSettings())
    assert str(caught.value) == "outputs computed elsewhere are those of whole images, not of tiles"


def test_an_image_with_too_many_tiles():
    image = np.broadcast_to(np.zeros(3, np.uint8), (8000, 8000, 3))
    settings = TileSettings(tiles=32, tile_overlap=0.5)
    frames = [Frame("map", Path("map.png"), 0, image)]
    with pytest.raises(DetectorError) as caught:
        list(Pipeline(SquareFinder(), NmsSettings(), tiling=settings)(frames))
    assert str(caught.value) == (
        "map.png: 249001 tiles of 32 px with an overlap of 16 px cover an image of 8000×8000 px, "
        "at most 10000 are made; choose larger tiles"
    )
