"""Search of an ONNX file for tensors in other files, by its protobuf fields.

Only messages that may hold a tensor are entered; the values of all other fields are skipped. A
number may be encoded in more bytes than it needs, as protobuf allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MESSAGES: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
"""Messages of ``onnx.proto`` → their fields of messages that may hold a tensor."""

EXTERNAL_DATA, DATA_LOCATION = 13, 14
"""Fields of a tensor: where its values are, and whether they are in the file itself (0)."""

MAX_FIELDS = 5_000_000
"""Maximum number of fields that are read; a file of a detector has some ten thousand."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
"""Protobuf's wire types; two more, for groups, are not used by ONNX."""

_MAX_VARINT_BYTES = 10


class _Field(NamedTuple):
    """One field: its number, its wire type, its value if that is a varint, its content's place."""

    number: int
    wire_type: int
    value: int
    start: int
    end: int


def has_external_data(content: bytes) -> bool:
    """Return whether a tensor of an ONNX file names another file for its values.

    Raises:
        ValueError: the content is not a protobuf message, or has more than ``MAX_FIELDS`` fields.
    """
    waiting, count = [("ModelProto", 0, len(content))], 0
    while waiting:
        message, start, end = waiting.pop()
        for field in _fields(content, start, end):
            count += 1
            if count > MAX_FIELDS:
                raise ValueError(f"has more than {MAX_FIELDS} fields")
            if message == "TensorProto" and _is_external(field):
                return True
            inner = MESSAGES[message].get(field.number)
            if inner is not None and field.wire_type == _LENGTH:
                waiting.append((inner, field.start, field.end))
    return False


def _is_external(field: _Field) -> bool:
    if field.number == DATA_LOCATION:
        return field.wire_type != _VARINT or field.value != 0
    return field.number == EXTERNAL_DATA


def _fields(content: bytes, at: int, end: int) -> Iterator[_Field]:
    while at < end:
        tag, at = _varint(content, at, end)
        number, wire_type, value = (tag & 0xFFFFFFFF) >> 3, tag & 7, 0
        start = at
        if wire_type == _VARINT:
            value, at = _varint(content, at, end)
        elif wire_type == _LENGTH:
            length, start = _varint(content, at, end)
            at = start + length
        elif wire_type in (_FIXED32, _FIXED64):
            at += 4 if wire_type == _FIXED32 else 8
        else:
            raise ValueError("is not an ONNX file")
        if at > end:
            raise ValueError("is not an ONNX file, or a part of one")
        yield _Field(number, wire_type, value, start, at)


def _varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number of 7 bits a byte, the lowest first, and the position behind it."""
    value = 0
    for index, byte in enumerate(content[at : min(at + _MAX_VARINT_BYTES, end)]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("is not an ONNX file, or a part of one")
