"""Tensors in other files are found wherever ONNX allows tensors, however numbers are encoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.runtime.backends import onnx_graph
from detector.runtime.backends.onnx_graph import Graph, read_graph
from detector.runtime.backends.onnx_sizes import check_operators

onnx: Any = pytest.importorskip("onnx")


def tensor(is_external: bool = False) -> Any:
    made = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "location")
    if is_external:
        made.ClearField("raw_data")
        made.external_data.add(key="location", value="/etc/passwd")
        made.data_location = onnx.TensorProto.EXTERNAL
    return made


def read(model: Any) -> Graph:
    """Read a model and check its operators."""
    graph = read_graph(model.SerializeToString())
    check_operators(graph)
    return graph


def refused(model: Any) -> str:
    with pytest.raises(ValueError) as caught:
        read(model)
    return str(caught.value)


def paths(message: Any, seen: frozenset[str] = frozenset()) -> Iterator[tuple[Any, ...]]:
    """Yield the fields from a message to each place of a tensor, no field twice on the way."""
    for one in message.fields:
        inner = one.message_type
        if inner is not None and inner.name == "TensorProto":
            yield (one,)
        elif inner is not None and one.full_name not in seen:
            yield from ((one, *rest) for rest in paths(inner, seen | {one.full_name}))


def model_with(path: tuple[Any, ...], made: Any) -> Any:
    model = onnx.ModelProto(ir_version=9, producer_name="location")
    place = model
    for one in path:
        inner = getattr(place, one.name)
        place = inner.add() if hasattr(inner, "add") else inner
    place.CopyFrom(made)
    for node in model.graph.node:
        node.op_type = "Constant"
    return model


EXTERNAL = "has weights in other files, which no seal covers"
SPARSE = "has a sparse tensor, which a runtime fills with zeros; store it dense"
TRAINING = "has a graph for training, which is not run"
FUNCTIONS = "defines operators of its own (functions), which are not run"
SUBGRAPH = "has a graph within an operator (attribute '')"


def test_all_places_of_tensors() -> None:
    """Each is read and must be in the file, or files with such a place are not run."""
    found = {}
    for path in paths(onnx.ModelProto.DESCRIPTOR):
        name = ".".join(one.name for one in path)
        assert refused(model_with(path, tensor(is_external=True))), name
        try:
            read(model_with(path, tensor()))
        except ValueError as error:
            found[name] = str(error)
        else:
            found[name] = "read"
            assert refused(model_with(path, tensor(is_external=True))) == EXTERNAL
    read_places = {name for name, result in found.items() if result == "read"}
    attribute = "graph.node.attribute"
    assert read_places == {"graph.initializer", f"{attribute}.t", f"{attribute}.tensors"}
    assert set(found.values()) == {"read", SPARSE, TRAINING, FUNCTIONS, SUBGRAPH}
    assert found["graph.sparse_initializer.indices"] == SPARSE
    assert found["functions.attribute_proto.t"] == FUNCTIONS
    assert found["training_info.algorithm.initializer"] == TRAINING
    assert found[f"{attribute}.g.initializer"] == SUBGRAPH


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
    with pytest.raises(ValueError, match=f"^{EXTERNAL}$"):
        read_graph(content)
    read_graph(field(7, field(5, field(12, entry, padding), padding), padding))


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
        read_graph(content)
    assert read_graph(b"").nodes == ()


def test_a_limit_of_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts those of all messages: here one of the model, one of the graph, one of the rest."""
    monkeypatch.setattr(onnx_graph, "MAX_FIELDS", 3)
    read_graph(b"\x08\x01" * 3)
    entry = field(1, b"a", 0)
    for content, more in (
        (field(7, field(11, entry, 0), 0), field(7, field(11, entry * 2, 0), 0)),  # an input
        (field(7, field(1, entry, 0), 0), field(7, field(1, entry * 2, 0), 0)),  # an operator
        (field(14, entry, 0) + b"\x08\x01", field(14, entry * 3, 0)),  # a property
        (b"", b"\x08\x01" * 4),
    ):
        read_graph(content)
        with pytest.raises(ValueError, match=r"^has more than 3 fields$"):
            read_graph(more)


def test_fields_that_nobody_reads_count() -> None:
    """6 MB of an input's fields that nobody reads."""
    junk = b"\x20\x01" * 3_000_000

    def long_field(number: int, content: bytes) -> bytes:
        length = len(content)
        digits = [length >> 7 * at & 0x7F | 0x80 for at in range(3)]
        return bytes([number << 3 | 2, *digits, length >> 21]) + content

    with pytest.raises(ValueError, match=r"^has more than 1000000 fields$"):
        read_graph(long_field(7, long_field(11, junk)))


def test_a_file_of_ours(finder_onnx: Path) -> None:
    graph = read_graph(finder_onnx.read_bytes())
    assert (list(graph.inputs), list(graph.outputs)) == (["images"], ["level_0"])
