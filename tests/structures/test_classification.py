"""The most probable classes of an image."""

import json

import numpy as np
import pytest

from detector.structures.classification import Classification
from detector.utils.drawing import class_colour, draw_caption

NAMES = ("a", "b", "c", "d", "e", "f")


def test_the_best_five_of_six():
    found = Classification.of(np.array([0.1, 0.3, 0.05, 0.2, 0.25, 0.1], np.float32), NAMES)
    assert found.class_ids.tolist() == [1, 4, 3, 0, 5]  # of two equal ones the first
    assert found.scores == pytest.approx([0.3, 0.25, 0.2, 0.1, 0.1])
    assert found.scores.dtype == np.float32
    assert found.class_names == ["b"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_of_fewer(count: int):
    probabilities = np.full(count, 1 / count, np.float32)
    found = Classification.of(probabilities, NAMES[:count])
    assert found.class_ids.tolist() == list(range(count))


def test_as_dict_and_json():
    found = Classification.of(np.array([0.25, 0.75], np.float32), ("cät", "dog"))
    expected = {
        "class_names": ["dog", "cät"],
        "probabilities": [0.75, 0.25],
        "class_ids": [1, 0],
    }
    assert found.to_dict() == expected
    assert json.loads(found.to_json()) == expected
    assert "cät" in found.to_json()


def test_draw_writes_the_best_class_into_the_corner():
    image = np.zeros((60, 200, 3), np.uint8)
    found = Classification.of(np.array([0.25, 0.75], np.float32), ("cat", "dog"))
    drawn = found.draw(image)
    assert not image.any()
    np.testing.assert_array_equal(drawn, draw_caption(image, "dog 0.75", 1))
    assert tuple(drawn[1, 1]) == class_colour(1)
