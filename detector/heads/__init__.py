"""Heads: ``forward`` returns raw outputs, ``decode`` turns them into boxes and scores."""

from detector.heads import (
    auxiliary,
    classify,
    distribution,
    head,
    implicit,
    ppyoloe,
    refinedet,
    ssd,
    yolo,
    yolov6,
    yolox,
)

__all__ = [
    "auxiliary",
    "classify",
    "distribution",
    "head",
    "implicit",
    "ppyoloe",
    "refinedet",
    "ssd",
    "yolo",
    "yolov6",
    "yolox",
]
