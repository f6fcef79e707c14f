"""The operators and sizes of an OpenVINO file, checked before OpenVINO reads it.

OpenVINO works out sizes while it reads a file, and evaluates constants to do so. Each output is
compared with the limit on its own: OpenVINO decides which of them it holds at once.
"""

from __future__ import annotations

import math
from typing import Any
from xml.parsers import expat

from detector.runtime.backends.held import HeldValues, check_count
from detector.settings.export import MAX_FIXED_BATCH
from detector.structures.preprocess import MAX_SIDE
from detector.utils.errors import shown

MAX_DEPTH = 16
"""Maximum number of elements within each other in a file."""

MAX_PIXELS = MAX_FIXED_BATCH * MAX_SIDE**2
"""Maximum number of pixels of all images of a call."""

OPERATORS = frozenset(
    """
    Abs Acos Acosh Add Asin Asinh Atan Atanh AvgPool BatchNormInference Broadcast Ceil Ceiling Clamp
    Concat Const Convert ConvertLike Convolution ConvolutionBackpropData Cos Cosh CumSum
    DeformableConvolution DepthToSpace Divide Einsum Elu Equal Erf Exp FakeConvert FakeQuantize
    Floor FloorMod GRN Gather GatherElements GatherND Gelu Greater GreaterEqual GridSample
    GroupConvolution GroupConvolutionBackpropData GroupNormalization HSigmoid HSwish HardSigmoid
    Identity Interpolate LRN Less LessEqual Log LogSoftmax LogicalAnd LogicalNot LogicalOr
    LogicalXor MVN MatMul MaxPool Maximum Minimum Mish Mod Multiply Negative NonMaxSuppression
    NonZero NormalizeL2 NotEqual OneHot PRelu Pad Parameter Power RMS ROIAlign Range ReLU
    ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Reshape Result
    Round ScaledDotProductAttention ScatterElementsUpdate ScatterNDUpdate ScatterUpdate Select
    Selu ShapeOf Sigmoid Sign Sin Sinh Slice SoftPlus SoftSign Softmax SpaceToDepth Split Sqrt
    SquaredDifference Squeeze StridedSlice Subtract Swish Tan Tanh Tile TopK Transpose Unsqueeze
    VariadicSplit
    """.lower().split()
)
"""Operators that exported networks may have, in lower case, as files spell some in two ways: what
this package and common exporters write, and the ``FakeQuantize`` and ``FakeConvert`` of NNCF.
Control flow (``If``, ``Loop``, ``TensorIterator``), states and operators of extensions are not
among them."""


def check_layers(content: bytes) -> None:
    """Raise where a file has other operators, or states sizes beyond those of networks.

    Args:
        content: of the ``.xml`` file.

    Raises:
        ValueError: not an OpenVINO file, or refused; the message says why.
    """
    reader = _Reader()
    try:
        reader.parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f"is not an XML file: {expat.ErrorString(error.code)}") from error
    if reader.layers == 0:
        raise ValueError("is not an OpenVINO file")
    pixels = _pixels(reader.inputs)
    for name, sizes in reader.outputs:
        HeldValues(pixels).add(math.prod(sizes), shown(name))


def _pixels(inputs: list[tuple[int, ...]]) -> int:
    """Return the number of pixels of the only input, which allows so many values.

    Args:
        inputs: sizes of the inputs without their channels, as the file states them.
    """
    if len(inputs) != 1:
        raise ValueError(f"has {len(inputs)} inputs, expected 1")
    pixels = math.prod(inputs[0])
    if pixels > MAX_PIXELS:
        raise ValueError(f"has an input of {pixels:,} pixels, at most {MAX_PIXELS:,} are given")
    return pixels


class _Reader:
    """Reads layers with the sizes of their outputs; entities are refused."""

    def __init__(self) -> None:
        self.layers = 0
        self.inputs: list[tuple[int, ...]] = []
        self.outputs: list[tuple[str, tuple[int, ...]]] = []
        self._path: list[str] = []
        self._layer = ("", "")
        self._sizes: list[int] = []
        self._text = ""
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._add

    def _refuse_doctype(self, *_: object) -> None:
        raise ValueError("has a document type, which OpenVINO's files have not")

    def _start(self, element: str, attributes: dict[str, str]) -> None:
        self._path.append(element)
        self._text = ""
        if len(self._path) > MAX_DEPTH:
            raise ValueError(f"has more than {MAX_DEPTH} elements within each other")
        if element == "body" or (element == "layer" and self._path[:-1] != ["net", "layers"]):
            raise ValueError("has a graph within an operator, which is not run")
        if element == "layer":
            self._start_layer(attributes.get("type", ""), attributes.get("name", ""))
        elif element == "port":
            self._sizes = []

    def _start_layer(self, operator: str, name: str) -> None:
        self.layers += 1
        self._layer = operator, name
        check_count(self.layers)
        if operator.lower() not in OPERATORS:
            raise ValueError(
                f"has the operator {shown(operator)}, which is not among those of networks"
            )

    def _add(self, text: str) -> None:
        if self._path[-1] == "dim":
            self._text += text

    def _end(self, element: str) -> None:
        self._path.pop()
        if element == "dim":
            self._sizes.append(_size(self._text))
        elif element == "port" and self._path[-1:] == ["output"]:
            operator, name = self._layer
            self.outputs.append((name, tuple(self._sizes)))
            if operator == "Parameter":
                self.inputs.append((*self._sizes[:1], *self._sizes[2:]))


def _size(text: str) -> int:
    """Return a size as the file states it, 1 where it is not fixed."""
    try:
        return max(1, int(text[:20]))
    except ValueError as error:
        raise ValueError(f"has the size {shown(text)}, expected an integer") from error


def check_sizes(model: Any, image: tuple[int, ...]) -> None:
    """Raise where an output of a model that was read would be too large, or cannot be told.

    Args:
        model: an openvino.Model of one input; not modified.
        image: (b, 3, h, w), which replaces sizes that are not fixed.

    Raises:
        ValueError: the message says which output.
    """
    if model.is_dynamic() and len(model.inputs) == 1:
        model = model.clone()
        declared = model.inputs[0].partial_shape
        if not declared.rank.is_dynamic and len(declared) == len(image):
            sizes = zip(declared, image, strict=True)
            model.reshape([new if size.is_dynamic else size.get_length() for size, new in sizes])
    pixels = math.prod(image) // image[1]
    for operator in model.get_ops():
        if operator.get_type_name() != "Constant":  # its values are in the file
            for output in operator.outputs():
                HeldValues(pixels).add(_count(output), shown(operator.get_friendly_name()))


def _count(output: Any) -> int:
    """Return the largest number of values that an output may have."""
    shape = output.partial_shape
    sizes = [-1] if shape.rank.is_dynamic else [size.get_max_length() for size in shape]
    if min(sizes, default=0) < 0 or max(sizes, default=0) >= 1 << 62:
        name = output.get_node().get_friendly_name()
        raise ValueError(f"the size of {shown(name)} cannot be told before it is run")
    return math.prod(sizes)
