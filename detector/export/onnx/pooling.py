"""Adaptive average pooling as products with averaging matrices, right for maps of every size.

torch's own decomposition chooses the number of cells that it averages while it is traced; an ONNX
file made of that averages too few of a larger map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.export import ExportedProgram


def decompose_pooling(program: ExportedProgram) -> ExportedProgram:
    """The same program without ``adaptive_avg_pool2d``."""
    operator = torch.ops.aten.adaptive_avg_pool2d.default
    decomposed: ExportedProgram = program.run_decompositions({operator: adaptive_average_pool})
    return decomposed


def adaptive_average_pool(image: Tensor, size_hw: Sequence[int]) -> Tensor:
    """(…, h, w) → (…, *size_hw): cell i of n averages the rows ⌊i·h/n⌋ to ⌈(i+1)·h/n⌉ − 1."""
    height, width = size_hw
    if height == width == 1:
        return image.mean((-2, -1), keepdim=True)
    rows = _averaging_matrix(image.shape[-2], height)
    columns = _averaging_matrix(image.shape[-1], width)
    return rows.to(image) @ image @ columns.to(image).mT


def _averaging_matrix(length: int, cells: int) -> Tensor:
    """(cells, length): each line has 1 / n at the n places that its cell averages."""
    cell, place = torch.arange(cells).unsqueeze(1), torch.arange(length)
    start, end = cell * length // cells, ((cell + 1) * length + cells - 1) // cells
    return ((place >= start) & (place < end)) / (end - start)
