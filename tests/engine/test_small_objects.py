"""Training objects that the network's input is too small to show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.data.dataset import DetectionDataset, GroundTruth
from detector.engine.small_objects import small_objects
from detector.model.detector import Detector, build
from detector.structures.preprocess import Preprocess
from detector.structures.samples import Sample


def dataset(*sizes_wh: tuple[float, float], crowd: bool = False) -> DetectionDataset:
    """One image of 800×1600 px for each object of the given size."""
    samples = tuple(
        Sample(
            Path(f"{number}.png"),
            np.array([[10, 10, 10 + w, 10 + h]], np.float32),
            np.zeros(1, np.int64),
            (800, 1600),
            number,
            crowd=np.array([crowd]),
        )
        for number, (w, h) in enumerate(sizes_wh, 1)
    )
    return DetectionDataset(
        names=("cup",),
        samples=samples,
        split="train",
        category_ids=(1,),
        largest_category_id=1,
        annotation_file=None,
        report=(),
        original=GroundTruth(("cup",), samples, (1,)),
    )


@pytest.fixture
def model(tiny_cfg: Path) -> Detector:
    model = build(tiny_cfg, ["cup"])
    model.preprocess = Preprocess(size_hw=(160, 160))
    return model


def test_objects_of_one_pixel(model: Detector) -> None:
    """Of 10×20 px in 1600: 10 · 160 / 1600 = 1 px; 2 px need a side of 320, more than that 336."""
    assert model.max_stride == 16
    assert small_objects(model, dataset((10, 20), (12, 10), (30, 30))) == [
        "2 of 3 training objects are at most 2 px wide or high in the input of 160×160 px and "
        "cannot be learned; --imgsz 336 is the smallest size that shows the 2"
    ]
    model.preprocess = Preprocess(size_hw=(336, 336))
    assert small_objects(model, dataset((10, 20), (12, 10))) == []


def test_the_size_counts_for_stretched_images(model: Detector) -> None:
    """160 / 800 = 1/5 from top to bottom: 9 px high are 1.8, 15 px wide are 1.5."""
    model.preprocess = Preprocess(size_hw=(160, 160), mode="stretch")
    assert small_objects(model, dataset((100, 11), (21, 100))) == []
    # growth 2 / 1.5: more than 213.3
    assert small_objects(model, dataset((100, 9), (15, 100), (100, 100))) == [
        "2 of 3 training objects are at most 2 px wide or high in the input of 160×160 px and "
        "cannot be learned; --imgsz 224 is the smallest size that shows the 2"
    ]


def test_objects_that_no_input_shows(model: Detector) -> None:
    few = "training objects are at most 2 px wide or high in the input of 160×160 px and cannot be"
    assert small_objects(model, dataset((1, 20))) == [
        f"1 of 1 {few} learned; 1 of them are as small in the images themselves"
    ]
    # 2 · 1600 / 5 = 640: one stride more
    assert small_objects(model, dataset((2, 20), (5, 5))) == [
        f"2 of 2 {few} learned; 1 of them are as small in the images themselves; "
        "--imgsz 656 is the smallest size that shows the other 1"
    ]


def test_nothing_to_say(model: Detector) -> None:
    assert small_objects(model, dataset()) == []
    assert small_objects(model, dataset((1, 1), crowd=True)) == []
    assert small_objects(model, dataset((21, 21))) == []
