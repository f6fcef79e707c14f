"""Tensors in other files are found wherever ONNX allows tensors, however numbers are encoded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.runtime.backends import onnx_fields
from detector.runtime.backends.onnx_fields import MESSAGES, has_external_data

onnx: Any = pytest.importorskip("onnx")


def test_the_messages_are_those_of_onnx() -> None:
    """Every message from which a tensor can be reached, and every field on the way."""
    messages = {
        message.name: message
        for message in onnx.ModelProto.DESCRIPTOR.file.message_types_by_name.values()
    }
    reach = {"TensorProto"}
    while more := {
        name
        for name, message in messages.items()
        if name not in reach
        and any(f.message_type and f.message_type.name in reach for f in message.fields)
    }:
        reach |= more
    expected = {
        name: {
            field.number: field.message_type.name
            for field in messages[name].fields
            if field.message_type and field.message_type.name in reach
        }
        for name in reach
    }
    assert expected == MESSAGES


def tensor(is_external: bool = False) -> Any:
    made = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "location")
    if is_external:
        made.ClearField("raw_data")
        made.external_data.add(key="location", value="/etc/passwd")
        made.data_location = onnx.TensorProto.EXTERNAL
    return made


def initializer(model: Any, made: Any) -> None:
    model.graph.initializer.append(made)


def sparse(model: Any, made: Any) -> None:
    model.graph.sparse_initializer.add().indices.CopyFrom(made)


def attribute(model: Any, made: Any) -> None:
    model.graph.node.add().attribute.add().t.CopyFrom(made)


def subgraph(model: Any, made: Any) -> None:
    inner = model.graph.node.add().attribute.add().graphs.add()
    inner.node.add().attribute.add().tensors.append(made)


def function(model: Any, made: Any) -> None:
    model.functions.add().node.add().attribute.add().t.CopyFrom(made)


def training(model: Any, made: Any) -> None:
    model.training_info.add().algorithm.initializer.append(made)


@pytest.mark.parametrize("put", [initializer, sparse, attribute, subgraph, function, training])
def test_places_of_tensors(put: Callable[[Any, Any], None]) -> None:
    for is_external in (False, True):
        model = onnx.ModelProto(ir_version=9, producer_name="location")
        put(model, tensor(is_external))
        assert has_external_data(model.SerializeToString()) is is_external


def field(number: int, content: bytes, padding: int) -> bytes:
    """A field of bytes whose tag and length take ``padding`` bytes more than they need."""
    return padded(number << 3 | 2, padding) + padded(len(content), padding) + content


def padded(number: int, padding: int) -> bytes:
    assert number < 0x80
    return bytes([number | 0x80] + [0x80] * (padding - 1) + [0]) if padding else bytes([number])


@pytest.mark.parametrize("padding", range(5))
def test_numbers_that_are_longer_than_needed(padding: int) -> None:
    entry = field(1, b"location", padding) + field(2, b"w", padding)
    external = field(13, entry, padding)
    content = field(7, field(5, external, padding), padding)
    assert onnx.ModelProto.FromString(content).graph.initializer[0].external_data[0].value == "w"
    assert has_external_data(content)
    assert not has_external_data(field(7, field(5, field(12, entry, padding), padding), padding))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x3a\x05\x00", "is not an ONNX file, or a part of one"),  # 5 bytes follow, not 1
        (b"\x3a", "is not an ONNX file, or a part of one"),
        (b"\x80" * 11, "is not an ONNX file, or a part of one"),
        (b"\x3b", "is not an ONNX file"),  # a group
    ],
)
def test_other_bytes(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        has_external_data(content)
    assert not has_external_data(b"")


def test_a_limit_of_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_fields, "MAX_FIELDS", 3)
    assert not has_external_data(b"\x08\x01" * 3)
    with pytest.raises(ValueError, match=r"^has more than 3 fields$"):
        has_external_data(b"\x08\x01" * 4)


def test_a_file_of_ours(finder_onnx: Path) -> None:
    assert not has_external_data(finder_onnx.read_bytes())
