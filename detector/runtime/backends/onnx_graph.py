"""The graph of an ONNX file: operators, attributes and tensors, without the library ``onnx``.

A tensor may stand in many places. Those of the graph and of its operators' attributes are read, and
must hold their values themselves; files with other places are refused, here or for their operators.

Numbers of fields are those of ``onnx.proto``. Where a field that may occur once occurs again, the
last number counts and messages are merged, as protobuf does.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.runtime.backends.protobuf import (
    FIXED32,
    LENGTH,
    VARINT,
    Field,
    read_fields,
    read_varint,
)

MAX_FIELDS = 1_000_000
"""Maximum number of fields that are read; a file of a detector has some ten thousand."""

MAX_KNOWN = 1024
"""Maximum number of values of a tensor that are read, as sizes may depend on them."""

MAX_RANK = 16
"""Maximum number of dimensions of a tensor."""

MAX_LISTED = 100_000
"""Maximum number of bytes of a list of numbers in an attribute."""

TYPES: Mapping[int, str] = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2",
    11: "<f8", 12: "<u4", 13: "<u8",
}  # fmt: skip
"""Numbers of element types → numpy's types, for those whose values sizes may depend on."""

EXTERNAL_DATA, DATA_LOCATION = 13, 14
"""Fields of a tensor: where its values are, and whether they are in the file itself (0)."""

SPARSE = "has a sparse tensor, which a runtime fills with zeros; store it dense"
"""Message about a tensor that takes more memory than its part of the file."""

Known = NDArray[Any]
"""The values of a small tensor."""


class Tensor(NamedTuple):
    """The shape of a stored tensor, and its values where it is small."""

    shape: tuple[int, ...]
    known: Known | None


class Node(NamedTuple):
    """An operator with the names of its inputs and outputs; "" is one that is left out."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def label(self) -> str:
        """The operator and its first output, as error messages name a node."""
        return f"{self.operator} {next(filter(None, self.outputs), '')!r}"


@dataclass(frozen=True)
class Graph:
    """The graph of a file.

    Attributes:
        nodes: in the order of the file.
        tensors: stored tensors by name.
        inputs: sizes of the inputs by name, None where a size is not fixed; without those that
            are stored tensors.
        outputs: sizes of the outputs by name, as the file declares them.
        properties: texts stored in the file, by key.
        has_functions: whether the file defines operators of its own.
    """

    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: Mapping[str, tuple[int | None, ...]]
    properties: Mapping[str, str]
    has_functions: bool


class _Reader:
    """Reads the fields of a file's messages and counts them all."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._count = 0

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """Yield the fields of the message between two positions."""
        for field in read_fields(self.content, start, end):
            self._count += 1
            if self._count > MAX_FIELDS:
                raise ValueError(f"has more than {MAX_FIELDS} fields")
            yield field


class _Message:
    """A message: its fields by number."""

    def __init__(self, reader: _Reader, places: Iterable[tuple[int, int]]) -> None:
        self.reader, self.content = reader, reader.content
        self.fields: dict[int, list[Field]] = defaultdict(list)
        for start, end in places:
            for field in reader.fields(start, end):
                self.fields[field.number].append(field)

    def each(self, number: int) -> list[_Message]:
        """Return the messages of a repeated field."""
        return [_Message(self.reader, [place]) for place in self._places(number)]

    def merged(self, number: int) -> _Message:
        """Return the message of a field that is not repeated."""
        return _Message(self.reader, self._places(number))

    def texts(self, number: int) -> list[str]:
        """Return the values of a repeated field of text.

        Raises:
            ValueError: one is not UTF-8.
        """
        try:
            return [self.content[a:b].decode() for a, b in self._places(number)]
        except UnicodeDecodeError as error:
            raise ValueError("has text that is not UTF-8") from error

    def text(self, number: int) -> str:
        """Return the value of a field of text, "" where there is none."""
        return next(reversed(self.texts(number)), "")

    def joined(self, number: int) -> bytes:
        """Return the bytes of a field, which is short."""
        start, end = next(reversed(self._places(number)), (0, 0))
        return self.content[start:end]

    def integers(self, number: int) -> list[int]:
        """Return the numbers of a field, packed or not."""
        found: list[int] = []
        for field in self.fields[number]:
            if field.wire_type == VARINT:
                found.append(_signed(field.value))
            elif field.wire_type == LENGTH:
                at = field.start
                self._check_length(field)
                while at < field.end:
                    value, at = read_varint(self.content, at, field.end)
                    found.append(_signed(value))
        return found

    def integer(self, number: int) -> int:
        """Return the number of a field, 0 where there is none."""
        found = [field for field in self.fields[number] if field.wire_type == VARINT]
        return _signed(found[-1].value) if found else 0

    def floats(self, number: int) -> list[float]:
        """Return the float32 numbers of a field, packed or not."""
        found: list[float] = []
        for field in self.fields[number]:
            if field.wire_type in (LENGTH, FIXED32):
                self._check_length(field)
                whole = (field.end - field.start) // 4 * 4
                numbers = self.content[field.start : field.start + whole]
                found.extend(value for (value,) in struct.iter_unpack("<f", numbers))
        return found

    def _check_length(self, field: Field) -> None:
        if field.end - field.start > MAX_LISTED:
            raise ValueError(f"has a list of numbers of more than {MAX_LISTED} bytes")

    def has(self, *numbers: int) -> bool:
        """Return whether one of the fields occurs."""
        return any(self.fields[number] for number in numbers)

    def _places(self, number: int) -> list[tuple[int, int]]:
        return [(f.start, f.end) for f in self.fields[number] if f.wire_type == LENGTH]


def read_graph(content: bytes) -> Graph:
    """Return the graph of an ONNX file.

    Raises:
        ValueError: the content is not a protobuf message, lists more than a network does, or has
            tensors that are sparse or in other files.
    """
    model = _Message(_Reader(content), [(0, len(content))])
    if model.has(20):
        raise ValueError("has a graph for training, which is not run")
    graph = model.merged(7)
    tensors = {tensor.text(8): _tensor(tensor) for tensor in graph.each(5)}
    if graph.has(15):
        raise ValueError(SPARSE)
    return Graph(
        nodes=tuple(_node(node) for node in graph.each(1)),
        tensors=tensors,
        inputs={name: sizes for name, sizes in _ports(graph.each(11)) if name not in tensors},
        outputs=dict(_ports(graph.each(12))),
        properties={entry.text(1): entry.text(2) for entry in model.each(14)},
        has_functions=model.has(25),
    )


def _node(node: _Message) -> Node:
    domain, name = node.text(7), node.text(4)
    return Node(
        operator=name if domain in ("", "ai.onnx") else f"{domain}.{name}",
        inputs=tuple(node.texts(1)),
        outputs=tuple(node.texts(2)),
        attributes=dict(_attribute(attribute) for attribute in node.each(5)),
    )


def _attribute(attribute: _Message) -> tuple[str, Any]:
    """Return the name and the value of an attribute; what no size depends on is None."""
    name = attribute.text(1)
    readers: dict[int, Callable[[], Any]] = {
        1: lambda: next(reversed(attribute.floats(2)), 0.0),
        2: lambda: attribute.integer(3),
        3: lambda: attribute.text(4),
        4: lambda: _tensor(attribute.merged(5)),
        6: lambda: attribute.floats(7),
        7: lambda: attribute.integers(8),
    }
    for tensor in (*attribute.each(5), *attribute.each(10)):
        _check_location(tensor)
    if attribute.has(22, 23):
        raise ValueError(SPARSE)
    if attribute.has(6, 11):
        raise ValueError(f"has a graph within an operator (attribute {name[:60]!r})")
    reader = readers.get(attribute.integer(20))
    return name, None if reader is None else reader()


def _check_location(tensor: _Message) -> None:
    """Raise ValueError for a tensor that names another file for its values."""
    is_elsewhere = any(
        field.wire_type != VARINT or field.value != 0 for field in tensor.fields[DATA_LOCATION]
    )
    if is_elsewhere or tensor.has(EXTERNAL_DATA):
        raise ValueError("has weights in other files, which no seal covers")


def _tensor(tensor: _Message) -> Tensor:
    _check_location(tensor)
    shape = _shape(tensor.integers(1))
    number = tensor.integer(2)
    if number not in TYPES or np.prod(shape, dtype=object) > MAX_KNOWN:
        return Tensor(shape, None)
    dtype = np.dtype(TYPES[number])
    values = _raw(tensor, dtype) if tensor.has(9) else _listed(tensor, dtype)
    if values.size != np.prod(shape, dtype=object):
        raise ValueError(f"has a tensor whose values do not fill its shape {shape}")
    return Tensor(shape, values.reshape(shape))


def _raw(tensor: _Message, dtype: np.dtype[Any]) -> Known:
    data = tensor.joined(9)
    if len(data) % dtype.itemsize:
        raise ValueError("has a tensor of a part of a number")
    return np.frombuffer(data, dtype)


def _listed(tensor: _Message, dtype: np.dtype[Any]) -> Known:
    """Return the values of a tensor whose numbers are listed in a field of its type."""
    if dtype == np.float32:
        return np.array(tensor.floats(4), dtype)
    if dtype == np.float64:
        return np.frombuffer(tensor.joined(10), dtype)
    if dtype == np.float16:
        return np.array(tensor.integers(5), "<i4").astype("<u2").view(dtype)
    number = {"<i8": 7, "<u8": 11, "<u4": 11}.get(dtype.str, 5)
    return np.array(tensor.integers(number), np.int64).astype(dtype)


def _ports(values: list[_Message]) -> Iterator[tuple[str, tuple[int | None, ...]]]:
    """Yield the names of inputs or outputs, with the sizes that they declare."""
    return ((value.text(1), _sizes(value)) for value in values)


def _sizes(value: _Message) -> tuple[int | None, ...]:
    """Return the sizes that an input or output declares."""
    dimensions = value.merged(2).merged(1).merged(2).each(1)
    return tuple(
        _size(dimension.integer(1)) if dimension.has(1) else None for dimension in dimensions
    )


def _size(value: int) -> int | None:
    return value if value > 0 else None


def _shape(sizes: list[int]) -> tuple[int, ...]:
    if len(sizes) > MAX_RANK:
        raise ValueError(f"has a tensor of more than {MAX_RANK} dimensions")
    if any(size < 0 for size in sizes):
        raise ValueError("has a tensor of a negative size")
    return tuple(sizes)


def _signed(value: int) -> int:
    """Return a 64-bit number, as protobuf encodes negative ones."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
