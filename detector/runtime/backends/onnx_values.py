"""What is known of the values of an ONNX graph before it is run, and the inputs of one node."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.runtime.backends.onnx_graph import MAX_KNOWN, MAX_RANK, Known, Node

MAX_SIZE = 1 << 40
"""Maximum number of values of one output; larger numbers are not computed with."""

Shape = tuple[int, ...]


class SizeError(Exception):
    """The size follows from something that is not known; the message says from what."""


@dataclass(frozen=True)
class Value:
    """What is known of a value of a graph.

    Attributes:
        shape: its sizes, or their upper bounds.
        known: its values, if they are few and follow from sizes and constants alone.
        is_constant: whether it follows from constants alone, so that a runtime keeps it.
        is_exact: whether ``shape`` are the sizes and not their bounds.
        is_input: whether it is an input of the graph.
    """

    shape: Shape
    known: Known | None = None
    is_constant: bool = False
    is_exact: bool = True
    is_input: bool = False

    @property
    def count(self) -> int:
        """The number of values."""
        return math.prod(self.shape)


class Call:
    """A node with what is known of its inputs."""

    def __init__(self, node: Node, inputs: list[Value | None]) -> None:
        self.inputs = inputs
        self.attributes = node.attributes
        self.outputs = node.outputs

    def value(self, index: int) -> Value:
        """Return an input that must exist."""
        value = self.inputs[index]
        if value is None:
            raise IndexError
        return value

    def shape(self, index: int = 0) -> Shape:
        """Return the shape of an input that must exist."""
        return self.value(index).shape

    def optional(self, index: int) -> Value | None:
        """Return an input, or None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def numbers(self, name: str, index: int) -> list[int] | None:
        """Return integers that are an attribute in some operator sets and an input in others."""
        if name in self.attributes:
            found = self.attributes[name]
            return list(found) if isinstance(found, list) else [found]
        value = self.optional(index)
        if value is None:
            return None
        if value.known is None:
            raise SizeError(f"its input {name!r} follows from the content of an image")
        return [int(number) for number in value.known.ravel()]

    def needed(self, name: str, index: int) -> list[int]:
        """Return integers that must be given."""
        found = self.numbers(name, index)
        if found is None:
            raise IndexError
        return found

    def give(
        self,
        *shapes: Shape,
        known: Callable[[], Any] | None = None,
        is_exact: bool = True,
    ) -> list[Value]:
        """Return outputs.

        Args:
            *shapes: their shapes.
            known: computes the values of one output from known inputs; called only if they are few.
            is_exact: False if the shapes are bounds.
        """
        for shape in shapes:
            if math.prod(shape) > MAX_SIZE or len(shape) > MAX_RANK:
                raise SizeError(f"it would have the shape {'×'.join(map(str, shape))[:60]}")
            if min(shape, default=0) < 0:
                raise ValueError
        inputs = [value for value in self.inputs if value is not None]
        is_constant = all(value.is_constant for value in inputs)
        is_exact = is_exact and all(value.is_exact for value in inputs)
        is_small = is_exact and all(math.prod(shape) <= MAX_KNOWN for shape in shapes)
        values = known() if is_small and known is not None else None
        return [Value(shape, values, is_constant, is_exact) for shape in shapes]

    def calculate(self, function: Callable[..., Any]) -> Known | None:
        """Return a function of the values of all inputs, None if one of them is not known."""
        inputs = [value for value in self.inputs if value is not None]
        knowns = [value.known for value in inputs if value.known is not None]
        if len(knowns) < len(inputs):
            return None
        with np.errstate(all="ignore"):
            return np.asarray(function(*knowns))

    def changed(self, function: Callable[[Known], Any]) -> Callable[[], Any]:
        """Return what computes a new form of the first input's values, for :meth:`give`."""
        known = self.value(0).known
        return lambda: None if known is None else function(known)


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape of operands that are broadcast against each other."""
    rank = max(map(len, shapes), default=0)
    aligned = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(_common(set(sizes)) for sizes in zip(*aligned, strict=True))


def _common(sizes: set[int]) -> int:
    found = sizes - {1} or {1}
    if len(found) > 1:
        raise ValueError
    return found.pop()
