"""Values that tests of several losses share."""

from __future__ import annotations

import math

import torch

from detector.structures.samples import Targets

TIES = "ties"
OUTSIDE = Targets(
    torch.tensor([[500.0, 500, 520, 530], [-90, -60, -70, -50]]).double(),
    torch.tensor([0, 1]),
    torch.tensor([0, 2]),
)
"""Boxes outside of images of 64×80 pixels."""


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def bce(logit: float, target: float) -> float:
    p = sigmoid(logit)
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def ciou(a: list[float], b: list[float]) -> float:
    """Return the CIoU by arXiv 1911.08287, equations 7 to 11, written out."""
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    wa, ha, wb, hb = a[2] - a[0], a[3] - a[1], b[2] - b[0], b[3] - b[1]
    iou = w * h / (wa * ha + wb * hb - w * h)
    cw, ch = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    rho = ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2
    v = 4 / math.pi**2 * (math.atan(wa / ha) - math.atan(wb / hb)) ** 2
    return iou - rho / (cw**2 + ch**2) - v * v / (1 - iou + v)
