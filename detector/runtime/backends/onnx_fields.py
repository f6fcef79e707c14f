"""Search of an ONNX file for tensors in other files, by its protobuf fields.

Only messages that may hold a tensor are entered; the values of all other fields are skipped.
"""

from __future__ import annotations

from detector.runtime.backends.protobuf import LENGTH, VARINT, Field, read_fields

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

MAX_FIELDS = 1_000_000
"""Maximum number of fields that are read; a file of a detector has some ten thousand."""


def has_external_data(content: bytes) -> bool:
    """Return whether a tensor of an ONNX file names another file for its values.

    Raises:
        ValueError: the content is not a protobuf message, or has more than ``MAX_FIELDS`` fields.
    """
    waiting, count = [("ModelProto", 0, len(content))], 0
    while waiting:
        message, start, end = waiting.pop()
        for field in read_fields(content, start, end):
            count += 1
            if count > MAX_FIELDS:
                raise ValueError(f"has more than {MAX_FIELDS} fields")
            if message == "TensorProto" and _is_external(field):
                return True
            inner = MESSAGES[message].get(field.number)
            if inner is not None and field.wire_type == LENGTH:
                waiting.append((inner, field.start, field.end))
    return False


def _is_external(field: Field) -> bool:
    if field.number == DATA_LOCATION:
        return field.wire_type != VARINT or field.value != 0
    return field.number == EXTERNAL_DATA
