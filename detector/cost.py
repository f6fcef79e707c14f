"""What a network costs: per row its output's shape, parameters and multiply-adds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from detector.graph import Detector, run_empty
from detector.rows import Row

Shape = tuple[int, ...]


@dataclass(frozen=True)
class RowCost:
    """A row and what it costs for one image.

    Attributes:
        index: its number, counted through backbone and head.
        sources: indices of the rows it reads; −1 is the image.
        number: after ``depth_multiple``.
        module: the word in the file.
        args: by name, after ``width_multiple``.
        shapes: of its outputs without the batch: (c, h, w); a head has one per level.
        stride: input pixels per output cell; None for a head.
        params: learnable parameters.
        macs: multiply-adds.
        winograd_muls: multiplications where Winograd's algorithm computes the stride-1 3×3
            convolutions: 4/9 of their multiply-adds (RepVGG, section 4.1).
    """

    index: int
    sources: tuple[int, ...]
    number: int
    module: str
    args: dict[str, Any]
    shapes: tuple[Shape, ...]
    stride: Fraction | None
    params: int
    macs: int
    winograd_muls: int


@dataclass(frozen=True)
class Cost:
    """All rows and their totals, for one image of ``size_hw``."""

    size_hw: tuple[int, int]
    rows: tuple[RowCost, ...]

    @property
    def params(self) -> int:
        """Learnable parameters of the network."""
        return sum(row.params for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-adds of one image."""
        return sum(row.macs for row in self.rows)

    @property
    def winograd_muls(self) -> int:
        """Multiplications of one image, with Winograd's algorithm where it applies."""
        return sum(row.winograd_muls for row in self.rows)


def cost(model: Detector, size_hw: tuple[int, int]) -> Cost:
    """Count parameters and multiply-adds without computing anything.

    Multiply-adds are those of convolutions, linear layers and matrix products, nothing else; the
    "FLOPs" of the YOLO world are twice as many.

    Args:
        model: in any form; a deployed one is counted as it is.
        size_hw: of the image, pixels.
    """
    rows: list[RowCost] = []
    counter = FlopCounterMode(display=False)
    before = saved = 0

    def watch_conv(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        nonlocal saved
        assert isinstance(module, nn.Conv2d)
        if module.kernel_size == (3, 3) and module.stride == (1, 1) and module.dilation == (1, 1):
            saved += output.numel() * module.weight[0].numel() * 5 // 9

    def watch(row: Row, output: Any) -> None:
        nonlocal before, saved
        total = counter.get_total_flops() // 2
        rows.append(_row_cost(row, model.rows[row.index], output, total - before, saved))
        before, saved = total, 0

    convs = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    hooks = [conv.register_forward_hook(watch_conv) for conv in convs]
    try:
        with counter:
            run_empty(model, size_hw, watch)
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(size_hw, tuple(rows))


def _row_cost(row: Row, module: nn.Module, output: Any, macs: int, saved: int) -> RowCost:
    return RowCost(
        index=row.index,
        sources=row.sources,
        number=row.number,
        module=row.module,
        args=row.arguments,
        shapes=tuple(tuple(tensor.shape[1:]) for tensor in _tensors(output)),
        stride=row.stride or None,
        params=sum(parameter.numel() for parameter in module.parameters()),
        macs=macs,
        winograd_muls=macs - saved,
    )


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    else:
        for part in output.values() if isinstance(output, dict) else output:
            yield from _tensors(part)
