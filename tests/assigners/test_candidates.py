"""Candidates by place, against hand-made cases and a slow loop."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from detector.assigners import inside_box, near_centre
from detector.structures.points import Points, cell_centres
from detector.structures.samples import Targets
from tests.assigners.conftest import as_set, random_targets

STRIDES, SIZES_HW = [8, 16], [(8, 10), (4, 5)]


def points(per_point: int = 1) -> Points:
    return Points(*cell_centres(STRIDES, SIZES_HW, torch.zeros(0, dtype=torch.float64)), per_point)


def one_target(*box_xyxy: float) -> Targets:
    return Targets(torch.tensor([box_xyxy]).double(), torch.tensor([0]), torch.tensor([0]))


@pytest.mark.parametrize("rule", [inside_box, near_centre])
def test_no_target_has_no_candidates(rule) -> None:
    found = rule(random_targets(0), points())
    assert len(found) == 0
    assert found.image.dtype == found.prediction.dtype == found.target.dtype == torch.int64


def test_near_the_centre_by_hand() -> None:
    # Centre (12, 12). Stride 8: 2.5 strides are 20 pixels, so the cells with centres 4, 12, 20, 28
    # on both axes; 16 of them. Stride 16: 40 pixels, centres 8, 24, 40: 9 of them.
    found = near_centre(one_target(10, 10, 14, 14), points())
    first = [row * 10 + column for row in range(4) for column in range(4)]
    second = [80 + row * 5 + column for row in range(3) for column in range(3)]
    assert found.prediction.tolist() == first + second
    # A distance of just the radius is too far: one stride, 8 pixels, leaves the cell itself, and
    # (8, 8) and no other at 16.
    assert near_centre(one_target(10, 10, 14, 14), points(), 1.0).prediction.tolist() == [
        11,
        80,
        81,
        85,
        86,
    ]


def test_inside_the_box_by_hand() -> None:
    # 9…22 by 9…14: of stride 8 the centres (12, 12) and (20, 12); of stride 16 neither 8 nor 24
    # lies inside, but the centre (15.5, 11.5) is in the first cell.
    assert inside_box(one_target(9, 9, 22, 14), points()).prediction.tolist() == [11, 12, 80]


def test_predictions_of_a_point_come_together() -> None:
    found = inside_box(one_target(9, 9, 22, 14), points(per_point=3))
    assert found.prediction.tolist() == [33, 34, 35, 36, 37, 38, 240, 241, 242]


@pytest.mark.parametrize("rule", [inside_box, near_centre])
def test_a_target_outside_of_all_points(rule) -> None:
    assert len(rule(one_target(500, 500, 520, 520), points())) == 0


@pytest.mark.parametrize("count", [1, 5, 60])
@pytest.mark.parametrize("radius", [0.5, 1.5, 2.5])
def test_equal_to_a_loop(count: int, radius: float) -> None:
    targets, places = random_targets(count), points(per_point=2)
    near, inside = set(), set()
    for target, (x1, y1, x2, y2) in enumerate(targets.boxes_xyxy.tolist()):
        for point, (x, y) in enumerate(places.xy.tolist()):
            stride = float(places.strides[point])
            far = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2))
            image = int(targets.image_index[target])
            pairs = {(image, 2 * point + number, target) for number in range(2)}
            if far < radius * stride:
                near |= pairs
            if far <= stride / 2 or (x1 < x < x2 and y1 < y < y2):
                inside |= pairs
    assert as_set(partial(near_centre, radius=radius)(targets, places)) == near
    assert as_set(inside_box(targets, places)) == inside
