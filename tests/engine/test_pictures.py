"""What a person looks at: the pictures show what the labels and the results say."""

from pathlib import Path

import numpy as np
import pytest

from detector.data.dataset import open_dataset
from detector.data.loader import TrainingSet
from detector.engine.callbacks import Epoch, Start, Step
from detector.engine.pictures import Curves, TrainingPictures, ValidationPictures
from detector.evaluation.pictures import found_boxes, grid, with_ground_truth
from detector.settings.train import TrainSettings
from detector.structures.preprocess import Preprocess
from detector.utils.opencv import read_image


@pytest.fixture
def start(tiny_data: Path, tmp_path: Path) -> Start:
    data = open_dataset(tiny_data, "train")
    return Start(
        folder=tmp_path,
        settings=TrainSettings(),
        train_set=TrainingSet(data.samples, Preprocess(size_hw=(64, 64)), None),
        val_set=data,
        metrics=("AP", "AP50"),
        monitor="AP",
        images=8,
    )


def step(number: int) -> Step:
    return Step(number, 1, number, [(0, 0, 0), (0, 1, 0)], {}, 0.1)


def epoch(number: int, best_epoch: int, results: list) -> Epoch:
    return Epoch({"epoch": number}, [], 0.5, best_epoch, results)


def test_pictures_of_the_first_steps(start: Start):
    pictures = TrainingPictures()
    pictures.on_start(start)
    for number in range(1, 6):
        pictures.on_step(step(number))
    assert sorted(path.name for path in start.folder.iterdir()) == [
        f"train_{number}.jpg" for number in (1, 2, 3)
    ]
    assert read_image(start.folder / "train_1.jpg").shape == (64, 128, 3)  # two of 64 × 64


def truth_as_results(start: Start) -> list[dict]:
    data = start.val_set
    return [
        {
            "image_id": sample.image_id,
            "category_id": data.category_ids[class_id],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": 0.9,
        }
        for sample in data.samples
        for (x1, y1, x2, y2), class_id in zip(
            sample.boxes_xyxy.tolist(), sample.class_ids.tolist(), strict=True
        )
    ]


def test_validation_pictures_of_the_best_epoch_only(start: Start):
    pictures, path = ValidationPictures(), start.folder / "val_best.jpg"
    pictures.on_start(start)
    pictures.on_epoch(epoch(1, best_epoch=0, results=[]))  # not validated
    pictures.on_epoch(epoch(2, best_epoch=1, results=truth_as_results(start)))
    assert not path.exists()
    pictures.on_epoch(epoch(2, best_epoch=2, results=truth_as_results(start)))
    assert read_image(path).ndim == 3


def test_curves_of_the_best_epoch(start: Start):
    curves = Curves()
    curves.on_start(start)
    curves.on_end([])  # resumed after its best epoch: nothing to draw
    assert not list(start.folder.iterdir())
    curves.on_epoch(epoch(1, 1, truth_as_results(start)))
    curves.on_end([])
    names = sorted(path.name for path in start.folder.iterdir())
    assert names == ["confusion.png", "precision_recall.png"]
    for name in names:
        picture = read_image(start.folder / name)
        assert picture.std() > 5  # not a blank sheet


def test_found_boxes():
    results = [
        {"category_id": 90, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"category_id": 3, "bbox": [0, 0, 9, 9], "score": 0.2},  # below what a person is shown
        {"category_id": 3, "bbox": [5, 5, 1, 1], "score": 0.8},
    ]
    found = found_boxes(results, (3, 90), ("cat", "dog"))
    assert found.boxes_xyxy.tolist() == [[5, 5, 6, 6], [1, 2, 4, 6]]
    assert (found.class_ids.tolist(), found.scores.tolist()) == ([0, 1], pytest.approx([0.8, 0.5]))
    assert len(found_boxes([], (3, 90), ("cat", "dog"))) == 0


def test_grid():
    white, black = (np.full((4, 6, 3), value, np.uint8) for value in (255, 0))
    sheet = grid([white, black, white], columns=2)
    assert sheet.shape == (8, 12, 3)
    assert (sheet[:4, :6] == 255).all()
    assert (sheet[:4, 6:] == 0).all()
    assert (sheet[4:, 6:] == 40).all()  # the ground
    assert grid([white], columns=4, side=3).shape == (2, 3, 3)


def test_a_truth_has_no_score():
    image = np.zeros((64, 64, 3), np.uint8)
    before = image.copy()
    boxes, classes = np.array([[8, 20, 56, 56]], np.float32), np.array([0])
    drawn = with_ground_truth(image, boxes, classes, ("cat",))
    assert np.array_equal(image, before)
    assert drawn[20, 8:56].any()
