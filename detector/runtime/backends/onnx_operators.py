"""Operators that exported networks may have, each with the rule for the sizes of its outputs.

The tables hold what torch's exporters write for networks of this package and of others, and what
ONNX Runtime's quantizer makes of them. Control flow (``If``, ``Loop``, ``Scan``) and operators
whose sizes follow from the content of an image have no rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from detector.runtime.backends.onnx_graph import Known, Tensor
from detector.runtime.backends.onnx_values import (
    MAX_SIZE,
    Call,
    Shape,
    SizeError,
    Value,
    broadcast,
)

Rule = Callable[[Call], list[Value]]
OPERATORS: dict[str, Rule] = {}
"""Operators, with their domain where it is not the standard one → rules."""


def rule(*operators: str) -> Callable[[Rule], Rule]:
    """Register a rule for operators, separated by blanks."""

    def add(function: Rule) -> Rule:
        OPERATORS.update(dict.fromkeys(" ".join(operators).split(), function))
        return function

    return add


# ------------------------------------------------------------------------------ one shape for all


@rule(
    "Abs Acos Acosh Asin Asinh Atan Atanh BatchNormalization BitwiseNot Celu Clip Cos Cosh CumSum",
    "CastLike DequantizeLinear Elu Erf EyeLike Exp Gelu GroupNormalization HardSigmoid HardSwish",
    "Hardmax InstanceNormalization IsInf IsNaN LRN LeakyRelu Log LogSoftmax LpNormalization",
    "MeanVarianceNormalization Mish Not QuantizeLinear RMSNormalization Reciprocal Relu",
    "ReverseSequence Round Selu Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Swish Tan",
    "Tanh ThresholdedRelu Trilu ScatterElements ScatterND Scatter",
    "com.microsoft.QuickGelu com.microsoft.BiasGelu com.microsoft.FastGelu com.microsoft.Gelu",
    "com.microsoft.QuantizeLinear com.microsoft.DequantizeLinear com.microsoft.QLinearSigmoid",
    "com.microsoft.QLinearLeakyRelu com.microsoft.QLinearSoftmax",
)  # fmt: skip
def _same(call: Call) -> list[Value]:
    return call.give(call.shape())


@rule("Identity")
def _identity(call: Call) -> list[Value]:
    return call.give(call.shape(), known=call.changed(lambda value: value))


CASTS = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}
"""Element types of ONNX that sizes are computed in."""


@rule("Cast")
def _cast(call: Call) -> list[Value]:
    dtype = CASTS.get(call.attributes.get("to", 0))
    known = None if dtype is None else call.changed(lambda value: value.astype(dtype))
    return call.give(call.shape(), known=known)


@rule("Dropout")
def _dropout(call: Call) -> list[Value]:
    return call.give(call.shape(), call.shape())


@rule("LayerNormalization com.microsoft.SkipLayerNormalization")
def _layer_norm(call: Call) -> list[Value]:
    return call.give(*[call.shape()] * len(call.outputs))


@rule("DynamicQuantizeLinear")
def _dynamic_quantize(call: Call) -> list[Value]:
    return call.give(call.shape(), (), ())


# ------------------------------------------------------------------------------------- arithmetic


def _divided(a: Known, b: Known) -> Known:
    """Divide as ONNX does: integers towards zero."""
    if a.dtype.kind in "iu":
        return np.asarray(np.sign(a) * np.sign(b) * (abs(a) // abs(b)))
    return np.asarray(a / b)


CALCULATED: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _divided, "Pow": np.power,
    "Max": lambda *values: np.max(np.broadcast_arrays(*values), axis=0),
    "Min": lambda *values: np.min(np.broadcast_arrays(*values), axis=0),
    "Equal": np.equal, "Greater": np.greater, "GreaterOrEqual": np.greater_equal,
    "Less": np.less, "LessOrEqual": np.less_equal, "And": np.logical_and, "Or": np.logical_or,
    "Where": np.where,
}  # fmt: skip
"""Operators of several inputs that sizes are computed with."""


def _broadcast(name: str) -> Rule:
    def sizes(call: Call) -> list[Value]:
        shapes = [value.shape for value in call.inputs if value is not None]
        function = CALCULATED.get(name)
        known = None if function is None else lambda: call.calculate(function)
        return call.give(broadcast(*shapes), known=known)

    return sizes


ALSO_BROADCAST = (
    *("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"),
    *("Mean", "Mod", "PRelu", "Sum", "Xor"),
)
"""Operators of several inputs that sizes are not computed with."""

for _name in (*CALCULATED, *ALSO_BROADCAST):
    OPERATORS[_name] = _broadcast(_name)


@rule("com.microsoft.QLinearAdd com.microsoft.QLinearMul")
def _quantized_pair(call: Call) -> list[Value]:
    return call.give(broadcast(call.shape(0), call.shape(3)))


@rule("com.microsoft.QLinearWhere")
def _quantized_where(call: Call) -> list[Value]:
    return call.give(broadcast(call.shape(0), call.shape(1), call.shape(4)))


ROUNDED: dict[str, Callable[..., Any]] = {
    "Ceil": np.ceil, "Floor": np.floor, "Neg": np.negative, "Sqrt": np.sqrt,
}  # fmt: skip
"""Operators of one input that sizes are computed with."""


def _unary(name: str) -> Rule:
    return lambda call: call.give(call.shape(), known=call.changed(ROUNDED[name]))


for _name in ROUNDED:
    OPERATORS[_name] = _unary(_name)


# ------------------------------------------------------------------------------------- reductions


@rule(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd",
    "ReduceSum ReduceSumSquare",
)
def _reduce(call: Call) -> list[Value]:
    axes = call.numbers("axes", 1)
    if not axes and call.attributes.get("noop_with_empty_axes", 0):
        return call.give(call.shape())
    return call.give(_reduced(call, axes or list(range(len(call.shape())))))


@rule("com.microsoft.QLinearReduceMean")
def _quantized_reduce(call: Call) -> list[Value]:
    axes = call.attributes.get("axes")
    return call.give(_reduced(call, axes or list(range(len(call.shape())))))


@rule("ArgMax ArgMin")
def _argument(call: Call) -> list[Value]:
    return call.give(_reduced(call, [call.attributes.get("axis", 0)]))


def _reduced(call: Call, axes: list[int]) -> Shape:
    shape = call.shape()
    gone = {_axis(axis, len(shape)) for axis in axes}
    if call.attributes.get("keepdims", 1):
        return tuple(1 if at in gone else size for at, size in enumerate(shape))
    return tuple(size for at, size in enumerate(shape) if at not in gone)


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < max(rank, 1):
        raise IndexError
    return axis % max(rank, 1)


# ---------------------------------------------------------------------------- windows of an image


@rule("Conv ConvInteger com.microsoft.FusedConv")
def _conv(call: Call) -> list[Value]:
    return call.give(_convolved(call, call.shape(0), call.shape(1)))


@rule("QLinearConv com.microsoft.QLinearConv")
def _quantized_conv(call: Call) -> list[Value]:
    weights = call.shape(3)
    if not call.attributes.get("channels_last", 0):
        return call.give(_convolved(call, call.shape(0), weights))
    batch, *sides, channels = call.shape(0)
    batch, out, *sides = _convolved(call, (batch, channels, *sides), weights)
    return call.give((batch, *sides, out))


def _convolved(call: Call, shape: Shape, weights: Shape) -> Shape:
    return (shape[0], weights[0], *_windows(call, shape[2:], weights[2:]))


@rule("MaxPool AveragePool LpPool com.microsoft.QLinearAveragePool com.microsoft.NhwcMaxPool")
def _pool(call: Call) -> list[Value]:
    kernel = tuple(call.attributes["kernel_shape"])
    shape = call.shape()
    if call.attributes.get("channels_last", 0):
        shape = (shape[0], *_windows(call, shape[1:-1], kernel), shape[-1])
    else:
        shape = (*shape[:2], *_windows(call, shape[2:], kernel))
    return call.give(*[shape] * len(call.outputs))


def _windows(call: Call, sides: Shape, kernel: Shape) -> Shape:
    """Return the number of positions of a kernel along each side."""
    count = len(sides)
    strides = call.attributes.get("strides") or [1] * count
    dilations = call.attributes.get("dilations") or [1] * count
    pads = call.attributes.get("pads") or [0] * (2 * count)
    mode = call.attributes.get("auto_pad", "NOTSET")
    if mode.startswith("SAME"):
        return tuple(-(-n // s) for n, s in zip(sides, strides, strict=True))
    if mode == "VALID":
        pads = [0] * (2 * count)
    rest = call.attributes.get("ceil_mode", 0)
    return tuple(
        (n + before + after - d * (k - 1) - 1 + (s - 1 if rest else 0)) // s + 1
        for n, k, s, d, before, after in zip(
            sides, kernel, strides, dilations, pads[:count], pads[count:], strict=True
        )
    )


@rule("ConvTranspose")
def _conv_transpose(call: Call) -> list[Value]:
    shape, weights = call.shape(0), call.shape(1)
    count, kernel = len(shape) - 2, weights[2:]
    strides = call.attributes.get("strides") or [1] * count
    dilations = call.attributes.get("dilations") or [1] * count
    more = call.attributes.get("output_padding") or [0] * count
    pads = call.attributes.get("pads") or [0] * (2 * count)
    sides = call.attributes.get("output_shape") or [
        max(n * s, (n - 1) * s + extra + d * (k - 1) + 1 - before - after)
        if call.attributes.get("auto_pad", "NOTSET").startswith("SAME")
        else (n - 1) * s + extra + d * (k - 1) + 1 - before - after
        for n, k, s, d, extra, before, after in zip(
            shape[2:], kernel, strides, dilations, more, pads[:count], pads[count:], strict=True
        )
    ]
    return call.give((shape[0], weights[1] * call.attributes.get("group", 1), *sides[-count:]))


@rule("DeformConv")
def _deform_conv(call: Call) -> list[Value]:
    return call.give((call.shape(0)[0], call.shape(1)[0], *call.shape(2)[2:]))


@rule("GlobalAveragePool GlobalMaxPool GlobalLpPool com.microsoft.QLinearGlobalAveragePool")
def _global_pool(call: Call) -> list[Value]:
    shape = call.shape()
    ones = (1,) * (len(shape) - 2)
    if call.attributes.get("channels_last", 0):
        return call.give((shape[0], *ones, shape[-1]))
    return call.give((*shape[:2], *ones))


@rule("DepthToSpace")
def _depth_to_space(call: Call) -> list[Value]:
    batch, channels, height, width = call.shape()
    side = call.attributes["blocksize"]
    return call.give((batch, channels // side**2, height * side, width * side))


@rule("SpaceToDepth")
def _space_to_depth(call: Call) -> list[Value]:
    batch, channels, height, width = call.shape()
    side = call.attributes["blocksize"]
    return call.give((batch, channels * side**2, height // side, width // side))


@rule("Col2Im")
def _col2im(call: Call) -> list[Value]:
    batch, values = call.shape()[:2]
    image, block = call.needed("image_shape", 1), call.needed("block_shape", 2)
    return call.give((batch, values // math.prod(block), *image))


@rule("DFT")
def _fourier(call: Call) -> list[Value]:
    shape = list(call.shape())
    axis = _axis(call.needed("axis", 2)[0], len(shape))
    length = call.numbers("dft_length", 1)
    shape[axis] = length[0] if length else shape[axis]
    is_half, is_inverse = (call.attributes.get(name, 0) for name in ("onesided", "inverse"))
    if is_half and not is_inverse:
        shape[axis] = shape[axis] // 2 + 1
    return call.give((*shape[:-1], 1 if is_half and is_inverse else 2))


@rule("GridSample")
def _grid_sample(call: Call) -> list[Value]:
    return call.give((*call.shape(0)[:2], *call.shape(1)[1:-1]))


@rule("RoiAlign")
def _roi_align(call: Call) -> list[Value]:
    sides = (call.attributes.get(f"output_{name}", 1) for name in ("height", "width"))
    return call.give((call.shape(1)[0], call.shape(0)[1], *sides))


@rule("Upsample Resize")
def _resize(call: Call) -> list[Value]:
    shape = call.shape()
    axes = [_axis(axis, len(shape)) for axis in call.attributes.get("axes") or range(len(shape))]
    sizes = call.numbers("sizes", 3)
    sides = [shape[axis] for axis in axes]
    if sizes:
        policy = call.attributes.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            choose = max if policy == "not_smaller" else min
            ratio = choose(new / old for new, old in zip(sizes, sides, strict=True))
            sizes = [math.floor(ratio * side + 0.5) for side in sides]
    else:
        scales = _scales(call)
        sizes = [math.floor(n * scale) for n, scale in zip(sides, scales, strict=True)]
    new = dict(zip(axes, sizes, strict=True))
    return call.give(tuple(new.get(at, size) for at, size in enumerate(shape)))


def _scales(call: Call) -> list[float]:
    if "scales" in call.attributes:
        return list(call.attributes["scales"])
    scales = call.value(1 if len(call.inputs) == 2 else 2).known
    if scales is None:
        raise SizeError("its input 'scales' follows from the content of an image")
    return [float(scale) for scale in scales]


@rule("Pad")
def _pad(call: Call) -> list[Value]:
    shape = list(call.shape())
    pads = call.needed("pads", 1)
    axes = call.numbers("axes", 3) or list(range(len(shape)))
    befores, afters = pads[: len(axes)], pads[len(axes) :]
    for axis, before, after in zip(axes, befores, afters, strict=True):
        shape[_axis(axis, len(shape))] += before + after
    return call.give(tuple(shape))


# --------------------------------------------------------------------------------------- products


@rule("MatMul MatMulInteger com.microsoft.DynamicQuantizeMatMul com.microsoft.MatMulIntegerToFloat")
def _matmul(call: Call) -> list[Value]:
    return call.give(_product(call.shape(0), call.shape(1)))


@rule("QLinearMatMul")
def _quantized_matmul(call: Call) -> list[Value]:
    return call.give(_product(call.shape(0), call.shape(3)))


@rule("com.microsoft.FusedMatMul")
def _fused_matmul(call: Call) -> list[Value]:
    shapes = [call.shape(0), call.shape(1)]
    for at, side in enumerate("AB"):
        if call.attributes.get(f"transBatch{side}", 0):
            raise SizeError("it transposes batches")
        if call.attributes.get(f"trans{side}", 0):
            shapes[at] = (*shapes[at][:-2], shapes[at][-1], shapes[at][-2])
    return call.give(_product(*shapes))


def _product(a: Shape, b: Shape) -> Shape:
    rows = a[-2:-1] if len(a) > 1 else ()
    columns = b[-1:] if len(b) > 1 else ()
    return (*broadcast(a[:-2], b[:-2]), *rows, *columns)


@rule("Gemm com.microsoft.FusedGemm com.microsoft.QGemm")
def _gemm(call: Call) -> list[Value]:
    is_quantized = len(call.inputs) > 4
    a, b = call.shape(0), call.shape(3 if is_quantized else 1)
    rows = a[1] if call.attributes.get("transA", 0) else a[0]
    columns = b[0] if call.attributes.get("transB", 0) else b[1]
    return call.give((rows, columns))


@rule("com.microsoft.MatMulNBits")
def _matmul_bits(call: Call) -> list[Value]:
    return call.give((*call.shape()[:-1], call.attributes["N"]))


@rule("Einsum")
def _einsum(call: Call) -> list[Value]:
    equation = call.attributes["equation"].replace(" ", "")
    terms, arrow, result = equation.partition("->")
    if not arrow or "." in equation:
        raise SizeError("its equation names no result, or has dots")
    sizes: dict[str, int] = {}
    for at, term in enumerate(terms.split(",")):
        for letter, size in zip(term, call.shape(at), strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    shape = tuple(sizes[letter] for letter in result)
    if math.prod(sizes.values()) > MAX_SIZE:
        raise SizeError("its products are too many")
    return call.give(shape)


# ---------------------------------------------------------------------------------- forms of data


@rule("Constant")
def _constant(call: Call) -> list[Value]:
    for name, dtype in (("int", np.int64), ("float", np.float32)):
        for key in (f"value_{name}", f"value_{name}s"):
            if key in call.attributes:
                known = np.array(call.attributes[key], dtype)
                return call.give(known.shape, known=partial(np.asarray, known))
    tensor = call.attributes.get("value")
    if not isinstance(tensor, Tensor):
        raise SizeError("its value is not a tensor of numbers")
    return call.give(tensor.shape, known=lambda: tensor.known)


@rule("ConstantOfShape")
def _constant_of_shape(call: Call) -> list[Value]:
    shape = tuple(call.needed("input", 0))
    tensor = call.attributes.get("value")
    fill = np.zeros(1, np.float32) if tensor is None else tensor.known
    return call.give(shape, known=lambda: None if fill is None else np.full(shape, fill[0]))


@rule("Shape")
def _shape(call: Call) -> list[Value]:
    value = call.value(0)
    rows = slice(call.attributes.get("start", 0), call.attributes.get("end"))
    known = np.array(value.shape[rows], np.int64)
    return _of_sizes(call, known)


@rule("Size")
def _size(call: Call) -> list[Value]:
    return _of_sizes(call, np.array(call.value(0).count, np.int64))


def _of_sizes(call: Call, known: Known) -> list[Value]:
    """Return sizes as values: not known if they are bounds only, else as if they were stored."""
    value = call.value(0)
    return [Value(known.shape, known if value.is_exact else None, is_constant=True)]


@rule("Range")
def _range(call: Call) -> list[Value]:
    numbers = call.calculate(lambda *values: np.array([value.item() for value in values]))
    if numbers is None:
        raise SizeError("its limits follow from the content of an image")
    start, stop, step = numbers
    count = max(0, math.ceil((float(stop) - float(start)) / float(step)))
    dtype = call.value(0).known
    assert dtype is not None
    return call.give((count,), known=lambda: (start + np.arange(count) * step).astype(dtype.dtype))


@rule("Expand")
def _expand(call: Call) -> list[Value]:
    shape = broadcast(call.shape(), tuple(call.needed("shape", 1)))
    return call.give(shape, known=call.changed(lambda value: np.broadcast_to(value, shape)))


@rule("Tile")
def _tile(call: Call) -> list[Value]:
    repeats = call.needed("repeats", 1)
    return call.give(tuple(n * times for n, times in zip(call.shape(), repeats, strict=True)))


@rule("Reshape")
def _reshape(call: Call) -> list[Value]:
    value, sizes = call.value(0), call.needed("shape", 1)
    if not call.attributes.get("allowzero", 0):
        sizes = [value.shape[at] if size == 0 else size for at, size in enumerate(sizes)]
    given = math.prod(size for size in sizes if size != -1)
    if -1 in sizes:
        sizes = [value.count // max(1, given) if size == -1 else size for size in sizes]
    elif value.is_exact and given != value.count:
        raise ValueError
    shape = tuple(sizes)
    return call.give(shape, known=call.changed(lambda known: known.reshape(shape)))


@rule("Flatten")
def _flatten(call: Call) -> list[Value]:
    shape, axis = call.shape(), call.attributes.get("axis", 1)
    axis += len(shape) if axis < 0 else 0
    return call.give((math.prod(shape[:axis]), math.prod(shape[axis:])))


@rule("Squeeze")
def _squeeze(call: Call) -> list[Value]:
    value, axes = call.value(0), call.numbers("axes", 1)
    rank = len(value.shape)
    if axes is None:
        axes = [at for at, size in enumerate(value.shape) if size == 1]
    gone = {_axis(axis, rank) for axis in axes}
    shape = tuple(size for at, size in enumerate(value.shape) if at not in gone)
    return call.give(shape, known=call.changed(lambda known: known.reshape(shape)))


@rule("Unsqueeze")
def _unsqueeze(call: Call) -> list[Value]:
    value, axes = call.value(0), call.needed("axes", 1)
    rank = len(value.shape) + len(axes)
    new = {_axis(axis, rank) for axis in axes}
    rest = iter(value.shape)
    shape = tuple(1 if at in new else next(rest) for at in range(rank))
    return call.give(shape, known=call.changed(lambda known: known.reshape(shape)))


@rule("Transpose")
def _transpose(call: Call) -> list[Value]:
    value = call.value(0)
    order = call.attributes.get("perm") or list(range(len(value.shape)))[::-1]
    shape = tuple(value.shape[axis] for axis in order)
    return call.give(shape, known=call.changed(lambda known: known.transpose(order)))


@rule("Concat")
def _concat(call: Call) -> list[Value]:
    axis = call.attributes["axis"]
    shape = _joined([value.shape for value in call.inputs if value is not None], axis)
    return call.give(shape, known=lambda: call.calculate(lambda *all: np.concatenate(all, axis)))


@rule("com.microsoft.QLinearConcat")
def _quantized_concat(call: Call) -> list[Value]:
    shapes = [call.shape(at) for at in range(2, len(call.inputs), 3)]
    return call.give(_joined(shapes, call.attributes["axis"]))


def _joined(shapes: list[Shape], axis: int) -> Shape:
    axis = _axis(axis, len(shapes[0]))
    sizes = [max(sizes) for sizes in zip(*shapes, strict=True)]
    sizes[axis] = sum(shape[axis] for shape in shapes)
    return tuple(sizes)


@rule("Split")
def _split(call: Call) -> list[Value]:
    value = call.value(0)
    axis, count = _axis(call.attributes.get("axis", 0), len(value.shape)), len(call.outputs)
    size = value.shape[axis]
    part = -(-size // max(1, count))
    parts = call.numbers("split", 1) or [min(part, max(0, size - part * at)) for at in range(count)]
    shapes = [(*value.shape[:axis], n, *value.shape[axis + 1 :]) for n in parts]
    if value.known is None:
        return call.give(*shapes)
    pieces = np.split(value.known, np.cumsum(parts)[:-1], axis)
    return [call.give(piece.shape, known=partial(np.asarray, piece))[0] for piece in pieces]


@rule("Slice")
def _slice(call: Call) -> list[Value]:
    value = call.value(0)
    starts, ends = call.needed("starts", 1), call.needed("ends", 2)
    axes = call.numbers("axes", 3) or list(range(len(starts)))
    steps = call.numbers("steps", 4) or [1] * len(starts)
    if not value.is_exact:
        return call.give(value.shape)
    index = [slice(None)] * len(value.shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        at = _axis(axis, len(value.shape))
        index[at] = _slice_of(start, end, step, value.shape[at])
    shape = tuple(
        len(range(*part.indices(size))) for part, size in zip(index, value.shape, strict=True)
    )
    return call.give(shape, known=call.changed(lambda known: known[tuple(index)]))


def _slice_of(start: int, end: int, step: int, size: int) -> slice:
    """Return a slice of Python: going back, an end before the first value is None there."""
    if step < 0 and end < -size:
        return slice(start, None, step)
    return slice(start, end, step)


@rule("Gather")
def _gather(call: Call) -> list[Value]:
    value, index = call.value(0), call.value(1)
    axis = _axis(call.attributes.get("axis", 0), len(value.shape))
    shape = (*value.shape[:axis], *index.shape, *value.shape[axis + 1 :])
    return call.give(shape, known=lambda: call.calculate(partial(np.take, axis=axis)))


@rule("GatherElements")
def _gather_elements(call: Call) -> list[Value]:
    return call.give(call.shape(1))


@rule("GatherND")
def _gather_nd(call: Call) -> list[Value]:
    index, values = call.shape(1), call.shape(0)
    return call.give((*index[:-1], *values[call.attributes.get("batch_dims", 0) + index[-1] :]))


@rule("OneHot")
def _one_hot(call: Call) -> list[Value]:
    shape, depth = call.shape(0), call.needed("depth", 1)[0]
    axis = _axis(call.attributes.get("axis", -1), len(shape) + 1)
    return call.give((*shape[:axis], depth, *shape[axis:]))


@rule("TopK")
def _top_k(call: Call) -> list[Value]:
    shape = list(call.shape())
    axis = _axis(call.attributes.get("axis", -1), len(shape))
    numbers = call.attributes.get("k")
    known = call.optional(1)
    if numbers is None and (known is None or known.known is None):  # at most all of them
        return call.give(tuple(shape), tuple(shape), is_exact=False)
    shape[axis] = min(shape[axis], call.needed("k", 1)[0])
    return call.give(tuple(shape), tuple(shape))


@rule("NonMaxSuppression")
def _nms(call: Call) -> list[Value]:
    (batch, boxes, _), classes = call.shape(0), call.shape(1)[1]
    limit = call.numbers("max_output_boxes_per_class", 2) or [0]
    return call.give((batch * classes * max(0, min(boxes, limit[0])), 3), is_exact=False)


@rule("NonZero")
def _non_zero(call: Call) -> list[Value]:
    return call.give((len(call.shape()), call.value(0).count), is_exact=False)
