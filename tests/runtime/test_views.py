"""Test-time augmentation: views of an image, and one result for all of them."""

from __future__ import annotations

import numpy as np
import pytest

from detector.runtime.backends.backend import OUTPUTS_AFTER_NMS
from detector.runtime.backends.exported import INPUT, ExportedBackend
from detector.runtime.pipeline import Pipeline
from detector.runtime.sources import frames_of
from detector.runtime.views import flipped_boxes, views_of
from detector.settings.common import TileSettings, ViewSettings
from detector.settings.nms import NmsSettings
from detector.utils.errors import DetectorError
from tests.runtime.conftest import METADATA, FakeClassifier
from tests.runtime.test_tiling import SquareFinder, drawn

IDENTITY = ViewSettings(tta=True, tta_flip=False)
FLIP = ViewSettings(tta=True)
SCALES = ViewSettings(tta=True, tta_scales=(1, 2, 0.5))


class Finder(SquareFinder):
    """Takes inputs of any size; notes their sizes."""

    dynamic_size = True

    def __init__(self, batch_size: int | None = None) -> None:
        super().__init__(batch_size)
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.shapes.append(images.shape)
        return super().__call__(images)


def run(images, settings, backend=None, batch=1, **options):
    pipeline = Pipeline(backend or Finder(), NmsSettings(**options), batch, 1, settings)
    return [result.detections for result in pipeline(frames_of(images))]


def same(a, b) -> bool:
    return (a.boxes_xyxy.tobytes(), a.scores.tobytes(), a.class_ids.tobytes()) == (
        *(b.boxes_xyxy.tobytes(), b.scores.tobytes(), b.class_ids.tobytes()),
    )


def test_no_views_without_augmentation():
    assert views_of(TileSettings(), Finder()) == ()
    assert views_of(ViewSettings(), Finder()) == ()
    assert list(Pipeline(Finder(), NmsSettings(), tiling=FLIP)([])) == []


def test_identity_alone_changes_no_bit(rng, monkeypatch):
    images = [
        drawn((50, 90), *((x, y, x + 9, y + 7, 120 + x) for x, y in rng.integers(0, 40, (5, 2))))
        for _ in range(3)
    ]
    plain = run(images, None)
    monkeypatch.setattr(SquareFinder, "candidates", None)
    for one, other in zip(run(images, IDENTITY), plain, strict=True):
        assert len(one) > 0
        assert same(one, other)


def test_a_flipped_view_gives_the_same_boxes():
    backend = Finder()
    (found,) = run([drawn((64, 64), (5, 10, 25, 30, 250), (40, 40, 44, 60, 150))], FLIP, backend)
    # Both views find both squares; NMS keeps one box of each.
    assert found.boxes_xyxy.tolist() == [[5, 10, 25, 30], [40, 40, 44, 60]]
    assert found.scores == pytest.approx([250 / 255, 150 / 255])
    assert backend.shapes == [(1, 3, 64, 64)] * 2


def test_flipped_boxes_of_a_letterboxed_image():
    """160×80 px in 64×64: scale 0.4, and the flip is one of the image, not of the input."""
    (found,) = run([drawn((80, 160), (10, 10, 40, 40, 250))], FLIP, iou=1)
    assert found.boxes_xyxy.tolist() == [[10, 10, 40, 40]] * 2


class LeftFinder(Finder):
    """Finds only what lies in the left half of its input."""

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen = images.copy()
        seen[..., images.shape[3] // 2 :] = 0
        return super().__call__(seen)


def test_a_flipped_view_finds_what_the_other_does_not():
    image = drawn((64, 64), (50, 10, 60, 20, 250))
    assert len(run([image], IDENTITY, LeftFinder())[0]) == 0
    assert run([image], FLIP, LeftFinder())[0].boxes_xyxy.tolist() == [[50, 10, 60, 20]]


def test_scales():
    backend = Finder()
    (found,) = run([drawn((64, 64), (8, 16, 24, 32, 250))], SCALES, backend, iou=1)
    assert [shape[2] for shape in backend.shapes] == [64, 64, 128, 128, 32, 32]
    # Enlarged by 2, bilinear edges reach half a pixel of the image further at most.
    assert len(found) == 6
    assert np.abs(found.boxes_xyxy - [8, 16, 24, 32]).max() <= 1
    (merged,) = run([drawn((64, 64), (8, 16, 24, 32, 250))], SCALES, iou=0.5)
    assert len(merged) == 1


def test_sizes_are_multiples_of_the_stride():
    views = views_of(ViewSettings(tta=True, tta_scales=(1, 1.7)), Finder())
    sizes = [view.preprocess.size_hw for view in views]
    # 64 · 1.7 = 108.8: 3 · 32 is nearer than 4 · 32
    assert sizes == [(64, 64)] * 2 + [(96, 96)] * 2


def test_one_scale_that_is_not_1():
    """The only view needs no merging."""
    backend = Finder()
    settings = ViewSettings(tta=True, tta_scales=(2,), tta_flip=False)
    (found,) = run([drawn((64, 64), (8, 16, 24, 32, 250))], settings, backend)
    assert backend.shapes == [(1, 3, 128, 128)]
    assert np.abs(found.boxes_xyxy - [8, 16, 24, 32]).max() <= 1


@pytest.mark.parametrize("batch", [1, 2, 3, 16])
def test_every_batch_size(batch, rng):
    images = [drawn((64, 80), (int(x), 5, int(x) + 9, 20, 220)) for x in rng.integers(0, 60, 5)]
    for one, other in zip(run(images, SCALES), run(images, SCALES, batch=batch), strict=True):
        assert len(one) > 0
        assert same(one, other)


def test_a_batch_that_the_file_fixes():
    backend = Finder(batch_size=4)
    (found,) = run([drawn((64, 64), (5, 10, 25, 30, 250))], FLIP, backend)
    assert backend.shapes == [(4, 3, 64, 64)]
    assert found.boxes_xyxy.tolist() == [[5, 10, 25, 30]]


def test_means_of_boxes():
    (found,) = run([drawn((64, 64), (8, 16, 24, 32, 250))], SCALES, nms_method="fusion")
    (each,) = run([drawn((64, 64), (8, 16, 24, 32, 250))], SCALES, iou=1)
    assert len(found) == 1
    mean = np.average(each.boxes_xyxy, axis=0, weights=each.scores)
    assert found.boxes_xyxy[0].tolist() == pytest.approx(mean.tolist(), abs=1e-4)


@pytest.mark.parametrize("clip_boxes", [True, False])
def test_clipping_is_that_of_the_settings(clip_boxes, monkeypatch):
    def beyond(self, images):
        boxes = np.zeros((len(images), 1, 4), np.float32)
        boxes[:] = (-8, 4, 20, 30)
        return boxes, np.full((len(images), 1, 2), 0.9, np.float32)

    monkeypatch.setattr(Finder, "__call__", beyond)
    settings = ViewSettings(tta=True, tta_scales=(1, 2), tta_flip=False)
    (found,) = run([drawn((64, 64))], settings, clip_boxes=clip_boxes, iou=1)
    # At scale 2 the same numbers are half as many pixels of the image.
    left = [0.0, 0.0] if clip_boxes else [-8.0, -4.0]
    assert sorted(found.boxes_xyxy[:, 0].tolist()) == sorted(left)


def test_flipped_boxes_twice(rng):
    boxes = np.sort(rng.integers(0, 50, (6, 2, 2)), 1).reshape(-1, 4).astype(np.float32)
    assert flipped_boxes(flipped_boxes(boxes, 50), 50).tolist() == boxes.tolist()
    assert flipped_boxes(np.zeros((0, 4), np.float32), 50).shape == (0, 4)


# ---------------------------------------------------------------------------------------- errors


def test_a_fixed_size():
    backend = Finder()
    backend.dynamic_size = False
    assert len(views_of(FLIP, backend)) == 2
    with pytest.raises(DetectorError) as caught:
        views_of(SCALES, backend)
    assert str(caught.value) == "the network takes inputs of 64×64 only, found tta_scales 2"


def test_two_scales_of_one_size():
    with pytest.raises(DetectorError) as caught:
        views_of(ViewSettings(tta=True, tta_scales=(1, 1.1)), Finder())
    assert str(caught.value) == (
        "tta_scales 1 and 1.1 are one size of the input, 64×64; sizes are multiples of 32"
    )


def test_an_input_that_is_too_large():
    backend = Finder()
    backend.preprocess = backend.preprocess.with_size((4096, 64))
    with pytest.raises(DetectorError) as caught:
        views_of(ViewSettings(tta=True, tta_scales=(4,)), backend)
    assert str(caught.value) == ("tta_scales 4: inputs of 16384×256 px, at most 8192 are possible")


def test_tiles_and_views():
    with pytest.raises(DetectorError, match="^tta does not go with tiles$"):
        Pipeline(Finder(), NmsSettings(), tiling=ViewSettings(tta=True, tiles=64))


def test_a_classifier():
    with pytest.raises(DetectorError, match="^a classifier has no boxes, found tta$"):
        Pipeline(FakeClassifier(), NmsSettings(), tiling=FLIP)


def test_a_file_with_nms_inside():
    metadata = METADATA.model_copy(update={"nms": NmsSettings()})
    outputs = dict.fromkeys(OUTPUTS_AFTER_NMS, ())
    backend = ExportedBackend("a.onnx", metadata, {INPUT: (1, 3, 32, 64)}, outputs)
    with pytest.raises(DetectorError) as caught:
        views_of(FLIP, backend)
    assert str(caught.value) == (
        "a.onnx: holds its NMS, which would drop boxes before those of all views are known, found "
        "tta; export it without --nms"
    )


@pytest.mark.parametrize(("name", "value"), [("tta_scales", (0.5,)), ("tta_flip", False)])
def test_settings_without_augmentation(name: str, value: object):
    with pytest.raises(DetectorError) as caught:
        ViewSettings(**{name: value})
    assert str(caught.value) == f"{name}: has no effect without tta, found {value}"
