"""Calibration images: which are chosen, and how they reach the network."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detector.data.dataset import DetectionDataset, open_dataset
from detector.data.fingerprint import fingerprint
from detector.export.quantize.calibration import CalibrationBatches, choose, open_calibration
from detector.settings.export import ExportedFileSettings
from detector.structures.samples import Sample
from detector.utils.errors import DetectorError
from detector.utils.opencv import read_image
from detector.weights.checkpoint import load


def sample(number: int, *classes: int, crowd: bool = False) -> Sample:
    boxes = np.tile(np.float32([0, 0, 8, 8]), (len(classes), 1))
    crowds = np.full(len(classes), crowd)
    path = Path(f"{number}.png")
    return Sample(path, boxes, np.array(classes, np.int64), (9, 9), number, crowds)


@pytest.fixture
def dataset(finder_data: Path) -> DetectionDataset:
    return open_dataset(finder_data, "train")


def with_samples(dataset: DetectionDataset, samples: list[Sample]) -> DetectionDataset:
    return replace(dataset, samples=tuple(samples))


def test_every_class_is_present(dataset: DetectionDataset):
    """Class 1 is in one of 200 images."""
    samples = [sample(number, int(number == 123)) for number in range(200)]
    chosen = choose(with_samples(dataset, samples), 5)
    assert len(chosen) == 5
    assert {int(one.class_ids[0]) for one in chosen} == {0, 1}
    assert [one.path for one in chosen] == [
        one.path for one in choose(with_samples(dataset, samples), 5)
    ]


def test_more_than_there_are(dataset: DetectionDataset):
    samples = [sample(number, 0) for number in range(4)]
    chosen = choose(with_samples(dataset, samples), 300)
    assert sorted(one.image_id for one in chosen) == [0, 1, 2, 3]


def test_crowds_are_no_objects(dataset: DetectionDataset):
    samples = [sample(0, 1, crowd=True), *(sample(number, 0) for number in range(1, 9))]
    assert len(choose(with_samples(dataset, samples), 1)) == 1


def test_too_few_for_all_classes(dataset: DetectionDataset):
    samples = [sample(number, number) for number in range(3)]
    with pytest.raises(DetectorError) as caught:
        choose(with_samples(dataset, samples), 2)
    assert str(caught.value) == (
        "--calibration-images 2: the 3 classes of split 'train' need 3 images; "
        "give at least that many"
    )


def test_a_set_and_what_is_said_of_it(
    finder: Path, finder_data: Path, caplog: pytest.LogCaptureFixture
):
    settings = ExportedFileSettings(calibrate=str(finder_data))
    with caplog.at_level(logging.INFO):
        calibration = open_calibration(settings, load(finder))
    assert caplog.messages[-1] == (
        "calibration: 5 images of split 'train', which has no more (300 were asked for), "
        "with all of its 2 classes"
    )
    about = calibration.about
    assert (about.images, about.classes, about.split) == (5, 2, "train")
    dataset = open_dataset(finder_data, "train", names=("red", "green"))
    assert about.fingerprint == fingerprint(replace(dataset, samples=calibration.samples))


def test_batches_are_those_of_validation(finder: Path, dataset: DetectionDataset):
    """Five images in batches of two: the first one fills up the last batch."""
    preprocess = load(finder).preprocess
    batches = CalibrationBatches(dataset.samples, preprocess, 2)
    assert len(batches) == 3
    assert [batch.shape for batch in batches] == [(2, 3, 64, 64)] * 3
    assert np.array_equal(batches[2][1], batches[0][0])
    fitted, _ = preprocess.fit(read_image(dataset.samples[3].path))
    assert np.array_equal(batches[1][1], preprocess.normalize(fitted[None])[0])
    with pytest.raises(IndexError):
        batches[3]
