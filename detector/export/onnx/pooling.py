"""Adaptive average pooling as products with averaging matrices, correct for any input size.

torch's own decomposition fixes the number of averaged cells while tracing; an ONNX file made from
it would average too few cells of larger feature maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.export import ExportedProgram


def decompose_pooling(program: ExportedProgram) -> ExportedProgram:
    """Return the program with ``adaptive_avg_pool2d`` decomposed into matrix products."""
    operator = torch.ops.aten.adaptive_avg_pool2d.default
    decomposed: ExportedProgram = program.run_decompositions({operator: adaptive_average_pool})
    return decomposed


def adaptive_average_pool(image: Tensor, size_hw: Sequence[int]) -> Tensor:
    """Pool (…, h, w) to (…, *size_hw).

    Row i of n is the mean of the input rows ⌊i·h/n⌋ to ⌈(i+1)·h/n⌉ − 1; columns alike.
    """
    height, width = size_hw
    if height == width == 1:
        return image.mean((-2, -1), keepdim=True)
    rows = _averaging_matrix(image.shape[-2], height)
    columns = _averaging_matrix(image.shape[-1], width)
    return rows.to(image) @ image @ columns.to(image).mT


def _averaging_matrix(length: int, cells: int) -> Tensor:
    """Return a (cells, length) matrix; each row has 1 / n at the n places that are averaged."""
    cell, place = torch.arange(cells).unsqueeze(1), torch.arange(length)
    start, end = cell * length // cells, ((cell + 1) * length + cells - 1) // cells
    return ((place >= start) & (place < end)) / (end - start)
