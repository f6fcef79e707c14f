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
from detector.settings import FormatName, PrecisionName
from detector.utils.errors import DetectorError


def test_each_name_has_a_row():
    assert tuple(PRECISIONS) == get_args(PrecisionName)
    assert tuple(FORMATS) == get_args(FormatName)


def test_what_can_be_written_has_tolerances():
    for name, row in PRECISIONS.items():
        assert (row.tolerance is not None) == bool(row.formats), name
    assert [name for name, row in PRECISIONS.items() if row.needs_calibration] == ["int8"]


def test_the_tolerances():
    """Of 640 pixels 0.032 and 3.2."""
    assert tolerance_of("fp32") == Tolerance(boxes=5e-5, scores=1e-4, unmatched=0.02, metric=0.001)
    assert tolerance_of("fp16") == Tolerance(boxes=5e-3, scores=5e-2, unmatched=0.2, metric=0.005)
    assert tolerance_of("int8").metric == 0.005  # AP alone decides, see --max-drop


def test_a_precision_that_no_format_can_be_written_in():
    message = "--precision bf16: no format can be written in it; use fp32 or fp16 or int8"
    with pytest.raises(DetectorError) as caught:
        check_precision("bf16", "onnx")
    assert str(caught.value) == message
    with pytest.raises(DetectorError) as caught:
        tolerance_of("bf16")
    assert str(caught.value) == message


def test_a_format_that_cannot_be_written_in_a_precision():
    for format in get_args(FormatName):
        check_precision("fp32", format)
    check_precision("fp16", "openvino")
    with pytest.raises(DetectorError) as caught:
        check_precision("fp16", "pt2")
    assert str(caught.value) == "--precision fp16 is not for --format pt2; use onnx or openvino"
