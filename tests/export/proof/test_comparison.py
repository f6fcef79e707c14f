"""How far results may lie apart."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from detector.export.proof import verify
from detector.export.proof.comparison import compare, split_batches
from detector.model.detector import Detector
from detector.runtime.backends.precision import Tolerance, tolerance_of
from detector.utils.errors import DetectorError

FP32 = tolerance_of("fp32")


class Fake:
    """A backend whose boxes and scores are shifted."""

    task = "detect"

    batch_size: int | None = None
    dynamic_size = True

    def __init__(self, boxes: float = 0.0, scores: float = 0.0) -> None:
        self.shift = np.float32(boxes), np.float32(scores)

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        boxes = np.full((len(images), 2, 4), 1000, np.float32) + self.shift[0]
        return boxes, np.full((len(images), 2, 3), 0.5, np.float32) + self.shift[1]


@pytest.mark.parametrize(
    ("boxes", "scores", "message"),
    [
        (0.04, 0.00005, None),  # 0.04 of 1000 is 4e-5; scores of 0.5 may differ by 5.1e-5
        (0.06, 0.0, "boxes by 6.00e-02 px, 6.00e-05 of the largest coordinate, allowed is 5e-05"),
        (0.0, 0.0001, "scores by 1.00e-04, allowed is 5.10e-05"),
        (float("nan"), 0.0, "boxes by nan px"),
        (0.0, float("nan"), "scores by nan"),
    ],
)
def test_the_tolerances(boxes: float, scores: float, message: str | None):
    batches = [np.zeros((2, 3, 8, 8), np.float32), np.zeros((1, 3, 8, 8), np.float32)]
    found = compare(Fake(), Fake(boxes, scores), batches, "detect")
    assert found.images == 3
    if message is None:
        found.check(FP32)
    else:
        with pytest.raises(DetectorError, match=message):
            found.check(FP32)


def test_what_a_network_rounds_itself_is_allowed_four_times(network: Detector, monkeypatch):
    tight = Tolerance(boxes=1e-12, scores=1e-12, unmatched=0.02, metric=0.001)
    batches = [np.random.default_rng(0).random((2, 3, 64, 64), np.float32)]
    with torch.no_grad():
        image = torch.from_numpy(batches[0])
        exact = copy.deepcopy(network).double()
        expected = exact.decode(exact(image.double()))
        found = network.decode(network(image))
    boxes, scores = (
        float((one - other).abs().max() / other.abs().max())
        for one, other in zip(found, expected, strict=True)
    )
    assert 1e-9 < boxes < 1e-5
    wider = verify._with_rounding(tight, network, Fake(), batches)
    assert wider.boxes == pytest.approx(4 * boxes, rel=0.01)
    assert wider.scores == pytest.approx(4 * scores, rel=0.01)
    assert verify._with_rounding(FP32, network, Fake(), batches) == FP32
    monkeypatch.setattr(verify, "ROUNDINGS", 10**9)
    assert verify._with_rounding(tight, network, Fake(), batches).boxes == 5e-4


def test_other_shapes_are_no_match():
    class Longer(Fake):
        def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            boxes, scores = super().__call__(images)
            return boxes[:, :1], scores

    with pytest.raises(DetectorError, match=r"gives boxes of shape \(1, 1, 4\) and scores"):
        compare(Fake(), Longer(), [np.zeros((1, 3, 8, 8), np.float32)], "detect")


def test_batches_of_a_file_that_takes_two_images():
    batches = [np.zeros((4, 3, 8, 8), np.float32), np.zeros((2, 3, 6, 6), np.float32)]
    assert [one.shape for one in split_batches(batches, 2)] == [(2, 3, 8, 8)] * 2 + [(2, 3, 6, 6)]
    assert split_batches(batches, None) == batches


def test_single_images_for_a_file_that_takes_two():
    """Three images make two batches; the first image fills up the last."""
    batches = [np.full((1, 3, 8, 8), value, np.float32) for value in (1, 2, 3)]
    split = split_batches(batches, 2)
    assert [one[:, 0, 0, 0].tolist() for one in split] == [[1, 2], [3, 1]]
