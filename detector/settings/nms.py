"""Settings of NMS, and the classes that it keeps."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, TypedDict

from pydantic import Field

from detector.settings.values import Count, Fraction, Positive
from detector.utils.errors import DetectorError, nearest, shown
from detector.utils.yaml_file import Strict

NmsMethod = Literal["nms", "soft-linear", "soft-gaussian", "fusion"]


class BasicNmsSettings(Strict):
    """NMS."""

    confidence: Fraction = Field(0.25, description="lowest score that is kept")
    iou: Fraction = Field(
        0.45, description="IoU above which NMS removes the box with the lower score"
    )
    max_detections: Count = Field(300, description="boxes per image, the best ones")
    class_agnostic: bool = Field(False, description="apply NMS across classes")
    nms_method: NmsMethod = Field(
        "nms",
        description="nms: drop overlapping boxes; soft-…: lower their scores; fusion: merge them",
    )
    sigma: Positive = Field(0.5, description="σ of soft-gaussian; larger values lower scores less")
    multi_label: bool = Field(False, description="a box may carry several classes")


class NmsSettings(BasicNmsSettings):
    """NMS settings: which decoded boxes are kept. There is no time limit."""

    earlier_names: ClassVar[Mapping[str, str]] = {"suppression": "nms_method"}

    classes: tuple[int, ...] | None = Field(None, description="class numbers to keep")
    candidates: Count = Field(30_000, description="boxes that enter the suppression, best first")
    class_candidates: Count | None = Field(
        None, description="boxes of each class that enter the suppression, best first"
    )
    clip_boxes: bool = Field(True, description="clip boxes to the image")


class NmsOptions(TypedDict, total=False):
    """Fields of :class:`NmsSettings` as keyword arguments; classes by name, too."""

    confidence: float
    iou: float
    max_detections: int
    class_agnostic: bool
    nms_method: NmsMethod
    sigma: float
    multi_label: bool
    classes: str | int | Iterable[str | int] | None
    candidates: int
    class_candidates: int | None
    clip_boxes: bool


EVAL_NMS = NmsSettings(confidence=0.001, iou=0.6, max_detections=300, multi_label=True)
"""NMS settings customary for COCO evaluation: a low threshold, several classes per box."""


def class_numbers(
    classes: str | int | Iterable[str | int], names: tuple[str, ...]
) -> tuple[int, ...]:
    """Look up classes of a model, given by name or number; one may stand alone.

    Raises:
        DetectorError: a name is unknown; names the nearest one.

    >>> class_numbers(["dog", 0], ("cat", "dog"))
    (1, 0)
    """
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        classes = [classes]
    return tuple(_class_number(one, names) for one in classes)


def _class_number(class_: Any, names: tuple[str, ...]) -> int:
    if not isinstance(class_, str):
        try:
            return operator.index(class_)  # numpy's whole numbers, too
        except TypeError:
            message = f"classes: expected names or numbers, found {shown(class_)}"
            raise DetectorError(message) from None
    if class_ in names:
        return names.index(class_)
    if class_.isdecimal() and int(class_) < len(names):
        return int(class_)
    hint = nearest(class_, names)
    hint = hint or f"; the model has {len(names)} classes: {', '.join(names[:20])}"
    raise DetectorError(f"unknown class {class_!r}{hint}")
