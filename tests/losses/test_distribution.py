"""The loss of distribution heads against a slow float64 loop, and its edge cases."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from detector.assigners import DecodedPredictions
from detector.heads.distribution import DFLHead
from detector.heads.yolov6 import YOLOv6Head
from detector.losses import DistributionLoss
from detector.losses.distribution import distribution_focal_loss
from detector.settings.heads import DistributionLossSettings
from detector.structures.samples import Targets
from detector.utils.errors import DetectorError
from tests.assigners.conftest import CLASSES, random_targets
from tests.losses.conftest import OUTSIDE, TIES, bce, ciou, sigmoid

STRIDES, SIZES_HW, IMAGES, BINS = (8, 16), ((8, 10), (4, 5)), 3, 4


def make_loss(**settings: Any) -> DistributionLoss:
    head = DFLHead(CLASSES, BINS, c_in=(8, 8), strides=STRIDES)
    return DistributionLoss(head, DistributionLossSettings(**settings))


def make_loss_without_bins(**settings: Any) -> DistributionLoss:
    head = YOLOv6Head(CLASSES, c_in=(8, 8), strides=STRIDES)
    return DistributionLoss(head, DistributionLossSettings(**settings))


def make_raw_outputs(coarse: bool = False, values: int = 4 * BINS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    raw_outputs = [
        torch.randn(IMAGES, h, w, values + CLASSES, generator=generator).double()
        for h, w in SIZES_HW
    ]
    return [(raw.round() if coarse else raw).requires_grad_() for raw in raw_outputs]


def slow_softmax(logits: list[float]) -> list[float]:
    total = sum(math.exp(logit) for logit in logits)
    return [math.exp(logit) / total for logit in logits]


def slow_loss(
    loss: DistributionLoss, raw_outputs: list[Tensor], targets: Targets
) -> dict[str, float]:
    """Compute the loss value by value; the pairs are those of the assigner, which has its tests."""
    head, smoothing = loss.head, loss.settings.label_smoothing
    bins, values = head.bins, head.box_values
    pairs = loss.assigner(
        targets, head.points(raw_outputs), DecodedPredictions(*head.decode(raw_outputs))
    )
    places = [
        (level, y, x)
        for level, (height, width) in enumerate(SIZES_HW)
        for y in range(height)
        for x in range(width)
    ]
    terms = []  # place, target, alignment, overlap, focal loss
    for image, prediction, target in zip(
        pairs.image.tolist(), pairs.prediction.tolist(), pairs.target.tolist(), strict=True
    ):
        level, y, x = places[prediction]
        raw, stride = raw_outputs[level][image, y, x].tolist(), STRIDES[level]
        sides = [slow_softmax(raw[bins * side : bins * (side + 1)]) for side in range(4)]
        means = [sum(i * p for i, p in enumerate(s)) for s in sides] if bins else raw[:4]
        left, top, right, bottom = (stride * mean for mean in means)
        cx, cy = (x + 0.5) * stride, (y + 0.5) * stride
        box = targets.boxes_xyxy[target].tolist()
        overlap = ciou([cx - left, cy - top, cx + right, cy + bottom], box)
        score = sigmoid(raw[values + int(targets.class_ids[target])])
        wanted = [(cx - box[0]), (cy - box[1]), (box[2] - cx), (box[3] - cy)]
        focal = 0.0
        for probabilities, distance in zip(sides, wanted, strict=True) if bins else ():
            y_ = min(max(distance / stride, 0), bins - 1 - 0.01)
            low = math.floor(y_)
            focal -= (low + 1 - y_) * math.log(probabilities[low]) / 4
            focal -= (y_ - low) * math.log(probabilities[low + 1]) / 4
        alignment = score**0.5 * max(overlap, 0.0) ** 6
        terms.append(((image, prediction), target, alignment, overlap, focal))
    best: dict[int, tuple[float, float]] = {}
    for _, target, alignment, overlap, _ in terms:
        a, u = best.get(target, (0.0, 0.0))
        best[target] = max(a, alignment), max(u, overlap)
    wanted_scores, box_loss, dfl_loss = {}, 0.0, 0.0
    for place, target, alignment, overlap, focal in terms:
        a, u = best[target]
        quality = alignment * u / a if a else 0.0
        wanted_scores[place] = (int(targets.class_ids[target]), quality)
        box_loss += (1 - overlap) * quality
        dfl_loss += focal * quality
    total = max(sum(quality for _, quality in wanted_scores.values()), 1.0)
    class_loss = 0.0
    for image in range(IMAGES):
        for prediction, (level, y, x) in enumerate(places):
            own, quality = wanted_scores.get((image, prediction), (-1, 0.0))
            for number in range(CLASSES):
                wanted_score = (quality if number == own else 0.0) * (1 - smoothing) + smoothing / 2
                logit = float(raw_outputs[level][image, y, x, values + number])
                weight = 1.0
                if loss.settings.class_loss == "varifocal":  # q if q > 0, else 0.75 · p²
                    weight = wanted_score or 0.75 * sigmoid(logit) ** 2
                class_loss += weight * bce(logit, wanted_score)
    losses = {"loss_box": 7.5 * box_loss / total, "loss_class": 0.5 * class_loss / total}
    return {**losses, "loss_dfl": 1.5 * dfl_loss / total} if bins else losses


CASES = {
    "none": random_targets(0),
    "one": random_targets(1),
    "hundred": random_targets(100, seed=2),
    "repeated": random_targets(20, seed=3, different=5),
    "outside": OUTSIDE,
}


@pytest.mark.parametrize("coarse", [False, True], ids=["", TIES])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("assigner", "class_loss", "smoothing"),
    [("aligned", "bce", 0.0), ("simota", "bce", 0.1), ("aligned", "varifocal", 0.0)],
)
def test_equal_to_a_slow_loop(
    case: str, coarse: bool, assigner: str, class_loss: str, smoothing: float
) -> None:
    loss = make_loss(assigner=assigner, class_loss=class_loss, label_smoothing=smoothing)
    raw_outputs = make_raw_outputs(coarse)
    found = loss(raw_outputs, CASES[case])
    expected = slow_loss(loss, [raw.detach() for raw in raw_outputs], CASES[case])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name].detach()) == pytest.approx(value, rel=1e-6, abs=1e-6), name


@pytest.mark.parametrize("coarse", [False, True], ids=["", TIES])
@pytest.mark.parametrize("case", CASES)
def test_distances_without_bins(case: str, coarse: bool) -> None:
    """There is no focal loss of the boxes; raw distances may be negative, and the box inverted."""
    loss = make_loss_without_bins()
    raw_outputs = make_raw_outputs(coarse, values=4)
    for raw in raw_outputs:
        raw.data[..., :4] += (
            0.25  # whole numbers would give boxes of height 0, without aspect ratio
        )
    found = loss(raw_outputs, CASES[case])
    expected = slow_loss(loss, [raw.detach() for raw in raw_outputs], CASES[case])
    assert found.keys() == expected.keys() == {"loss_box", "loss_class"}
    for name, value in expected.items():
        assert float(found[name].detach()) == pytest.approx(value, rel=1e-6, abs=1e-6), name


def test_settings_without_effect() -> None:
    with pytest.raises(DetectorError) as caught:
        make_loss_without_bins(dfl_gain=2.0)
    assert str(caught.value) == (
        "dfl_gain 2.0: this head predicts distances without bins, "
        "which have no distribution focal loss"
    )
    make_loss(dfl_gain=2.0)
    with pytest.raises(DetectorError) as caught:
        make_loss(class_loss="varifocal", label_smoothing=0.1)
    assert str(caught.value) == (
        "label_smoothing 0.1: class_loss varifocal has qualities as targets, which are not "
        "smoothed; omit one of both"
    )


def test_focal_loss_by_hand() -> None:
    """A distance of 1.25 between bins of probability ½ and ¼: ¾ ln 2 + ¼ ln 4."""
    logits = torch.tensor([[[0.125, 0.5, 0.25, 0.125]]]).log()
    found = distribution_focal_loss(logits, torch.tensor([[1.25]]))
    assert float(found) == pytest.approx(0.75 * math.log(2) + 0.25 * math.log(4))


def test_images_without_boxes_teach_the_classes_only() -> None:
    raw_outputs = make_raw_outputs()
    losses = make_loss()(raw_outputs, random_targets(0))
    torch.stack(list(losses.values())).sum().backward()
    assert float(losses["loss_box"].detach()) == float(losses["loss_dfl"].detach()) == 0
    for raw in raw_outputs:
        assert raw.grad is not None
        assert raw.grad[..., 4 * BINS :].all()
        assert not raw.grad[..., : 4 * BINS].any()
