"""Candidate predictions of each target by place: from points and strides, without anchors."""

from __future__ import annotations

import torch
from torch import Tensor

from detector.assigners.assignment import Assignment
from detector.structures.boxes import xyxy_to_cxcywh
from detector.structures.points import Points
from detector.structures.samples import Targets


def near_centre(targets: Targets, points: Points, radius: float = 2.5) -> Assignment:
    """Pair each target with the points around its centre (YOLOX's center region, section 2.1).

    Args:
        targets: targets of the batch.
        points: places of the predictions.
        radius: distance from the centre along each axis, exclusive, in strides of the point.

    Returns:
        Pairs ordered by target, then by prediction.
    """
    distance_x, distance_y = _distances(targets, points)
    return _pairs(targets, points, torch.maximum(distance_x, distance_y) < radius * points.strides)


def inside_box(targets: Targets, points: Points) -> Assignment:
    """Pair each target with the points inside its box (FCOS, arXiv 1904.01355, section 3.1).

    A point whose cell contains the target's centre counts as inside, so that even the smallest
    target has candidates.

    Args:
        targets: targets of the batch.
        points: places of the predictions.

    Returns:
        Pairs ordered by target, then by prediction.
    """
    distance_x, distance_y = _distances(targets, points)
    width, height = xyxy_to_cxcywh(targets.boxes_xyxy)[:, 2:, None].unbind(1)
    inside = (distance_x < width / 2) & (distance_y < height / 2)
    home = torch.maximum(distance_x, distance_y) <= points.strides / 2
    return _pairs(targets, points, inside | home)


def _distances(targets: Targets, points: Points) -> tuple[Tensor, Tensor]:
    """Return distances of points from the targets' centres along x and y, (m, p) pixels each."""
    centre_x, centre_y = xyxy_to_cxcywh(targets.boxes_xyxy)[:, :2, None].unbind(1)
    x, y = points.xy.unbind(1)
    return (x - centre_x).abs_(), (y - centre_y).abs_()


def _pairs(targets: Targets, points: Points, reached: Tensor) -> Assignment:
    """Return pairs of targets and predictions, from an (m, p) mask of targets and points."""
    target, point = reached.nonzero(as_tuple=True)
    each = torch.arange(points.per_point, device=point.device)
    prediction = (point[:, None] * points.per_point + each).flatten()
    target = target.repeat_interleave(points.per_point)
    return Assignment(targets.image_index[target], prediction, target)
