"""Augmentation of classifiers: size of the input, one class, reproducible by its generator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.data.augment.class_transforms import ClassAugment
from detector.data.augment.transforms import Example
from detector.data.dataset import open_dataset
from detector.data.loader import TrainingSet, training_loader
from detector.engine.head_settings import train_settings
from detector.settings.heads import AugmentSettings
from detector.structures.preprocess import Preprocess

PLAIN = {"scale": 0.0, "fliplr": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0}
SIZE_HW = (48, 32)


def augment(**values: Any) -> ClassAugment:
    settings = AugmentSettings(**{**PLAIN, **values})
    return ClassAugment(settings, Preprocess(size_hw=SIZE_HW, mode="crop"))


def example(size_hw: tuple[int, int] = (48, 48)) -> Example:
    """Red grows to the right, green downwards."""
    height, width = size_hw
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, width)
    image[..., 1] = np.linspace(0, 255, height)[:, None]
    boxes = np.array([[0, 0, width, height]], np.float32)
    return Example(image, boxes, np.array([7]))


@pytest.mark.parametrize("size_hw", [(48, 48), (1, 1), (300, 20), (20, 300)])
@pytest.mark.parametrize("scale", [0.0, 0.5, 0.9])
def test_size_class_and_box(size_hw: tuple[int, int], scale: float, rng) -> None:
    found = augment(scale=scale)([example(size_hw)], rng)
    assert found.image.shape == (*SIZE_HW, 3) and found.image.dtype == np.uint8
    assert found.boxes_xyxy.tolist() == [[0, 0, 32, 48]]
    assert found.class_ids.tolist() == [7]


def test_flips(rng) -> None:
    red, green = augment(fliplr=1.0, flipud=1.0)([example()], rng).image[..., :2].astype(int).T
    assert (np.diff(red, axis=0) <= 0).all() and red[0, 0] > red[-1, 0]
    assert (np.diff(green, axis=1) <= 0).all() and green[0, 0] > green[0, -1]


def test_scale_is_how_much_smaller_the_part_may_be() -> None:
    # A quarter of the area of a square image, at aspect ratios of 3/4 to 4/3: sides of at least
    # sqrt(1/4 · 3/4) = 0.43 of the image's, so red covers 0.43 · 255 = 110 levels or more.
    spans = []
    for seed in range(40):
        image = augment(scale=0.5)([example()], np.random.default_rng(seed)).image
        spans.append(int(image[..., 0].max()) - int(image[..., 0].min()))
    assert min(spans) > 95
    assert min(spans) < 160 and max(spans) > 200


def test_colours_change_only_where_asked(rng) -> None:
    grey = Example(np.full((48, 32, 3), 100, np.uint8), np.zeros((1, 4), np.float32), np.array([0]))
    assert (augment()([grey], rng).image == 100).all()
    bright = augment(hsv_v=1.0)([grey], rng).image
    assert (bright == bright[0, 0]).all() and bright[0, 0, 0] != 100


def test_further_transforms_keep_the_class(rng) -> None:
    further = ({"name": "Affine", "p": 1.0, "translate_percent": [0.99, 0.99]},)
    assert augment(albumentations=further)([example()], rng).class_ids.tolist() == [7]


def test_the_generator_decides_all() -> None:
    change = augment(scale=0.5, fliplr=0.5, hsv_h=0.1, hsv_v=0.4)
    before = torch.get_rng_state()
    one, same, other = (
        change([example()], np.random.default_rng(seed)).image for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_examples_follow_from_seed_epoch_and_index(tmp_path: Path, make_image) -> None:
    for number in range(4):
        make_image(f"train/{'ab'[number % 2]}/{number}.png", (60, 60), 40 * number)
    dataset = open_dataset(tmp_path, "train")
    preprocess = Preprocess(size_hw=SIZE_HW)

    def examples(seed: int, epoch: int) -> list[bytes]:
        found = TrainingSet(
            dataset.samples, preprocess, ClassAugment(AugmentSettings(), preprocess), seed=seed
        )
        return [found[epoch, index, 0].image.tobytes() for index in range(4)]

    assert examples(0, 1) == examples(0, 1)
    assert all(a != b for a, b in zip(examples(0, 1)[1:], examples(0, 2)[1:], strict=True))
    assert all(a != b for a, b in zip(examples(0, 1)[1:], examples(1, 1)[1:], strict=True))
    settings = train_settings(batch=4)
    (batch,) = training_loader(dataset, preprocess, settings, ClassAugment)
    assert tuple(batch.images.shape) == (4, 3, *SIZE_HW)
    assert batch.targets.image_index.tolist() == [0, 1, 2, 3]
    assert sorted(batch.targets.class_ids.tolist()) == [0, 0, 1, 1]


def test_crops_have_the_shape_of_the_input() -> None:
    """Pixels keep their ratio up to 3/4 and 4/3: a crop of 48×96 px has the shape of a wide input.

    Red and green grow by 255 in 256 pixels; their spans in the crop tell its sides.
    """
    wide = ClassAugment(
        AugmentSettings(**{**PLAIN, "scale": 0.5}), Preprocess(size_hw=(32, 64), mode="crop")
    )
    ratios = []
    for seed in range(60):
        image = wide([example((256, 256))], np.random.default_rng(seed)).image.astype(float)
        width, height = (
            image[..., channel].max() - image[..., channel].min() for channel in (0, 1)
        )
        ratios.append(width / height)
    assert 1.4 < min(ratios) < 1.7 and 2.3 < max(ratios) < 2.8  # 2 · 3/4 and 2 · 4/3
