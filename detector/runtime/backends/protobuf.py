"""Fields of protobuf messages, read without a library and without trust in their numbers.

A number may be encoded in more bytes than it needs, as protobuf allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Protobuf's wire types; two more, for groups, are not used by ONNX."""

_MAX_VARINT_BYTES = 10


class Field(NamedTuple):
    """One field: its number, its wire type, its value if that is a varint, its content's place."""

    number: int
    wire_type: int
    value: int
    start: int
    end: int


def read_fields(content: bytes, at: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message between two positions.

    Raises:
        ValueError: the bytes are not a protobuf message.
    """
    while at < end:
        tag, at = read_varint(content, at, end)
        number, wire_type, value = (tag & 0xFFFFFFFF) >> 3, tag & 7, 0
        start = at
        if wire_type == VARINT:
            value, at = read_varint(content, at, end)
        elif wire_type == LENGTH:
            length, start = read_varint(content, at, end)
            at = start + length
        elif wire_type in (FIXED32, FIXED64):
            at += 4 if wire_type == FIXED32 else 8
        else:
            raise ValueError("is not an ONNX file")
        if at > end:
            raise ValueError("is not an ONNX file, or a part of one")
        yield Field(number, wire_type, value, start, at)


def read_varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    """Return a number of 7 bits a byte, the lowest first, and the position behind it."""
    value = 0
    for index, byte in enumerate(content[at : min(at + _MAX_VARINT_BYTES, end)]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("is not an ONNX file, or a part of one")
