"""Losses: named scalars from raw outputs and targets, one loss per file."""

from detector.losses.auxiliary import AuxiliaryLoss
from detector.losses.classify import ClassifyLoss
from detector.losses.distribution import DistributionLoss
from detector.losses.multibox import MultiBoxLoss
from detector.losses.refinedet import RefineDetLoss
from detector.losses.yolo import YoloLoss
from detector.losses.yolox import YoloxLoss

__all__ = [
    "AuxiliaryLoss",
    "ClassifyLoss",
    "DistributionLoss",
    "MultiBoxLoss",
    "RefineDetLoss",
    "YoloLoss",
    "YoloxLoss",
]
