"""SimOTA and task-aligned assignment for a head without anchors, against slow float64 loops.

The head is a toy: a cell gives the distances of its centre to the four sides, in strides.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from detector.assigners import AlignedAssigner, DecodedPredictions, SimOtaAssigner
from detector.structures.points import Points, cell_centres
from detector.structures.samples import Targets
from tests.assigners.conftest import CLASSES, as_set, cheapest_target, random_targets, slow_iou

POINTS = Points(*cell_centres([8, 16], [(8, 10), (4, 5)], torch.zeros(0, dtype=torch.float64)))
IMAGES = 3


def predictions(seed: int = 0, coarse: bool = False) -> DecodedPredictions:
    """Return predictions from random distances and scores; coarse ones make ties."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(IMAGES, len(POINTS), 4 + CLASSES, generator=generator).double()
    raw = raw.round() if coarse else raw
    distances = raw[..., :4].exp() * POINTS.strides[:, None]
    boxes_xyxy = torch.cat((POINTS.xy - distances[..., :2], POINTS.xy + distances[..., 2:]), -1)
    return DecodedPredictions(boxes_xyxy, raw[..., 4:].sigmoid())


def measured(targets: Targets, made: DecodedPredictions, target: int, point: int) -> tuple:
    """Return the IoU, the target's class, and all scores at a point in the target's image."""
    image = int(targets.image_index[target])
    box = made.boxes_xyxy[image, point].tolist()
    overlap = slow_iou(box, targets.boxes_xyxy[target].tolist())
    return overlap, int(targets.class_ids[target]), made.scores[image, point].tolist()


def centre_and_points(targets: Targets, target: int):
    """Yield each point, its distance from the centre (larger axis), stride, and if it is inside."""
    x1, y1, x2, y2 = targets.boxes_xyxy[target].tolist()
    for point, (x, y) in enumerate(POINTS.xy.tolist()):
        far = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2))
        yield point, far, float(POINTS.strides[point]), x1 < x < x2 and y1 < y < y2


def slow_simota(targets: Targets, made: DecodedPredictions, exponent: float) -> set:
    """Take the points of lowest cost within 2.5 strides of the centre (YOLOX, section 2.1)."""
    taken = {}
    for target in range(len(targets)):
        costs = []
        for point, far, stride, _ in centre_and_points(targets, target):
            if far >= 2.5 * stride:
                continue
            overlap, own, scores = measured(targets, made, target, point)
            cost = -3 * math.log(max(overlap, 1e-8))
            for number, score in enumerate(scores):
                p = score**exponent
                cost -= math.log(p if number == own else 1 - p)
            costs.append((cost, point, overlap))
        best = sorted((overlap for *_, overlap in costs), reverse=True)[:10]
        for cost, point, _ in sorted(costs)[: max(int(sum(best)), 1)]:
            taken[int(targets.image_index[target]), point, target] = cost
    return cheapest_target(taken)


def slow_aligned(
    targets: Targets, made: DecodedPredictions, alpha: float, beta: float, top: int
) -> set:
    """Take the best aligned points inside the box or at its centre (TOOD, section 3.2.1)."""
    taken = {}
    for target in range(len(targets)):
        found = []
        for point, far, stride, inside in centre_and_points(targets, target):
            if not inside and far > stride / 2:
                continue
            overlap, own, scores = measured(targets, made, target, point)
            alignment = scores[own] ** alpha * overlap**beta
            found.append((-alignment, point, -overlap))
        for number, (negative, point, value) in enumerate(sorted(found)[:top]):
            if negative < 0 or number == 0:  # at least one
                taken[int(targets.image_index[target]), point, target] = value
    return cheapest_target(taken)


CASES = {
    "none": random_targets(0),
    "one": random_targets(1),
    "some": random_targets(12, seed=1),
    "crowded": random_targets(60, seed=2),
    "repeated": random_targets(20, seed=3, different=5),
    "outside": Targets(
        torch.tensor([[500.0, 500, 520, 530], [-90, -60, -70, -50]]).double(),
        torch.tensor([0, 1]),
        torch.tensor([0, 2]),
    ),
}


@pytest.mark.parametrize("coarse", [False, True], ids=["", "ties"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_simota_is_that_of_a_loop(case: str, coarse: bool, exponent: float) -> None:
    targets, made = CASES[case], predictions(coarse=coarse)
    found = as_set(SimOtaAssigner(score_exponent=exponent)(targets, POINTS, made))
    assert found == slow_simota(targets, made, exponent)
    assert bool(found) == (case not in {"none", "outside"})


@pytest.mark.parametrize("coarse", [False, True], ids=["", "ties"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("alpha", "beta", "top"), [(0.5, 6.0, 10), (1.0, 6.0, 13), (1.0, 2.0, 3)])
def test_aligned_is_that_of_a_loop(
    case: str, coarse: bool, alpha: float, beta: float, top: int
) -> None:
    targets, made = CASES[case], predictions(coarse=coarse)
    found = as_set(AlignedAssigner(alpha, beta, top)(targets, POINTS, made))
    assert found == slow_aligned(targets, made, alpha, beta, top)
    assert bool(found) == (case not in {"none", "outside"})


@pytest.mark.parametrize("assigner", [SimOtaAssigner(), AlignedAssigner()])
def test_equal_predictions_are_taken_in_order(assigner) -> None:
    """Ties go to the first points: all predict the target's own box with one score."""
    box = torch.tensor([[16.0, 16, 48, 48]]).double()
    targets = Targets(box, torch.tensor([1]), torch.tensor([1]))
    same = DecodedPredictions(
        box.expand(IMAGES, len(POINTS), 4), torch.full((IMAGES, len(POINTS), CLASSES), 0.5).double()
    )
    found = assigner(targets, POINTS, same)
    candidates = assigner.candidates(targets, POINTS)
    # An IoU of 1 ten times: ten predictions by SimOTA; 13 by alignment.
    count = 10 if isinstance(assigner, SimOtaAssigner) else 13
    assert found.prediction.tolist() == candidates.prediction[:count].tolist()
    assert set(found.image.tolist()) == {1}


def test_each_target_with_a_candidate_has_a_prediction() -> None:
    """Predictions far from the box have an alignment of 0: the first candidate is taken."""
    box = torch.tensor([[16.0, 16, 48, 48]]).double()
    targets = Targets(box, torch.tensor([1]), torch.tensor([0]))
    far = DecodedPredictions(
        (box + 1000).expand(IMAGES, len(POINTS), 4), torch.full((IMAGES, len(POINTS), CLASSES), 0.5)
    )
    assigner = AlignedAssigner()
    found = assigner(targets, POINTS, far)
    first = assigner.candidates(targets, POINTS).prediction[0]
    assert found.prediction.tolist() == [first]


def test_no_gradient_is_recorded() -> None:
    raw: Tensor = torch.zeros(IMAGES, len(POINTS), CLASSES, dtype=torch.float64, requires_grad=True)
    made = DecodedPredictions(predictions().boxes_xyxy + raw.sum(), raw.sigmoid())
    for assigner in (SimOtaAssigner(), AlignedAssigner()):
        assert len(assigner(random_targets(5), POINTS, made)) > 0
