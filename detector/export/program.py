"""Tracing: the network as one torch.export program, the input of all formats."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from detector.export.rows import RowError, RowWatch
from detector.model.detector import Detector
from detector.runtime.decoding.decoding import Decoding
from detector.structures.preprocess import MAX_SIDE
from detector.utils.errors import one_line

MAX_BATCH = 4096
"""Largest batch of a dynamic program."""

TRACE_BATCH, TRACE_CELLS_HW = 2, (3, 4)
"""Batch, and height and width in cells, of the input that a dynamic program is traced with.

All are above 1 and different, since torch.export specializes sizes of 1 and merges equal ones.
"""

SIZES = ("number of images", "number of channels", "height", "width")
"""Names of the sizes of images (b, 3, h, w), for error messages."""


class ExportGraph(nn.Module):
    """A network as one module, with its decoding or without.

    Args:
        model: the network.
        decoding: how the maps of the raw outputs, which it gives, will be decoded; None decodes all
            boxes and scores.
    """

    def __init__(self, model: Detector, decoding: Decoding | None) -> None:
        super().__init__()
        self.model = model
        self.decoding = decoding

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for normalized images (b, 3, h, w); see ``Detector.decode``."""
        raw_outputs = self.model(images)
        if self.decoding is None:
            return self.model.decode(raw_outputs)
        maps = self.model.maps(raw_outputs)
        if self.decoding.channels_last:
            return tuple(one.permute(0, 2, 3, 1) for one in maps)
        return tuple(maps)


def trace(
    model: Detector,
    size_hw: tuple[int, int],
    batch: int | None,
    decoding: Decoding | None = None,
) -> ExportedProgram:
    """Trace a fused network.

    Args:
        model: network in eval mode; ``requires_grad`` of its weights is set to False.
        size_hw: input size, pixels.
        batch: number of images of ``size_hw``; None for a dynamic program, which takes any number
            and, unless the network has a fixed input size, any size that is a multiple of the
            largest stride.
        decoding: as :class:`ExportGraph`.

    Raises:
        RowError: a module's control flow depends on the data, or on a fixed size.
    """
    graph = ExportGraph(model.requires_grad_(False), decoding).eval()
    shapes: dict[str, dict[int, Any]] | None = None
    if batch is None:
        stride = model.max_stride
        shapes = {"images": {0: Dim("batch", min=1, max=MAX_BATCH)}}
        if model.fixed_size_hw is None:
            cells = {"min": 1, "max": MAX_SIDE // stride}
            shapes["images"][2] = stride * Dim("rows", **cells)
            shapes["images"][3] = stride * Dim("columns", **cells)
            size_hw = (TRACE_CELLS_HW[0] * stride, TRACE_CELLS_HW[1] * stride)
    example = torch.zeros(batch or TRACE_BATCH, 3, *size_hw)
    watch = RowWatch(model)
    try:
        with watch.watching(), quiet(), torch.no_grad():
            return torch.export.export(graph, (example,), dynamic_shapes=shapes)
    except Exception as error:  # third-party modules may raise anything while they are traced
        raise _trace_error(error, watch, is_dynamic=batch is None) from error


def _trace_error(error: Exception, watch: RowWatch, is_dynamic: bool) -> RowError:
    """Return an error about the row that could not be traced, with its remedy."""
    if watch.fixed:
        axis, row = next(iter(watch.fixed.items()))
        return RowError(f"works with one {SIZES[axis]} only; export without --dynamic", row)
    remedy = "; export without --dynamic" if is_dynamic else ""
    return RowError(f"cannot be traced: {one_line(error)}{remedy}", watch.row)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' warnings and logs within the block; exceptions are still raised."""
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
