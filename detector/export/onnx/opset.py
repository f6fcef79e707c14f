"""Conversion of an ONNX graph to an earlier operator set.

torch writes operator set 18 or later. Most operators have not changed since set 13 but for the
types that they take and for attributes with a default. Those attributes are removed, the few
operators of another form are rewritten, and operators that ONNX defines by others are replaced by
their definition. What still needs a later set is named in the error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.export.rows import RowError, row_of_onnx
from detector.utils.errors import DetectorError, one_line

WRITTEN_OPSET = 18
"""Operator set that torch's exporter writes; it converts to later ones itself."""

DEFINED = ("CastLike", "GroupNormalization", "HardSwish", "LayerNormalization", "Mish")
"""Operators newer than set 13 that ONNX defines by older ones."""

Constants = Mapping[str, NDArray[Any]]
"""Values of a graph that are known without running it, by name."""

Rewrite = Callable[[Any, Constants], list[Any]]
"""Function from a node and the constants to nodes that do the same in an earlier operator set."""


def lower_opset(proto: Any, opset: int) -> Any:
    """Return an onnx.ModelProto of set ``WRITTEN_OPSET`` in an earlier operator set.

    Raises:
        RowError: an operator needs a later set; the message names the lowest that works.
    """
    import onnx
    from onnx import checker, helper

    lowered = onnx.ModelProto()
    lowered.CopyFrom(_with_definitions(proto, opset))
    nodes = _lowered(lowered.graph, opset)
    newest = max(nodes, key=lambda node: (_lowest_opset(node, opset), node.op_type))
    needed = _lowest_opset(newest, opset)
    if needed > opset:
        raise RowError(
            f"cannot be written with --opset {opset}: operator {newest.op_type} needs "
            f"--opset {needed}",
            row_of_onnx(newest),
        )
    del lowered.graph.node[:]
    lowered.graph.node.extend(nodes)
    for item in lowered.opset_import:
        item.version = opset if item.domain == "" else item.version
    # Runtimes as old as the operator set refuse files of a later format version.
    lowered.ir_version = helper.find_min_ir_version_for(list(lowered.opset_import))
    del lowered.graph.value_info[:]  # types and shapes of values that may be gone
    try:
        checker.check_model(lowered, full_check=True)
    except Exception as error:  # onnx's exceptions have no common base class
        raise DetectorError(f"cannot be written with --opset {opset}: {one_line(error)}") from error
    return lowered


def _with_definitions(proto: Any, opset: int) -> Any:
    """Return the model with operators that the set lacks replaced by ONNX's definition of them."""
    from onnx import inliner

    newer = {node.op_type for node in proto.graph.node if _lowest_opset(node, opset) > opset}
    defined = [("", name) for name in DEFINED if name in newer]
    if not defined:
        return proto
    return inliner.inline_selected_functions(proto, defined, inline_schema_functions=True)


def _lowered(graph: Any, opset: int) -> list[Any]:
    """Return the nodes of a graph, each in the set's form where there is a rule for it."""
    constants = _constants(graph)
    nodes = []
    for node in graph.node:
        _drop_defaults(node, opset)
        rewrite = REWRITES.get(node.op_type)
        is_newer = _lowest_opset(node, opset) > opset
        nodes += rewrite(node, constants) if rewrite is not None and is_newer else [node]
    return nodes


def _constants(graph: Any) -> dict[str, NDArray[Any]]:
    from onnx import numpy_helper

    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                found[node.output[0]] = numpy_helper.to_array(attribute.t)
    return found


def _lowest_opset(node: Any, lowest: int) -> int:
    """Return the first operator set, from ``lowest`` on, whose operator has a node's form."""
    from onnx import defs

    names = {attribute.name for attribute in node.attribute}
    for opset in range(lowest, WRITTEN_OPSET if node.domain == "" else lowest):
        try:
            schema = defs.get_schema(node.op_type, opset, "")
        except defs.SchemaError:  # the set lacks the operator
            continue
        if len(node.input) <= schema.max_input and names <= schema.attributes.keys():
            return opset
    return WRITTEN_OPSET if node.domain == "" else lowest


def _drop_defaults(node: Any, opset: int) -> None:
    """Remove attributes that the operator lacks in a set, where their value is the default."""
    from onnx import defs, helper

    if node.domain or not defs.has(node.op_type, opset, ""):
        return
    earlier = defs.get_schema(node.op_type, opset, "").attributes
    later = defs.get_schema(node.op_type, WRITTEN_OPSET, "").attributes
    kept = [
        attribute
        for attribute in node.attribute
        if attribute.name in earlier
        or helper.get_attribute_value(attribute)
        != helper.get_attribute_value(later[attribute.name].default_value)
    ]
    del node.attribute[:]
    node.attribute.extend(kept)


# ------------------------------------------------------------------------------ rules by operator


def _attribute(node: Any, name: str, default: Any = None) -> Any:
    from onnx import helper

    values = [helper.get_attribute_value(one) for one in node.attribute if one.name == name]
    return values[0] if values else default


def _without(node: Any, *names: str) -> list[Any]:
    kept = [attribute for attribute in node.attribute if attribute.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
    return [node]


def _reduce(node: Any, constants: Constants) -> list[Any]:
    """Turn the axes of a reduction from an input into an attribute."""
    from onnx import helper

    if len(node.input) < 2:
        return _without(node, "noop_with_empty_axes")
    axes = constants.get(node.input[1])
    if axes is None or not axes.size:
        return [node]
    del node.input[1:]
    node.attribute.append(helper.make_attribute("axes", axes.tolist()))
    return _without(node, "noop_with_empty_axes")


def _split(node: Any, constants: Constants) -> list[Any]:
    """Leave the number of parts to the number of outputs, as it is without the attribute."""
    return _without(node, "num_outputs")


def _reshape(node: Any, constants: Constants) -> list[Any]:
    """Drop ``allowzero`` unless the shape has a zero, which would then mean another thing."""
    shape = constants.get(node.input[1])
    return [node] if shape is not None and 0 in shape else _without(node, "allowzero")


def _shape(node: Any, constants: Constants) -> list[Any]:
    """Take a part of a shape by a slice."""
    from onnx import helper, numpy_helper

    (output,) = node.output
    whole, start, end = (f"{output}/{name}" for name in ("whole", "start", "end"))
    limits = (_attribute(node, "start", 0), _attribute(node, "end", np.iinfo(np.int64).max))
    return [
        helper.make_node("Shape", list(node.input), [whole]),
        *(
            helper.make_node(
                "Constant", [], [name], value=numpy_helper.from_array(np.array([limit], np.int64))
            )
            for name, limit in zip((start, end), limits, strict=True)
        ),
        helper.make_node("Slice", [whole, start, end], [output]),
    ]


REDUCTIONS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
)
"""Operators whose axes are an attribute before set 18."""

REWRITES: dict[str, Rewrite] = {
    **dict.fromkeys(REDUCTIONS, _reduce),
    "Split": _split,
    "Reshape": _reshape,
    "Shape": _shape,
}
"""Rules of operators whose form changed between the sets 13 and 18."""
