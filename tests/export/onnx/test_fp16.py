"""Weights in fp16: half the file, the same arithmetic, tolerances of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from detector.export.formats import FORMATS
from detector.export.onnx.fp16 import store_as_fp16
from detector.export.options import Options
from detector.export.run import ExportReport, export_model
from detector.model.detector import Detector
from detector.utils.errors import DetectorError

NETWORK = """
<ir_version: 8, opset_import: ["" : 18]>
network (float[1, 2] x) => (float[1, 2] y)
<float[2, 2] weight = {0.1, -2, 3, 4}, float[2] bias = {0.1, 0.2}>
{ y = Gemm(x, weight, bias) }
"""


def test_weights_and_nothing_else():
    proto = parser.parse_model(NETWORK)
    store_as_fp16(proto)
    onnx.checker.check_model(proto)
    stored = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
    assert stored["weight/fp16"].dtype == np.float16
    assert stored["weight/fp16"].tolist() == [[np.float16(0.1), -2], [3, 4]]
    assert stored["bias"].dtype == np.float32
    cast, _ = proto.graph.node
    assert (cast.op_type, list(cast.output)) == ("Cast", ["weight"])


def test_a_weight_that_is_too_large():
    proto = parser.parse_model(NETWORK.replace("-2", "-70000"))
    with pytest.raises(DetectorError, match=r"^a weight is 7e\+04, too large for fp16$"):
        store_as_fp16(proto)


@pytest.mark.parametrize("form", ["onnx", pytest.param("openvino", marks=pytest.mark.slow)])
def test_a_file(
    network: Detector, export_once: Callable[[str], ExportReport], form: str, tmp_path: Path
):
    whole = export_once(form)
    small = export_model(network, form, tmp_path / "small", options=Options(precision="fp16"))
    assert small.certificate.precision == "fp16"
    assert FORMATS[form].open(small.path).metadata.precision == "fp16"
    assert whole.certificate.precision == "fp32"
    difference = small.certificate.before_nms.boxes_px
    assert whole.certificate.before_nms.boxes_px * 3 < difference < 0.1
    weights_of = FORMATS[form].files
    sizes = [weights_of(report.path)[-1].stat().st_size for report in (small, whole)]
    assert sizes[0] < sizes[1]


def test_a_format_that_cannot_be_written_in_it(network: Detector, tmp_path: Path):
    with pytest.raises(
        DetectorError, match="^--precision fp16 is not for --format pt2; use onnx or openvino$"
    ):
        export_model(network, "pt2", tmp_path / "a", options=Options(precision="fp16"))
    assert not list(tmp_path.iterdir())
