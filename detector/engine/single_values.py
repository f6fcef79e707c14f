"""Explanation of an error of torch: batch norms that get one value per channel.

The batch norm of a 1×1 feature map has no statistics in a batch of one image.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from detector.model.detector import Detector, run_empty
from detector.structures.preprocess import imgsz_text

TORCH_MESSAGE = "Expected more than 1 value per channel when training"
"""Beginning of torch's message."""


def explain_single_values(model: Detector, images: int) -> str:
    """Return what a user can do about batch norms that got one value per channel.

    Args:
        model: the network, with the preprocessing of its input size.
        images: number of images in the training split.
    """
    size_hw = model.preprocess.size_hw
    rows = rows_of_single_values(model, size_hw)
    ways = ["use --batch 2 or more" if images > 1 else "add images to the split, which has one"]
    if model.fixed_size_hw is None and not rows_of_single_values(model, _doubled(size_hw)):
        ways.append(f"--imgsz {imgsz_text(_doubled(size_hw))}")
    if rows and rows[-1] + 1 < len(model.rows):
        ways.append(f"--freeze {rows[-1] + 1}, which holds the statistics of these rows")
    where = f"row {rows[0]} ({model.plan[rows[0]].module})" if rows else "a row"
    return (
        f"a batch of one image, and {where} makes a 1×1 feature map of {size_hw[0]}×{size_hw[1]} "
        f"px: its batch norm has no statistics of one value; {', or '.join(ways)}"
    )


def rows_of_single_values(model: Detector, size_hw: tuple[int, int]) -> list[int]:
    """Return the rows with a batch norm of 1×1 feature maps, for images of (h, w) pixels."""
    found: set[int] = set()

    def note(index: int) -> Any:
        def check(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs[0].shape[2:].numel() == 1:
                found.add(index)

        return check

    handles = [
        module.register_forward_pre_hook(note(index))
        for index, row in enumerate(model.rows)
        for module in row.modules()
        if isinstance(module, _BatchNorm)
    ]
    try:
        run_empty(model, size_hw, lambda row, output: None)
    finally:
        for handle in handles:
            handle.remove()
    return sorted(found)


def _doubled(size_hw: tuple[int, int]) -> tuple[int, int]:
    return 2 * size_hw[0], 2 * size_hw[1]
