"""Table of published weights that are read here: where they are, their licences, what they reach.

Nothing is downloaded. ``docs/weights.md`` shows the table; ``detector.list_models`` gives its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

AGPL = "AGPL-3.0"
GPL = "GPL-3.0"
COPYLEFT = (AGPL, GPL)
"""Licences that hold for whatever is built from the weights, too."""
_YOLOX = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/"
_MULTIMEDIATECH = "https://github.com/MultimediaTechLab/YOLO/releases/download/v1.0-alpha/"
_PADDLE = "https://paddledet.bj.bcebos.com/models/"
_YOLOV5 = "https://github.com/ultralytics/yolov5/releases/download/v7.0/"
_MEITUAN = "https://github.com/meituan/YOLOv6/releases/download/0.4.0/"
_ULTRALYTICS = "https://github.com/ultralytics/assets/releases/download/v8.3.0/"


@dataclass(frozen=True)
class PublishedWeights:
    """One published file of weights.

    Attributes:
        cfg: packaged model file of its network.
        variant: variant of that file, or None.
        file: name of the file.
        folder: address of the folder that its authors publish it in.
        licence: licence of the weights, as their authors state it.
        imgsz: side of the square input for which AP is published, pixels.
        published_ap: AP on COCO val2017 that the authors state, 0 to 100, or None.
        sha256: SHA-256 of the file, or its first digits; None if unknown.
        measured_ap: AP on the first 128 images of COCO val2017, measured here, 0 to 1, or None.
    """

    cfg: str
    variant: str | None
    file: str
    folder: str
    licence: str
    imgsz: int
    published_ap: float | None
    sha256: str | None = None
    measured_ap: float | None = None

    @property
    def is_permissive(self) -> bool:
        """True if the weights may be used in products of any licence."""
        return self.licence not in COPYLEFT


def _yolox() -> Iterator[PublishedWeights]:
    for variant, imgsz, ap in (
        ("nano", 416, 25.8),
        ("tiny", 416, 32.8),
        ("s", 640, 40.5),
        ("m", 640, 46.9),
        ("l", 640, 49.7),
        ("x", 640, 51.1),
    ):
        file = f"yolox_{variant}.pth"
        measured = 0.336 if variant == "nano" else None
        yield PublishedWeights(
            "yolox", variant, file, _YOLOX, "Apache-2.0", imgsz, ap, measured_ap=measured
        )


def _multimediatech() -> Iterator[PublishedWeights]:
    for cfg, variant, file, ap in (
        ("yolov9", "s", "v9-s.pt", 46.8),
        ("yolov9", "m", "v9-m.pt", 51.4),
        ("yolov9", "c", "v9-c.pt", 53.0),
        ("yolov7", "multimediatech", "v7.pt", 51.4),
    ):
        yield PublishedWeights(cfg, variant, file, _MULTIMEDIATECH, "MIT", 640, ap)


def _ppyoloe() -> Iterator[PublishedWeights]:
    for variant, ap in zip("smlx", (43.7, 49.8, 52.9, 54.7), strict=True):
        file = f"ppyoloe_plus_crn_{variant}_80e_coco.pdparams"
        yield PublishedWeights("ppyoloe", variant, file, _PADDLE, "Apache-2.0", 640, ap)


def _ssd() -> Iterator[PublishedWeights]:
    yield PublishedWeights(
        "ssd300_vgg16",
        "coco",
        "ssd300_vgg16_coco-b556d3b4.pth",
        "https://download.pytorch.org/models/",
        "BSD-3-Clause",
        300,
        25.1,
        sha256="b556d3b4",
    )


def _yolov6() -> Iterator[PublishedWeights]:
    for variant, ap in zip("nsm", (37.5, 45.0, 50.0), strict=True):
        yield PublishedWeights("yolov6", variant, f"yolov6{variant}.pt", _MEITUAN, GPL, 640, ap)


def _ultralytics() -> Iterator[PublishedWeights]:
    for size, ap in zip("nsmlx", (28.0, 37.4, 45.4, 49.0, 50.7), strict=True):
        measured = 0.335 if size == "n" else None
        yield PublishedWeights(
            f"yolov5{size}", None, f"yolov5{size}.pt", _YOLOV5, AGPL, 640, ap, measured_ap=measured
        )
    for size, ap in zip("nsmlx", (37.3, 44.9, 50.2, 52.9, 53.9), strict=True):
        yield PublishedWeights("yolov8", size, f"yolov8{size}.pt", _ULTRALYTICS, AGPL, 640, ap)
    for size, ap in zip("nsmlx", (39.5, 47.0, 51.5, 53.4, 54.7), strict=True):
        yield PublishedWeights("yolo11", size, f"yolo11{size}.pt", _ULTRALYTICS, AGPL, 640, ap)


PUBLISHED = (*_yolox(), *_multimediatech(), *_ppyoloe(), *_ssd(), *_yolov6(), *_ultralytics())
"""All rows, permissive licences first."""
