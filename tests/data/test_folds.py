"""Parts of a split: each image is held out once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data.dataset import open_dataset
from detector.data.folds import fold_numbers, split_fold
from detector.utils.errors import DetectorError


@given(st.integers(2, 200), st.integers(2, 20), st.integers(0, 9))
def test_folds_are_even_and_the_same_each_time(images: int, folds: int, seed: int):
    numbers = fold_numbers(images, folds, seed)
    sizes = np.bincount(numbers, minlength=folds + 1)
    assert sizes[0] == 0
    assert sizes[1:].sum() == images
    assert sizes[1:].max() - sizes[1:].min() <= 1
    np.testing.assert_array_equal(numbers, fold_numbers(images, folds, seed))


def test_each_image_is_held_out_once(tiny_data: Path):
    dataset = open_dataset(tiny_data, "train")
    held_out = []
    for fold in (1, 2, 3):
        rest, part = split_fold(dataset, 3, fold, seed=0)
        held_out += part.samples
        assert {s.path for s in rest.samples} | {s.path for s in part.samples} == {
            s.path for s in dataset.samples
        }
        assert len(rest) + len(part) == len(dataset) == 8
        for half in (rest, part):
            images = half.ground_truth()["images"]
            assert [image["id"] for image in images] == [s.image_id for s in half.samples]
    assert sorted(s.path for s in held_out) == sorted(s.path for s in dataset.samples)


def test_fewer_images_than_folds(tiny_data: Path):
    with pytest.raises(DetectorError) as caught:
        split_fold(open_dataset(tiny_data, "train"), 9, 1, seed=0)
    assert str(caught.value) == (
        "--folds 9: split 'train' has 8 images, expected as many as folds at least"
    )
