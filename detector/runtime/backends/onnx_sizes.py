"""The sizes of all values of an ONNX graph, worked out before a runtime sees the file.

A runtime evaluates constants when it reads a file: an operator of a few bytes can ask for all
memory there is. Here each operator's output sizes follow from its input sizes; small integers that
sizes may depend on are computed. An operator is accepted if the tables of ``onnx_operators`` have
a rule for it; one whose sizes cannot be told beforehand is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from detector.runtime.backends.held import HeldValues, check_count
from detector.runtime.backends.onnx_graph import Graph, Node
from detector.runtime.backends.onnx_operators import OPERATORS
from detector.runtime.backends.onnx_values import Call, SizeError, Value
from detector.utils.errors import shown


def check_operators(graph: Graph) -> None:
    """Raise ValueError for operators without a rule: loops, branches, those of other domains."""
    if graph.has_functions:
        raise ValueError("defines operators of its own (functions), which are not run")
    check_count(len(graph.nodes))
    for node in graph.nodes:
        if node.operator not in OPERATORS:
            found = f"has the operator {shown(node.operator)}"
            raise ValueError(f"{found}, which is not among those of networks")


def check_sizes(graph: Graph, input_sizes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise where a graph would hold too many values at once, or where that cannot be told.

    Args:
        graph: the graph, whose operators were checked.
        input_sizes: sizes of the inputs by name.

    Raises:
        ValueError: more than ``HeldValues`` allow; or an operator's sizes follow from the content
            of the image, or contradict each other.
    """
    pixels = sum(math.prod(size) // max(1, size[1]) for size in input_sizes.values() if size[1:])
    held = HeldValues(pixels)
    values = {"": None} | {
        name: Value(tensor.shape, tensor.known, is_constant=True)
        for name, tensor in graph.tensors.items()
    }
    values |= {name: Value(size, is_input=True) for name, size in input_sizes.items()}
    last_use = {name: at for at, node in enumerate(graph.nodes) for name in node.inputs}
    for at, node in enumerate(graph.nodes):
        for name, value in zip(node.outputs, _outputs(node, values), strict=False):
            values[name] = value
            held.add(value.count, node.label)
        held.free(sum(_freed(name, values) for name in set(node.inputs) if last_use[name] == at))


def _outputs(node: Node, values: Mapping[str, Value | None]) -> list[Value]:
    """Return the sizes of a node's outputs."""
    missing = next((name for name in node.inputs if name not in values), None)
    if missing is not None:
        raise ValueError(f"{node.label} reads {shown(missing)}, which nothing before it gives")
    call = Call(node, [values[name] for name in node.inputs])
    try:
        return OPERATORS[node.operator](call)
    except SizeError as error:
        raise ValueError(
            f"the size of {node.label} cannot be told before it is run: {error}"
        ) from error
    except (ValueError, IndexError, TypeError, KeyError, ArithmeticError, AttributeError) as error:
        raise ValueError(
            f"{node.label} has inputs or attributes that contradict each other"
        ) from error


def _freed(name: str, values: Mapping[str, Value | None]) -> int:
    """Return the number of values that are freed after their last use; constants are kept."""
    value = values[name]
    return 0 if value is None or value.is_constant or value.is_input else value.count


def input_sizes(graph: Graph, image: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return sizes of a graph's inputs by name.

    Args:
        graph: the graph.
        image: (b, 3, h, w), which replaces sizes that are not fixed.
    """
    fills = (*image, *[1] * 16)
    return {
        name: tuple(
            fill if size is None else size
            for size, fill in zip(sizes or image, fills, strict=False)
        )
        for name, sizes in graph.inputs.items()
    }
