"""Sizes of objects in the network's input, and what would show small ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data.checks.sizes import box_sizes, shorter_sides, size_counts, size_findings
from detector.structures.preprocess import Preprocess
from detector.structures.samples import Sample


def sample(*sizes_wh: tuple[float, float], size_hw: tuple[int, int] = (480, 1280)) -> Sample:
    boxes = np.array([[10, 10, 10 + w, 10 + h] for w, h in sizes_wh], np.float32)
    ids = np.zeros(len(sizes_wh), np.int64)
    return Sample(Path("a.jpg"), boxes.reshape(-1, 4), ids, size_hw, 1)


INPUT = Preprocess(size_hw=(640, 640))


def findings(*sizes_wh: tuple[float, float], size_hw=(480, 1280)):
    return list(size_findings(["train"], [sample(*sizes_wh, size_hw=size_hw)], INPUT, 32))


def test_sides():
    # letterboxed: 640 / 1280 = ½ for both sides
    in_image, in_input = box_sizes([sample((20, 8))], INPUT)
    assert (in_image.tolist(), in_input.tolist()) == ([[20, 8]], [[10, 4]])
    assert shorter_sides([sample((20, 8))], INPUT)[1].tolist() == [4]
    # stretched: ½ wide, 640 / 480 high
    stretched = Preprocess(size_hw=(640, 640), mode="stretch")
    assert box_sizes([sample((30, 6))], stretched)[1].tolist() == [[15, 8]]
    assert shorter_sides([], INPUT)[0].tolist() == []


def test_counts():
    assert size_counts(np.array([1, 2, 7.9, 8, 96])) == {
        "below 2 px": 1,
        "2 to 8 px": 2,
        "8 to 16 px": 1,
        "16 to 32 px": 0,
        "32 to 96 px": 0,
        "96 px and more": 1,
    }
    assert sum(size_counts(np.zeros(0)).values()) == 0


def test_objects_that_are_large_enough():
    assert findings((16, 16), (100, 50)) == []
    assert findings() == []


def test_objects_that_a_larger_input_shows():
    # 12 px become 6; 8 px need 640 · 8 / 6 = 853, the next multiple of 32 is 864
    (one,) = findings(*[(12, 30)] * 2, *[(100, 100)] * 28)
    assert (one.kind, one.severity, one.count) == ("small-objects", "note", 2)
    assert one.message == "2 objects of 30 (6.7%) below 8 px wide or high in an input of 640 px"
    assert one.advice == "--imgsz 864 shows all of them larger than that"
    assert [(p.file.name, p.detail, p.split) for p in one.places] == [
        ("a.jpg", "2 objects", "train")
    ]


def test_objects_for_tiles():
    # 12 px of 3200 become 2.4; 8 px need 2133: 2144
    (one,) = findings((12, 30), size_hw=(2000, 3200))
    assert one.severity == "warning"  # more than a tenth
    assert one.advice == (
        "--imgsz 2144 would show all of them larger than that; tiles of 640 px at the images' own "
        "size do, too, and cost less: the smallest has 12 px there"
    )


def test_tiny_objects():
    (one,) = findings((4, 30))
    assert one.message == (
        "1 object of 1 (100.0%) at most 2 px wide or high in an input of 640 px, which training "
        "drops"
    )
    assert one.advice == "--imgsz 672 shows all of them larger than that"


@pytest.mark.parametrize("size", [(8, 8), (5, 60)])
def test_objects_that_are_small_in_the_images(size: tuple[int, int]):
    (one,) = findings(size)
    assert one.advice == (
        "they are as small in the images themselves: no input and no tiles show them better"
    )


def test_some_can_grow():
    (one,) = findings((12, 12), (5, 5))
    assert one.advice == "--imgsz 864 shows 1 of them larger than that"
