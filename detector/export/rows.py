"""Errors about one row of an exported network: which row, and what the user can do."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.fx.experimental.symbolic_shapes import is_concrete_int

from detector.model.detector import Detector
from detector.utils.errors import DetectorError

_ROW = re.compile(r"\brows\.(\d+)\b")

SCOPES = "pkg.torch.onnx.name_scopes"
"""Key under which torch's exporter notes the modules that a node comes from."""


class RowError(DetectorError):
    """Error about a row of the network that is exported.

    Args:
        message: what failed, and what the user can do.
        row: index of the row; None if it is not known.
    """

    def __init__(self, message: str, row: int | None) -> None:
        super().__init__(message)
        self.row = row


@contextmanager
def naming_rows(model: Detector) -> Iterator[None]:
    """Re-raise an error of the block about a row with the model file and the row's module.

    Messages of runtimes tell the row by the name of a node, see ``detector.export.onnx.model``.
    The line is left out: the file may have changed since the network was built.
    """
    try:
        yield
    except DetectorError as error:
        row = error.row if isinstance(error, RowError) else row_in(error.message)
        if row is None or row >= len(model.plan):
            raise
        where = f"row {row} ({model.plan[row].module})"
        raise DetectorError(f"{where}: {error.message}", file=model.definition.path) from error


def row_in(text: str) -> int | None:
    """Return the index of the innermost row that a text names, None if it names none.

    >>> row_in("model.rows.12.cv1"), row_in("model")
    (12, None)
    """
    found = _ROW.findall(text)
    return int(found[-1]) if found else None


def row_of_node(node: fx.Node) -> int | None:
    """Return the index of the row whose module a node of a traced program comes from."""
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    return row_in(" ".join(str(path) for path, _ in stack.values()))


def row_of_onnx(node: Any) -> int | None:
    """Return the index of the row that an onnx.NodeProto comes from, as torch's exporter notes."""
    return row_in(" ".join(item.value for item in node.metadata_props if item.key == SCOPES))


def node_of_error(error: BaseException) -> fx.Node | None:
    """Return the node that a converter was at when it raised an error, None if at none."""
    cause: BaseException | None = error
    while cause is not None:
        for frame, _ in traceback.walk_tb(cause.__traceback__):
            node = frame.f_locals.get("node")
            if isinstance(node, fx.Node):
                return node
        cause = cause.__cause__
    return None


class RowWatch:
    """Follows a network's rows while it is traced.

    Attributes:
        row: index of the row that runs or ran last; None before the first.
        fixed: for each size of the images that tracing has fixed, the row that did it.
    """

    def __init__(self, model: Detector) -> None:
        self.row: int | None = None
        self.fixed: dict[int, int] = {}
        self._model = model
        self._sizes: tuple[Any, ...] = ()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow the network's rows within the block."""
        model = self._model
        handles = [model.register_forward_pre_hook(self._begin)]
        for index, module in enumerate(model.rows):
            handles.append(module.register_forward_pre_hook(self._enter(index)))
            handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _begin(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._sizes = tuple(inputs[0].shape)

    def _enter(self, index: int) -> Any:
        def enter(*_: object) -> None:
            self.row = index

        return enter

    def _leave(self, *_: object) -> None:
        for axis, size in enumerate(self._sizes):
            is_fixed = isinstance(size, torch.SymInt) and is_concrete_int(size)
            if is_fixed and self.row is not None:
                self.fixed.setdefault(axis, self.row)
