"""The network as one traced program: images in, the decoded outputs out. All formats start here."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from detector.model.detector import Detector
from detector.structures.preprocess import MAX_SIDE
from detector.utils.errors import DetectorError, one_line

MAX_BATCH = 4096
TRACE_BATCH, TRACE_CELLS_HW = 2, (3, 4)
"""Input that a dynamic program is traced with: more than one of each, and no two alike."""


class ExportGraph(nn.Module):
    """A network with its decoding: normalised images → what its head decodes to."""

    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(b, 3, h, w) → the task's outputs; see :meth:`Detector.decode`."""
        return self.model.decode(self.model(images))


def trace(model: Detector, size_hw: tuple[int, int], dynamic: bool) -> ExportedProgram:
    """Trace a fused network.

    Args:
        model: in eval mode; its weights' ``requires_grad`` is cleared.
        size_hw: of the input, pixels.
        dynamic: for any number of images, and, unless the network fixes its size, for any size
            of at least one cell of the largest stride that this stride divides; else for one
            image of ``size_hw``.

    Raises:
        DetectorError: a module does something that depends on the data, or on a fixed size.
    """
    graph = ExportGraph(model.requires_grad_(False)).eval()
    shapes: dict[str, dict[int, Any]] | None = None
    example = torch.zeros(1, 3, *size_hw)
    if dynamic:
        stride = model.max_stride
        shapes = {"images": {0: Dim("batch", min=1, max=MAX_BATCH)}}
        if model.fixed_size_hw is None:
            cells = {"min": 1, "max": MAX_SIDE // stride}
            shapes["images"][2] = stride * Dim("rows", **cells)
            shapes["images"][3] = stride * Dim("columns", **cells)
            size_hw = (TRACE_CELLS_HW[0] * stride, TRACE_CELLS_HW[1] * stride)
        example = torch.zeros(TRACE_BATCH, 3, *size_hw)
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(graph, (example,), dynamic_shapes=shapes)
    except Exception as error:  # whatever a module of someone else raises while it is traced
        raise DetectorError(f"the network cannot be traced: {one_line(error)}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' warnings and logs off the terminal; errors still come as exceptions."""
    loggers = [
        logging.getLogger(name) for name in ("torch", "torch.onnx", "torch.export", "onnxscript")
    ]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
