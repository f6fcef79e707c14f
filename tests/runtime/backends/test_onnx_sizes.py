"""Sizes of ONNX graphs: as ONNX Runtime computes them, and refused before they fill the memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.runtime.backends import held, onnx_sizes
from detector.runtime.backends.onnx_graph import read_graph
from detector.runtime.backends.onnx_operators import OPERATORS
from detector.runtime.backends.onnx_sizes import check_operators, check_sizes, input_sizes

onnx: Any = pytest.importorskip("onnx")
ort: Any = pytest.importorskip("onnxruntime")

INPUT = (2, 3, 8, 8)
HUGE = 1 << 36

Step = tuple[str, list[Any], dict[str, Any]]
"""Operator, inputs and attributes; an input is "x", "s1" (an earlier step's output) or an array."""


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def model_of(steps: list[Step], opset: int = 18, sizes: tuple[Any, ...] = INPUT) -> Any:
    """A model of which every step's first output is an output."""
    stored, nodes = [], []
    for at, (full_name, inputs, given_attributes) in enumerate(steps):
        names = []
        for place, given in enumerate(inputs):
            name = given
            if isinstance(given, np.ndarray):
                name = f"c{at}_{place}"
                stored.append(onnx.numpy_helper.from_array(given, name))
            names.append(name)
        domain, _, operator = full_name.rpartition(".")
        attributes = dict(given_attributes)
        count = attributes.pop("count", 1)
        outputs = [f"s{at}" if not more else f"s{at}_{more}" for more in range(count)]
        nodes.append(onnx.helper.make_node(operator, names, outputs, domain=domain, **attributes))
    outputs = [onnx.ValueInfoProto(name=name) for node in nodes for name in node.output]
    graph = onnx.helper.make_graph(
        nodes,
        "steps",
        [onnx.helper.make_tensor_value_info("x", 1, list(sizes))],
        outputs,
        stored,
    )
    domains = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=domains, ir_version=9)


def sizes_of(model: Any, image: tuple[int, ...] = INPUT) -> dict[str, Any]:
    """What the check works out for each value."""
    graph = read_graph(model.SerializeToString())
    check_operators(graph)
    found: dict[str, Any] = {}
    original = onnx_sizes._outputs

    def spy(node: Any, values: Any) -> Any:
        outputs = original(node, values)
        found.update(zip(node.outputs, outputs, strict=False))
        return outputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_sizes, "_outputs", spy)
        check_sizes(graph, input_sizes(graph, image))
    return found


def run(model: Any, image: tuple[int, ...] = INPUT) -> dict[str, np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    pixels = np.random.default_rng(0).random(image, np.float32)
    return dict(zip(names, session.run(names, {"x": pixels}), strict=True))


X = "x"
U8, SCALE = np.array(3, np.uint8), np.array(0.1, np.float32)
SAME_RULES = """
    Abs Atan Ceil Celu Cos Elu Erf Exp Floor HardSigmoid HardSwish Hardmax Identity IsNaN LeakyRelu
    LogSoftmax LpNormalization MeanVarianceNormalization Mish Neg Reciprocal Relu Round Selu Sigmoid
    Sign Sin Softmax Softplus Softsign Sqrt Tanh Trilu
"""

CASES: list[list[Step]] = [
    *[[(name, [X], {})] for name in SAME_RULES.split()],
    *[
        [(name, [X, ones(3, 1, 1)], {})]
        for name in ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Mean", "Sum", "PRelu"]
    ],
    [
        ("Clip", [X, np.array(0, np.float32)], {}),
        ("Where", [np.array([True, False] * 4), "s0", X], {}),
    ],
    [("BatchNormalization", [X, ones(3), ones(3), ones(3), ones(3)], {})],
    [("InstanceNormalization", [X, ones(3), ones(3)], {})],
    [("LayerNormalization", [X, ones(8)], {"axis": -1})],
    [("Conv", [X, ones(4, 3, 3, 3)], {"strides": [2, 2], "pads": [1, 1, 1, 1]})],
    [("Conv", [X, ones(4, 3, 3, 3)], {"dilations": [2, 3]})],
    [("Conv", [X, ones(4, 3, 3, 3)], {"auto_pad": "SAME_UPPER", "strides": [3, 3]})],
    [("Conv", [X, ones(4, 3, 3, 3)], {"auto_pad": "VALID", "strides": [3, 3]})],
    [("ConvTranspose", [X, ones(3, 2, 3, 3)], {"strides": [2, 3], "output_padding": [1, 0]})],
    [("ConvTranspose", [X, ones(3, 2, 2, 2)], {"strides": [2, 2], "auto_pad": "SAME_UPPER"})],
    [("MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "count": 2})],
    [("MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1})],
    [("AveragePool", [X], {"kernel_shape": [2, 3], "pads": [0, 1, 0, 1]})],
    [
        ("GlobalAveragePool", [X], {}),
        ("Flatten", ["s0"], {}),
        ("Gemm", ["s1", ones(5, 3)], {"transB": 1}),
    ],
    [
        ("ReduceMean", [X, i64(2, 3)], {}),
        ("ReduceMax", [X, i64(1)], {"keepdims": 0}),
        ("ReduceSum", [X], {}),
    ],
    [("ReduceSum", [X], {"noop_with_empty_axes": 1}), ("ArgMax", [X], {"axis": 1, "keepdims": 0})],
    [("MatMul", [X, ones(8, 5)], {}), ("MatMul", [ones(8), X], {}), ("MatMul", [X, ones(8)], {})],
    [("Einsum", [X, ones(8, 5)], {"equation": "bchw,wk->bkc"})],
    [
        ("DepthToSpace", [ones(1, 8, 2, 3)], {"blocksize": 2}),
        ("SpaceToDepth", [X], {"blocksize": 2}),
    ],
    [("Col2Im", [ones(2, 12, 20), i64(5, 6), i64(2, 2)], {})],
    [("DFT", [ones(2, 6, 8, 1)], {"axis": 2, "onesided": 1}), ("DFT", ["s0"], {"axis": 1})],
    [("DFT", [ones(2, 6, 8, 2), np.array(5)], {"axis": -2, "inverse": 1})],
    [("GridSample", [X, ones(2, 4, 5, 2)], {})],
    [("Resize", [X, "", f32(1, 1, 2, 1.3)], {})],
    [("Resize", [X, "", "", i64(2, 3, 5, 20)], {})],
    [
        (
            "Resize",
            [X, "", "", i64(5, 20)],
            {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"},
        )
    ],
    [
        (
            "Resize",
            [X, "", "", i64(5, 20)],
            {"axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"},
        )
    ],
    [("Pad", [X, i64(0, 0, 1, 2, 0, 0, -1, 4)], {}), ("Pad", [X, i64(1, 2), "", i64(-1)], {})],
    [
        ("Shape", [X], {}),
        ("Gather", ["s0", i64(2)], {}),
        ("Div", ["s1", i64(3)], {}),
        ("Concat", ["s2", i64(7)], {"axis": 0}),
        ("ConstantOfShape", ["s3"], {}),
        ("Expand", [f32(1), "s3"], {}),
    ],
    [
        ("Shape", [X], {"start": 2}),
        ("Cast", ["s0"], {"to": 1}),
        ("Mul", ["s1", f32(1.5)], {}),
        ("Floor", ["s2"], {}),
        ("Cast", ["s3"], {"to": 7}),
        ("Neg", ["s4"], {}),
        ("Div", ["s5", i64(5)], {}),
        ("Sub", [i64(4), "s6"], {}),
        ("Tile", [ones(1, 2), "s7"], {}),
    ],
    [("Size", [X], {}), ("Range", [np.array(0), "s0", np.array(7)], {})],
    [("Range", [np.array(5, np.int32), np.array(-9, np.int32), np.array(-4, np.int32)], {})],
    [
        ("Reshape", [X, i64(0, -1, 4)], {}),
        ("Transpose", ["s0"], {"perm": [2, 0, 1]}),
        ("Transpose", [X], {}),
    ],
    [("Unsqueeze", [X, i64(0, -1)], {}), ("Squeeze", ["s0", i64(0)], {}), ("Squeeze", ["s0"], {})],
    [("Split", [X], {"num_outputs": 3, "axis": 3, "count": 3})],
    [("Split", [X, i64(1, 7)], {"axis": -1, "count": 2})],
    [("Slice", [X, i64(1, -1), i64(9, -9), i64(2, 3), i64(2, -3)], {})],
    [
        ("Shape", [X], {}),
        ("Slice", ["s0", i64(-1), i64(-9), i64(0), i64(-1)], {}),
        ("Split", ["s1"], {"num_outputs": 2, "count": 2}),
    ],
    [
        ("Gather", [X, np.array([[0, 1, 1]])], {"axis": 1}),
        ("GatherElements", [X, np.zeros((1, 2, 3, 4), np.int64)], {}),
    ],
    [
        ("GatherND", [X, np.zeros((2, 4, 2), np.int64)], {"batch_dims": 1}),
        ("ScatterND", [X, np.zeros((1, 4), np.int64), f32(1)], {}),
    ],
    [
        ("OneHot", [i64(1, 2), np.array(5), f32(0, 1)], {"axis": 0}),
        ("TopK", [X, i64(3)], {"axis": 1, "count": 2}),
    ],
    [
        ("Constant", [], {"value_ints": [2, 3]}),
        ("Constant", [], {"value_float": 2.0}),
        ("EyeLike", [ones(2, 3)], {}),
    ],
    [
        ("Equal", [i64(1, -1), i64(-1)], {}),
        ("Where", ["s0", i64(9), i64(1, 2)], {}),
        ("ConstantOfShape", ["s1"], {}),
    ],
    [
        ("NonZero", [X], {}),
        ("Transpose", ["s0"], {"perm": [1, 0]}),
        ("Slice", ["s1", i64(-5), i64(10)], {}),
    ],
    [("NonMaxSuppression", [ones(2, 9, 4), ones(2, 3, 9), i64(5)], {})],
    [("QuantizeLinear", [X, SCALE, U8], {}), ("DequantizeLinear", ["s0", SCALE, U8], {})],
    [
        ("DynamicQuantizeLinear", [X], {"count": 3}),
        ("ConvInteger", ["s0", np.ones((4, 3, 3, 3), np.uint8)], {}),
        ("MatMulInteger", ["s0", np.ones((8, 5), np.uint8)], {}),
    ],
    [
        ("QuantizeLinear", [X, SCALE, U8], {}),
        (
            "QLinearConv",
            ["s0", SCALE, U8, np.ones((4, 3, 3, 3), np.uint8), SCALE, U8, SCALE, U8],
            {},
        ),
        ("QLinearMatMul", ["s0", SCALE, U8, np.ones((8, 5), np.uint8), SCALE, U8, SCALE, U8], {}),
        ("com.microsoft.QLinearAdd", ["s0", SCALE, U8, "s0", SCALE, U8, SCALE, U8], {}),
        ("com.microsoft.QLinearSigmoid", ["s0", SCALE, U8, SCALE, U8], {}),
        ("com.microsoft.QLinearConcat", [SCALE, U8, "s0", SCALE, U8, "s0", SCALE, U8], {"axis": 1}),
        ("com.microsoft.QLinearGlobalAveragePool", ["s0", SCALE, U8, SCALE, U8], {}),
        (
            "com.microsoft.QLinearAveragePool",
            ["s0", SCALE, U8, SCALE, U8],
            {"kernel_shape": [2, 2]},
        ),
    ],
    [
        ("com.microsoft.FusedMatMul", [X, ones(2, 3, 5, 8)], {"transB": 1}),
        ("com.microsoft.Gelu", [X], {}),
        ("com.microsoft.FusedConv", [X, ones(4, 3, 3, 3)], {"activation": "Relu"}),
    ],
]


@pytest.mark.parametrize("steps", CASES, ids=lambda steps: " ".join(step[0] for step in steps))
def test_sizes_are_those_of_onnx_runtime(steps: list[Step]) -> None:
    model = model_of(steps)
    found = sizes_of(model)
    for name, array in run(model).items():
        value = found[name]
        if value.is_exact:
            assert value.shape == array.shape, name
        else:
            assert all(a <= b for a, b in zip(array.shape, value.shape, strict=True)), name
        if value.known is not None:
            assert np.array_equal(value.known, array), name


def test_an_empty_graph() -> None:
    assert sizes_of(model_of([])) == {}


def refused(model: Any, image: tuple[int, ...] = INPUT) -> str:
    with pytest.raises(ValueError) as caught:
        sizes_of(model, image)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def subgraph() -> Any:
    return onnx.helper.make_graph([], "inner", [], [])


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (("Loop", [i64(9), np.array(True), X], {"body": subgraph()}),
         "has a graph within an operator (attribute 'body')"),
        (("Scan", [X], {"body": subgraph(), "num_scan_inputs": 1}),
         "has a graph within an operator (attribute 'body')"),
        (("If", [np.array(True)], {"then_branch": subgraph(), "else_branch": subgraph()}),
         "has a graph within an operator (attribute 'else_branch')"),
        (("Loop", [X], {}), "has the operator 'Loop', which is not among those of networks"),
        (("RandomNormal", [], {"shape": [2]}),
         "has the operator 'RandomNormal', which is not among those of networks"),
        (("acme.Relu", [X], {}),
         "has the operator 'acme.Relu', which is not among those of networks"),
    ],
)  # fmt: skip
def test_operators_that_are_not_run(node: Step, message: str) -> None:
    assert refused(model_of([node])) == message


def test_functions_are_not_run() -> None:
    model = model_of([])
    model.functions.add(name="Relu", domain="")
    assert refused(model) == "defines operators of its own (functions), which are not run"


def sparse_tensor(*shape: int) -> Any:
    """One value, and zeros elsewhere."""
    return onnx.helper.make_sparse_tensor(
        onnx.helper.make_tensor("c", 1, [1], [1.0]),
        onnx.helper.make_tensor("places", 7, [1], [0]),
        shape,
    )


@pytest.mark.parametrize("count", [1, HUGE])
def test_sparse_tensors_are_not_read(count: int) -> None:
    """ONNX Runtime fills them with zeros while it reads a file: 158 bytes become gigabytes."""
    message = "has a sparse tensor, which a runtime fills with zeros; store it dense"
    model = model_of([("ReduceSum", ["c"], {"keepdims": 0})])
    model.graph.initializer.append(onnx.helper.make_tensor("c", 1, [1], [1.0]))
    assert sizes_of(model)["s0"].shape == ()
    model.graph.ClearField("initializer")
    model.graph.sparse_initializer.append(sparse_tensor(count))
    assert refused(model) == message
    constant = sparse_tensor(count)
    assert refused(model_of([("Constant", [], {"sparse_value": constant})])) == message
    assert refused(model_of([("Relu", [X], {"tensors": [constant]})])) == message


def doubled(times: int) -> list[Step]:
    """A value joined with itself again and again: each step is twice as long."""
    return [("Concat", ["x" if at == 0 else f"s{at - 1}"] * 2, {"axis": 1}) for at in range(times)]


@pytest.mark.parametrize(
    ("steps", "label"),
    [
        ([("ConstantOfShape", [i64(HUGE)], {})], "ConstantOfShape 's0'"),
        ([("Expand", [f32(1), i64(HUGE)], {})], "Expand 's0'"),
        ([("Tile", [f32(1), i64(HUGE)], {})], "Tile 's0'"),
        ([("Range", [np.array(0), np.array(HUGE), np.array(1)], {})], "Range 's0'"),
        ([("Resize", [X, "", f32(1, 1, 1e5, 1e4)], {})], "Resize 's0'"),
        ([("Resize", [X, "", "", i64(2, 3, 1 << 18, 1 << 17)], {})], "Resize 's0'"),
        ([("Pad", [X, i64(0, 0, 0, 0, 0, 0, 0, HUGE // 64)], {})], "Pad 's0'"),
        ([("OneHot", [i64(1), np.array(HUGE), f32(0, 1)], {})], "OneHot 's0'"),
        ([("Add", [ones(1 << 18, 1), ones(1, 1 << 18)], {})], "Add 's0'"),
        ([("MatMul", [ones(1 << 18, 1), ones(1, 1 << 18)], {})], "MatMul 's0'"),
        ([("Gather", [ones(1, 1 << 18), np.zeros(1 << 18, np.int64)], {})], "Gather 's0'"),
        ([("Conv", [X, ones(1, 3, 1, 1)], {"pads": [0, 0, 1 << 18, 1 << 18]})], "Conv 's0'"),
        (doubled(40), "Concat 's15'"),  # 384 · 2^16 values and the 384 · 2^15 before them
        # A size that arithmetic makes: 3 · 2^35.
        ([("Shape", [X], {"start": 1, "end": 2}), ("Mul", ["s0", i64(1 << 35)], {}),
          ("ConstantOfShape", ["s1"], {})], "ConstantOfShape 's2'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_too_many_values(steps: list[Step], label: str) -> None:
    message = refused(model_of(steps))
    assert message.startswith("needs more memory than a network: ")
    limit = "at most 33,554,432 for an input of 128 pixels"
    assert message.endswith(f" values at once from {label} on, {limit}")


def test_many_values_that_are_kept() -> None:
    """Each has 2^24 values; constants are kept, values that follow from the image are freed."""
    fill: Step = ("Expand", [X, i64(2, 3, 8, 8)], {})
    constants: list[Step] = [("ConstantOfShape", [i64(1 << 24)], {}) for _ in range(3)]
    assert "50,331,648 values at once from ConstantOfShape 's2' on" in refused(model_of(constants))
    large: list[Step] = [("Tile", [X, i64(1, 1, 128, 256)], {})]  # 384 · 2^15 values
    chain: list[Step] = [("Relu", [f"s{at}"], {}) for at in range(9)]
    assert len(sizes_of(model_of(large + chain + [fill]))) == 11


def test_an_input_of_many_pixels_may_have_more() -> None:
    steps: list[Step] = [("Conv", [X, ones(128, 3, 3, 3)], {})]
    sizes = ("batch", 3, "height", "width")
    assert sizes_of(model_of(steps, sizes=sizes), (4, 3, 640, 640))["s0"].count == 4 * 128 * 638**2
    steps = [("Conv", [X, ones(513, 3, 1, 1)], {})]
    assert refused(model_of(steps, sizes=sizes), (1, 3, 640, 640)) == (
        "needs more memory than a network: 210,124,800 values at once from Conv 's0' on, "
        "at most 209,715,200 for an input of 409,600 pixels"
    )


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([("Cast", [X], {"to": 7}), ("ConstantOfShape", ["s0"], {})],
         "the size of ConstantOfShape 's1' cannot be told before it is run: "
         "its input 'input' follows from the content of an image"),
        ([("NonZero", [X], {}), ("Shape", ["s0"], {}), ("ConstantOfShape", ["s1"], {})],
         "the size of ConstantOfShape 's2' cannot be told before it is run: "
         "its input 'input' follows from the content of an image"),
        ([("ConstantOfShape", [i64(1 << 30, 1 << 30)], {})],
         "the size of ConstantOfShape 's0' cannot be told before it is run: "
         "it would have the shape 1073741824×1073741824"),
        ([("ConstantOfShape", [i64(-1)], {})],
         "ConstantOfShape 's0' has inputs or attributes that contradict each other"),
        ([("Add", [X, ones(7)], {})],
         "Add 's0' has inputs or attributes that contradict each other"),
        ([("Relu", ["later"], {})], "Relu 's0' reads 'later', which nothing before it gives"),
        ([("Range", [np.array(0), np.array(1), np.array(0)], {})],
         "Range 's0' has inputs or attributes that contradict each other"),
    ],
)  # fmt: skip
def test_sizes_that_cannot_be_told(steps: list[Step], message: str) -> None:
    assert refused(model_of(steps)) == message


def test_limits_of_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "more than 16 dimensions" in refused(model_of([("Relu", [np.ones([1] * 17)], {})]))
    model = model_of([])
    model.graph.initializer.add(data_type=7, dims=[100], name="c").int64_data.extend([1] * 100_001)
    assert refused(model) == "has a list of numbers of more than 100000 bytes"
    monkeypatch.setattr(held, "MAX_NODES", 2)
    assert refused(model_of(doubled(3))) == "has more than 2 operators"


def test_numbers_of_a_tensor_in_any_form() -> None:
    """Listed or raw, packed or not, in any type: 2×3 values."""
    for kind, value in ((1, 2.0), (6, -2), (7, -2), (11, 2.0), (13, 2), (10, 2.0), (2, 2), (9, 1)):
        stored = onnx.helper.make_tensor("c", kind, [2, 3], [value] * 6)
        for tensor in (
            stored,
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(stored), "c"),
        ):
            model = model_of([])
            model.graph.initializer.append(tensor)
            found = read_graph(model.SerializeToString()).tensors["c"]
            assert found.known is not None
            assert np.array_equal(found.known, onnx.numpy_helper.to_array(tensor)), kind


def test_a_graph_in_two_parts_is_one() -> None:
    """Protobuf merges a message that occurs twice: no part is overlooked."""
    first, second = model_of([("Relu", [X], {})]), onnx.ModelProto()
    second.graph.node.add(op_type="Loop")
    content = first.SerializeToString() + second.SerializeToString()
    assert [node.op_type for node in onnx.ModelProto.FromString(content).graph.node] == [
        "Relu",
        "Loop",
    ]
    assert [node.operator for node in read_graph(content).nodes] == ["Relu", "Loop"]


class Reader:
    """Calibration images for ONNX Runtime's quantizer."""

    def __init__(self) -> None:
        self.left = 2

    def get_next(self) -> dict[str, np.ndarray] | None:
        self.left -= 1
        return {"x": ones(*INPUT)} if self.left >= 0 else None


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
def test_what_the_quantizer_of_onnx_runtime_writes(form: str, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    steps: list[Step] = [
        ("Conv", [X, ones(4, 3, 3, 3), ones(4)], {}),
        ("Relu", ["s0"], {}),
        ("Conv", ["s1", ones(4, 4, 1, 1), ones(4)], {}),
        ("Sigmoid", ["s2"], {}),
        ("Mul", ["s2", "s3"], {}),
        ("Concat", ["s1", "s4"], {"axis": 1}),
        ("MaxPool", ["s5"], {"kernel_shape": [2, 2]}),
        ("Resize", ["s6", "", f32(1, 1, 2, 2)], {}),
        ("Add", ["s7", "s7"], {}),
        ("GlobalAveragePool", ["s8"], {}),
        ("Flatten", ["s9"], {}),
        ("MatMul", ["s10", ones(8, 5)], {}),
        ("Softmax", ["s11"], {}),
    ]
    model = model_of(steps)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("s12", 1, [2, 5]))
    source, target = tmp_path / "a.onnx", tmp_path / "b.onnx"
    onnx.save(model, source)
    if form == "dynamic":
        quantization.quantize_dynamic(source, target)
    else:
        form_of = getattr(quantization.QuantFormat, form)
        quantization.quantize_static(source, target, Reader(), quant_format=form_of)
    quantized = onnx.load(target)
    assert sizes_of(quantized)["s12"].shape == run(quantized)["s12"].shape == (2, 5)


def test_the_table_holds_no_control_flow() -> None:
    assert not {"If", "Loop", "Scan", "SequenceMap", "StringConcat"} & set(OPERATORS)
    assert {name.rpartition(".")[0] for name in OPERATORS} == {"", "com.microsoft"}
