"""Losses: named scalars from raw outputs and targets, one loss per file."""

from detector.losses.classify import ClassifyLoss
from detector.losses.multibox import MultiBoxLoss
from detector.losses.yolo import YoloLoss

__all__ = ["ClassifyLoss", "MultiBoxLoss", "YoloLoss"]
