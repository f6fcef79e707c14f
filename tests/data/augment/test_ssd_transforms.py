"""SSD's augmentation: boxes stay on their objects; reproducible by its generator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from detector.data.augment.ssd_transforms import SsdAugment
from detector.data.augment.transforms import Example
from detector.data.dataset import DetectionDataset, open_dataset
from detector.data.loader import TrainingSet, training_loader
from detector.engine.head_settings import train_settings
from detector.settings.heads import AugmentSettings
from detector.structures.preprocess import Preprocess
from detector.structures.samples import Sample

MEAN = (123.4, 116.6, 104.0)
FILL = [123, 117, 104]
LEFT, RIGHT = (10, 20, 50, 50), (70, 40, 110, 80)


def preprocess(size_hw: tuple[int, int] = (96, 96)) -> Preprocess:
    return Preprocess(size_hw=size_hw, mode="stretch", mean_rgb=MEAN, scale_rgb=(1, 1, 1))


def augment(*kinds: type, size_hw: tuple[int, int] = (96, 96), **values: Any) -> SsdAugment:
    """All changes, or only those of the given kinds."""
    result = SsdAugment(AugmentSettings(**values), preprocess(size_hw))
    if kinds:
        result.compose.transforms = [t for t in result.compose.transforms if isinstance(t, kinds)]
        assert len(result.compose.transforms) == len(kinds)
    return result


def example(boxes: Iterable[Any] = (LEFT, RIGHT), size_hw: tuple[int, int] = (90, 120)) -> Example:
    """Rectangles on black, the first red, the second green, and their boxes."""
    image = np.zeros((*size_hw, 3), np.uint8)
    array = np.array(list(boxes), np.float32).reshape(-1, 4)
    for number, (x1, y1, x2, y2) in enumerate(array.astype(int)):
        image[y1:y2, x1:x2, number] = 255
    return Example(image, array, np.arange(len(array)))


def extent(image: np.ndarray, channel: int) -> tuple[float, ...] | None:
    """The box around the pixels that are mostly of that pure colour; None if there are none.

    The mean colour is nearly grey, and has none of it.
    """
    rest = np.delete(image, channel, axis=2).max(-1)
    rows, columns = np.nonzero(image[..., channel].astype(int) - rest > 127)
    if not len(rows):
        return None
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


# ----------------------------------------------------------------------------------- what comes out


@pytest.mark.parametrize("boxes", [(), (LEFT,), (LEFT, RIGHT, (0, 0, 120, 90))])
@pytest.mark.parametrize("size_hw", [(64, 64), (64, 160)])
def test_an_example_of_the_inputs_size(boxes: Any, size_hw: tuple[int, int]) -> None:
    change = augment(size_hw=size_hw)
    for seed in range(15):
        result = change([example(boxes)], np.random.default_rng(seed))
        assert result.image.shape == (*size_hw, 3)
        assert result.image.dtype == np.uint8
        assert result.image.flags.c_contiguous
        assert result.boxes_xyxy.shape == (len(result.class_ids), 4)
        assert result.boxes_xyxy.dtype == np.float32
        assert result.class_ids.dtype == np.int64
        assert len(result.class_ids) <= len(boxes)
        assert np.all(result.boxes_xyxy >= 0)
        assert np.all(result.boxes_xyxy <= np.tile(size_hw[::-1], 2))
        assert np.all(result.boxes_xyxy[:, 2:] > result.boxes_xyxy[:, :2])


def test_boxes_lie_on_their_objects() -> None:
    """Within two pixels; a crop drops an object whose centre it cuts off, and only such ones."""
    change = augment(
        v2.RandomZoomOut, v2.RandomIoUCrop, v2.RandomHorizontalFlip, v2.SanitizeBoundingBoxes
    )
    kept, dropped = 0, 0
    for seed in range(60):
        result = change([example()], np.random.default_rng(seed))
        boxes = dict(zip(result.class_ids.tolist(), result.boxes_xyxy, strict=True))
        for number in (0, 1):
            seen = extent(result.image, number)
            if number in boxes:
                assert seen is not None
                assert np.abs(boxes[number] - seen).max() <= 2
                kept += 1
            elif seen is not None:
                assert min(seen) == 0 or max(seen) == 96
                dropped += 1
    assert kept > 60
    assert dropped > 0


def test_the_mean_colour_surrounds_images_and_is_not_distorted() -> None:
    """The box is that of the whole image: what lies outside it is the canvas."""
    source = example([(0, 0, 120, 90)])
    change, expanded, colours = augment(), 0, set()
    for seed in range(40):
        result = change([source], np.random.default_rng(seed))
        ((x1, y1, x2, y2),) = result.boxes_xyxy
        # A crop of 0.3 · 90 rows becomes 96: one pixel is up to 3.6, and half of it is blended.
        outside = np.ones((96, 96), np.bool_)
        outside[max(int(y1) - 3, 0) : int(y2) + 4, max(int(x1) - 3, 0) : int(x2) + 4] = False
        assert np.all(result.image[outside] == FILL)
        expanded += bool(outside.any())
        colours.add(tuple(result.image[int(y1 + y2) // 2, int(x1 + x2) // 2].tolist()))
    assert expanded > 10
    assert len(colours) > 10  # the image itself, which was pure red, is distorted


@pytest.mark.parametrize(
    ("fliplr", "expected"),
    # 120×90 becomes 96×96: 10, 20, 50, 50 → 8, 21⅓, 40, 53⅓; mirrored 96 − 40 = 56, 96 − 8 = 88.
    [(0, (8, 64 / 3, 40, 160 / 3)), (1, (56, 64 / 3, 88, 160 / 3))],
)
def test_flips_by_hand(fliplr: int, expected: tuple[float, ...]) -> None:
    source = example([LEFT])
    mirrored = source.image[:, ::-1] if fliplr else source.image
    change = augment(v2.RandomHorizontalFlip, v2.SanitizeBoundingBoxes, fliplr=fliplr)
    for seed in range(5):
        result = change([source], np.random.default_rng(seed))
        assert result.boxes_xyxy.tolist() == [pytest.approx(expected)]
        assert np.array_equal(result.image, preprocess().fit(np.ascontiguousarray(mirrored))[0])


@pytest.mark.parametrize("fliplr", [0, 1])
def test_flips_among_all_changes(fliplr: int) -> None:
    change, both = augment(fliplr=fliplr), 0
    for seed in range(20):
        result = change([example()], np.random.default_rng(seed))
        if result.class_ids.tolist() == [0, 1]:
            left, right = result.boxes_xyxy[:, 0]
            assert (left > right) == fliplr
            both += 1
    assert both > 5


def test_a_box_below_one_pixel_goes_with_its_class() -> None:
    # In the image's pixels: 0.9 wide, 1 by 1, 0.9 high.
    boxes = [(4, 4, 4.9, 30), (4, 4, 5, 5), (4, 4, 30, 4.9)]
    source = Example(np.zeros((96, 96, 3), np.uint8), np.array(boxes, np.float32), np.arange(3))
    result = augment(v2.SanitizeBoundingBoxes)([source], np.random.default_rng(0))
    assert result.class_ids.tolist() == [1]
    assert result.boxes_xyxy.tolist() == [[4, 4, 5, 5]]


def test_further_transforms_come_last() -> None:
    inverted = augment(albumentations=({"name": "InvertImg", "p": 1},))
    for seed in range(5):
        one, other = (a([example()], np.random.default_rng(seed)) for a in (augment(), inverted))
        assert np.array_equal(other.image, 255 - one.image)
        assert np.array_equal(other.boxes_xyxy, one.boxes_xyxy)


def test_the_source_is_not_changed() -> None:
    source = example()
    before = example()
    for seed in range(20):
        result = augment()([source], np.random.default_rng(seed))
        for name in ("image", "boxes_xyxy", "class_ids"):
            getattr(result, name)[:] = 7
            assert np.array_equal(getattr(source, name), getattr(before, name)), name


# -------------------------------------------------------------------------------------- determinism


def as_bytes(one: Example) -> tuple[bytes, ...]:
    return one.image.tobytes(), one.boxes_xyxy.tobytes(), one.class_ids.tobytes()


@pytest.fixture
def sample(make_image: Any) -> Sample:
    box = np.array([[50, 20, 150, 80]], np.float32)
    return Sample(make_image("a.png", (100, 200)), box, np.zeros(1, np.int64), (100, 200), 1)


def test_seed_and_key_decide_everything(sample: Sample) -> None:
    def run(
        seed: int, keys: list[tuple[int, int, int]], global_seed: int
    ) -> list[tuple[bytes, ...]]:
        training = TrainingSet([sample] * 3, preprocess(), augment(), seed=seed)
        torch.manual_seed(global_seed)
        before = torch.get_rng_state()
        result = [as_bytes(training[key]) for key in keys]
        assert torch.equal(torch.get_rng_state(), before)
        return result

    keys = [(epoch, index, 0) for epoch in range(2) for index in range(3)]
    first = run(0, keys, global_seed=1)
    assert run(0, keys[::-1], global_seed=2) == first[::-1]
    assert len({*first, *run(1, keys, global_seed=1)}) == 12


def test_images_are_kept_at_twice_the_inputs_size(sample: Sample) -> None:
    change = augment(v2.SanitizeBoundingBoxes, size_hw=(64, 64))
    training = TrainingSet([sample], preprocess((64, 64)), change)
    # 100×200 fits into 128×128 as 64×128; 0.32 of x and 0.64 of y remain in the 64×64.
    assert training[0, 0, 0].boxes_xyxy.tolist() == [pytest.approx([16, 12.8, 48, 51.2])]
    assert training.images[0].shape == (64, 128, 3)


@pytest.fixture
def dataset(tmp_path: Path) -> DetectionDataset:
    path = tmp_path / "set.yaml"
    path.write_text("generate: {name: shapes, image_size: 96, images: {train: 7, val: 2}}")
    return open_dataset(path, "train", data_root=tmp_path)


def passes(dataset: DetectionDataset, workers: int) -> list[tuple[bytes, ...]]:
    """Two epochs' batches."""
    settings = train_settings(batch=3, epochs=2, workers=workers)
    loader = training_loader(dataset, preprocess((64, 64)), settings, augmentation=SsdAugment)
    result = []
    for epoch in (0, 1):
        loader.batch_sampler.set_epoch(epoch)
        for batch in loader:
            assert batch.images.shape[1:] == (3, 64, 64)
            targets = batch.targets
            parts = (batch.images, targets.boxes_xyxy, targets.class_ids, targets.image_index)
            result.append(tuple(part.numpy().tobytes() for part in parts))
    return result


def test_workers_change_nothing(dataset: DetectionDataset) -> None:
    alone = passes(dataset, workers=0)
    assert passes(dataset, workers=2) == alone
    assert len(set(alone)) == 4


def test_a_box_that_rounding_puts_beyond_the_border_stays() -> None:
    # float32: 1083 · (600 / 1083) = 600.00006
    image, box = np.zeros((55, 600, 3), np.uint8), np.array([[277, 5, 1083, 49]], np.float32)
    box[:, 2] *= np.float32(600 / 1083)
    assert box[0, 2] > 600
    for seed in range(20):
        example = Example(image, box, np.zeros(1, np.int64))
        result = augment()([example], np.random.default_rng(seed))
        assert len(result.class_ids) == 1


@pytest.mark.parametrize("height", [1, 2, 3])
def test_images_of_a_few_rows(height: int) -> None:
    """A crop of 0.3 of 3 rows has none."""
    for seed in range(10):
        result = augment()([example((), (height, 100))], np.random.default_rng(seed))
        assert result.image.shape == augment().preprocess.size_hw + (3,)
