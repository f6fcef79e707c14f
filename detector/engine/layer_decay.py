"""Layer-wise learning-rate decay: rows near the image learn more slowly than the head.

With a decay d, a row of depth k learns at dᴷ⁻ᵏ of the learning rate, where K is the depth of the
head (as in BEiT, arXiv 2106.08254, appendix). The depth of a row is the number of rows with weights
on the longest path from the image to it, itself included: rows without weights, such as ``Concat``,
count nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from detector.model.builder import IMAGE
from detector.model.detector import Detector


def row_depths(model: Detector) -> list[int]:
    """Return the depth of each row."""
    depths = {IMAGE: 0}
    for row, module in zip(model.plan, model.rows, strict=True):
        has_weights = next(module.parameters(), None) is not None
        depths[row.index] = max(depths[source] for source in row.sources) + has_weights
    return [depths[row.index] for row in model.plan]


def parameter_scales(model: nn.Module, names: Iterable[str], decay: float) -> dict[str, float]:
    """Return the fraction of the learning rate at which each parameter learns, by name.

    Args:
        model: a Detector, unless ``decay`` is 1.
        names: names of its parameters.
        decay: factor from a row to the one before it; 1 is the same rate for all.
    """
    if decay == 1:
        return dict.fromkeys(names, 1.0)
    assert isinstance(model, Detector)
    depths = row_depths(model)
    scales = [decay ** (depths[-1] - depth) for depth in depths]
    return {name: scales[_row(name)] for name in names}


def _row(name: str) -> int:
    """Return the number of the row that a parameter belongs to, from ``rows.N.…``."""
    match = re.match(r"rows\.(\d+)\.", name)
    assert match is not None
    return int(match[1])
