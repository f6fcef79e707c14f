"""The table of precisions that exported files may have."""

from __future__ import annotations

from dataclasses import dataclass

from detector.settings.values import FormatName, PrecisionName
from detector.utils.errors import DetectorError


@dataclass(frozen=True)
class Tolerance:
    """Largest allowed differences between an exported file and the network.

    Attributes:
        boxes: difference of a box coordinate, relative to the largest coordinate.
        scores: difference of a score, relative to the largest score (tiny before training).
        unmatched: fraction of boxes after NMS without a counterpart.
        metric: absolute difference of AP, or of a classifier's accuracy.
    """

    boxes: float
    scores: float
    unmatched: float
    metric: float


ANY = 1e6
"""Tolerance of a difference that is stated and not limited; only NaN and infinity exceed it."""


@dataclass(frozen=True)
class Precision:
    """One row of the table of precisions.

    Attributes:
        formats: formats that support the precision.
        needs_calibration: the ranges of activations must be measured on images first.
        needs_labels: what it costs is told by AP alone: rounding changes single boxes, mostly those
            without an object, by any amount.
        tolerance: limits of its differences from the network.
    """

    formats: tuple[FormatName, ...]
    tolerance: Tolerance
    needs_calibration: bool = False
    needs_labels: bool = False


PRECISIONS: dict[PrecisionName, Precision] = {
    # 0.03 pixels at 640, which change the IoU of a 10-pixel box by less than 0.01. Rounding of a
    # trained network stays below a hundredth of the boxes' tolerance and a tenth of the scores'.
    "fp32": Precision(
        formats=("onnx", "openvino", "pt2"),
        tolerance=Tolerance(boxes=5e-5, scores=1e-4, unmatched=0.02, metric=0.001),
    ),
    # The arithmetic is rounded to 2⁻⁹ of each value, by machines that have it.
    "bf16": Precision(
        formats=("openvino",),
        needs_labels=True,
        tolerance=Tolerance(boxes=ANY, scores=ANY, unmatched=1, metric=0.005),
    ),
    # Each weight is rounded by up to 2⁻¹¹ of itself; the arithmetic stays in fp32.
    "fp16": Precision(
        formats=("onnx", "openvino"),
        tolerance=Tolerance(boxes=5e-3, scores=5e-2, unmatched=0.2, metric=0.005),
    ),
    "int8": Precision(
        formats=("onnx", "openvino"),
        needs_calibration=True,
        needs_labels=True,
        tolerance=Tolerance(boxes=ANY, scores=ANY, unmatched=1, metric=0.005),
    ),
}
"""Precisions by name."""


def check_precision(name: PrecisionName, format: FormatName) -> None:
    """Raise DetectorError unless the format supports the precision, naming formats that do."""
    formats = PRECISIONS[name].formats
    if format not in formats:
        raise DetectorError(
            f"--precision {name} is not for --format {format}; use {' or '.join(formats)}"
        )


def tolerance_of(name: PrecisionName) -> Tolerance:
    """Return the tolerances of files in a precision."""
    return PRECISIONS[name].tolerance
