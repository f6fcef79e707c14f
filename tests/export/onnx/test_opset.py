"""Earlier operator sets: equal outputs in ONNX Runtime, or the operator that needs a later one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from detector.export.onnx.opset import lower_opset
from detector.runtime.backends.onnx import open_session
from detector.utils.errors import DetectorError

HEAD = '<ir_version: 10, opset_import: ["" : 18]>\ngraph (float[b, 4, h, w] x) => (float[n] flat) {'
TAIL = "one_row = Constant<value = int64[1] {-1}>()\n flat = Reshape(y, one_row)\n}"


def model(body: str) -> Any:
    return parser.parse_model(f"{HEAD}\n{body}\n{TAIL}")


def run(proto: Any, x: np.ndarray) -> np.ndarray:
    session = open_session(proto.SerializeToString(), "test.onnx")
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(
    "body",
    [
        "y = Identity(x)",
        "y = HardSwish(x)",
        "y = Mish(x)",
        "axes = Constant<value = int64[2] {2, 3}>()\n y = ReduceMean<keepdims = 0>(x, axes)",
        "axes = Constant<value = int64[1] {-1}>()\n y = ReduceL2<keepdims = 1>(x, axes)",
        "y = ReduceMax<keepdims = 1>(x)",
        "a, c = Split<axis = 1, num_outputs = 2>(x)\n y = Sub(a, c)",
        "s = Constant<value = int64[2] {1, 3}>()\n a, c = Split<axis = 1>(x, s)\n y = Sub(a, c)",
        "s = Shape<start = 2>(x)\n y = Cast<to = 1>(s)",
        "s = Shape<start = -3, end = -1>(x)\n y = Cast<to = 1>(s)",
        "s = Shape(x)\n y = Cast<to = 1>(s)",
        "s = Constant<value = int64[2] {2, -1}>()\n y = Reshape<allowzero = 1>(x, s)",
        "f = Constant<value = float[4] {1.0, 1.0, 2.0, 2.0}>()\n"
        'y = Resize<mode = "nearest", antialias = 0>(x, , f)',
        "g = Constant<value = float[4] {1.0, 2.0, 1.0, 2.0}>()\n"
        "o = Constant<value = float[4] {0.5, 0.0, 1.0, 0.0}>()\n"
        "v = Constant<value = float[4] {1.0, 2.0, 1.5, 1.0}>()\n"
        "y = BatchNormalization<training_mode = 0>(x, g, o, o, v)",
        "g = Constant<value = float[7] {1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0}>()\n"
        "y = LayerNormalization(x, g)",
    ],
)
@pytest.mark.parametrize("opset", [13, 17])
def test_equal_outputs(body: str, opset: int, rng: np.random.Generator) -> None:
    proto = model(body)
    lowered = lower_opset(proto, opset)
    assert [item.version for item in lowered.opset_import] == [opset]
    assert lowered.ir_version == {13: 7, 17: 8}[opset]
    x = rng.standard_normal((2, 4, 5, 7)).astype(np.float32)
    np.testing.assert_allclose(run(lowered, x), run(proto, x), rtol=1e-5, atol=1e-6)
    assert proto == model(body)  # the argument is not changed


@pytest.mark.parametrize(
    ("body", "opset", "message"),
    [
        (
            "grid = Expand(x, x)\n y = GridSample(x, grid)",
            13,
            "cannot be written with --opset 13: operator GridSample needs --opset 16",
        ),
        (
            "i = Constant<value = int64[2] {4, 4}>()\n k = Constant<value = int64[2] {2, 2}>()\n"
            "y = Col2Im(x, i, k)",
            17,
            "cannot be written with --opset 17: operator Col2Im needs --opset 18",
        ),
        (
            "s = Shape(x)\n zero = Constant<value = int64[1] {0}>()\n"
            "y = Reshape<allowzero = 1>(x, zero)",
            13,
            "cannot be written with --opset 13: operator Reshape needs --opset 14",
        ),
        (
            "f = Constant<value = float[4] {1.0, 1.0, 2.0, 2.0}>()\n"
            'y = Resize<mode = "linear", antialias = 1>(x, , f)',
            13,
            "cannot be written with --opset 13: operator Resize needs --opset 18",
        ),
    ],
)
def test_operators_that_need_a_later_set(body: str, opset: int, message: str) -> None:
    with pytest.raises(DetectorError) as caught:
        lower_opset(model(body), opset)
    assert str(caught.value) == message


def test_types_that_came_later() -> None:
    """Where takes bfloat16 from set 16 on; its form did not change."""
    text = (
        '<ir_version: 10, opset_import: ["" : 18]>\n'
        "graph (bool[2] c, bfloat16[2] x) => (bfloat16[2] y) { y = Where(c, x, x) }"
    )
    with pytest.raises(DetectorError, match="^cannot be written with --opset 13: .*Where"):
        lower_opset(parser.parse_model(text), 13)


def test_nothing_to_lower() -> None:
    assert isinstance(lower_opset(model("y = Identity(x)"), 13), onnx.ModelProto)
