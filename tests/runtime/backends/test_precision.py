"""The table of precisions."""

from __future__ import annotations

from typing import get_args

import pytest

from detector.export.formats import FORMATS
from detector.runtime.backends.precision import (
    PRECISIONS,
    Tolerance,
    check_precision,
    tolerance_of,
)
from detector.settings.values import FormatName, PrecisionName
from detector.utils.errors import DetectorError


def test_each_name_has_a_row():
    assert tuple(PRECISIONS) == get_args(PrecisionName)
    assert tuple(FORMATS) == get_args(FormatName)


def test_what_is_measured_on_images():
    assert [name for name, row in PRECISIONS.items() if row.needs_calibration] == ["int8"]
    assert [name for name, row in PRECISIONS.items() if row.needs_labels] == ["bf16", "int8"]


def test_the_tolerances():
    """Of 640 pixels 0.032 and 3.2."""
    assert tolerance_of("fp32") == Tolerance(boxes=5e-5, scores=1e-4, unmatched=0.02, metric=0.001)
    assert tolerance_of("fp16") == Tolerance(boxes=5e-3, scores=5e-2, unmatched=0.2, metric=0.005)
    for name in ("bf16", "int8"):
        assert tolerance_of(name).metric == 0.005


def test_a_format_that_cannot_be_written_in_a_precision():
    for format in get_args(FormatName):
        check_precision("fp32", format)
    check_precision("fp16", "openvino")
    with pytest.raises(DetectorError) as caught:
        check_precision("fp16", "pt2")
    assert str(caught.value) == "--precision fp16 is not for --format pt2; use onnx or openvino"
    with pytest.raises(DetectorError) as caught:
        check_precision("bf16", "onnx")
    assert str(caught.value) == "--precision bf16 is not for --format onnx; use openvino"
