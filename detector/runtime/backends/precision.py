"""The precisions that an exported file's weights may have: one table, a row each."""

from __future__ import annotations

from dataclasses import dataclass

from detector.settings import FormatName, PrecisionName
from detector.utils.errors import DetectorError


@dataclass(frozen=True)
class Tolerance:
    """How far a file's results may lie from the network's.

    Attributes:
        boxes: of a box's coordinate, relative to the largest one.
        scores: of a score, relative to the largest one, which is tiny before training.
        unmatched: fraction of the boxes after NMS without a counterpart.
        metric: of AP, or of a classifier's accuracy, absolute.
    """

    boxes: float
    scores: float
    unmatched: float
    metric: float


@dataclass(frozen=True)
class Precision:
    """One row of the table.

    Attributes:
        formats: the formats that can be written in it.
        needs_calibration: whether the ranges of activations must be measured on images first.
        tolerance: None as long as no format can be written in it: there is nothing to measure.
    """

    formats: tuple[FormatName, ...] = ()
    needs_calibration: bool = False
    tolerance: Tolerance | None = None


PRECISIONS: dict[PrecisionName, Precision] = {
    # 0.03 pixels at 640, which change the IoU of a box of 10 pixels by less than 0.01; rounding of
    # a trained network stays below a hundredth of that, and a tenth of the scores'.
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
    "int8": Precision(needs_calibration=True),
}
"""By name. A name without formats is known, and refused."""


def check_precision(name: PrecisionName, format: FormatName) -> None:
    """Raise DetectorError unless the format can be written in the precision; names what can."""
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
        DetectorError: no format can be written in it; names the precisions that can.
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
