"""The table of precisions that an exported file's weights may have."""

from __future__ import annotations

from dataclasses import dataclass

from detector.settings import FormatName, PrecisionName
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


@dataclass(frozen=True)
class Precision:
    """One row of the table of precisions.

    Attributes:
        formats: formats that support the precision.
        needs_calibration: the ranges of activations must be measured on images first.
        tolerance: None if no format supports the precision.
    """

    formats: tuple[FormatName, ...] = ()
    needs_calibration: bool = False
    tolerance: Tolerance | None = None


PRECISIONS: dict[PrecisionName, Precision] = {
    # 0.03 pixels at 640, which change the IoU of a 10-pixel box by less than 0.01. Rounding of a
    # trained network stays below a hundredth of the boxes' tolerance and a tenth of the scores'.
    "fp32": Precision(
        formats=("onnx", "openvino", "pt2"),
        tolerance=Tolerance(boxes=5e-5, scores=1e-4, unmatched=0.02, metric=0.001),
    ),
    "bf16": Precision(),
    # Each weight is rounded by up to 2⁻¹¹ of itself; the arithmetic stays in fp32.
    "fp16": Precision(
        formats=("onnx", "openvino"),
        tolerance=Tolerance(boxes=5e-3, scores=5e-2, unmatched=0.2, metric=0.005),
    ),
    # Judged by AP alone, see --max-drop. Rounding changes single boxes, and many of the random
    # images' boxes, by any amount, so that only NaN and infinity exceed the first three.
    "int8": Precision(
        formats=("onnx", "openvino"),
        needs_calibration=True,
        tolerance=Tolerance(boxes=1e6, scores=1e6, unmatched=1.0, metric=0.005),
    ),
}
"""Precisions by name; one without formats is a known name that no format supports yet."""


def check_precision(name: PrecisionName, format: FormatName) -> None:
    """Raise DetectorError unless the format supports the precision, naming formats that do."""
    formats = PRECISIONS[name].formats
    if not formats:
        raise _no_format(name)
    if format not in formats:
        raise DetectorError(
            f"--precision {name} is not for --format {format}; use {' or '.join(formats)}"
        )


def tolerance_of(name: PrecisionName) -> Tolerance:
    """Return the tolerances of files in a precision.

    Raises:
        DetectorError: no format supports it; the message names precisions that can be used.
    """
    tolerance = PRECISIONS[name].tolerance
    if tolerance is None:
        raise _no_format(name)
    return tolerance


def _no_format(name: PrecisionName) -> DetectorError:
    able = [other for other, row in PRECISIONS.items() if row.formats]
    return DetectorError(
        f"--precision {name}: no format can be written in it; use {' or '.join(able)}"
    )
