"""Cost of a network by row: output shape, parameters, multiply-adds and memory."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from detector.model.builder import Row
from detector.model.detector import Detector, run_empty
from detector.model.operations import OperationLog, tensors

Shape = tuple[int, ...]


@dataclass(frozen=True)
class RowCost:
    """Cost of one row for one image.

    Attributes:
        index: number of the row, counted through backbone and head.
        sources: indices of the rows that it reads; −1 is the image.
        number: repeats of the module after ``depth_multiple``.
        module: name of the module in the file.
        args: arguments by name after ``width_multiple``.
        shapes: output shapes without the batch axis, (c, h, w); a head has one per level.
        stride: input pixels per output cell; None for a head.
        params: learnable parameters.
        batch_norms: number of batch norms.
        macs: multiply-adds.
        winograd_muls: multiplications where Winograd's algorithm computes the stride-1 3×3
            convolutions: 4/9 of their multiply-adds (RepVGG, section 4.1).
        memory_access: elements that the convolutions and linear layers read and write, by the
            formula of VoVNet's paper (arXiv 1904.09730, section 3.1).
        peak_activation_bytes: peak memory, while the row runs, of all features that a later
            operation reads, those of other rows included; image and weights are not counted.
    """

    index: int
    sources: tuple[int, ...]
    number: int
    module: str
    args: dict[str, Any]
    shapes: tuple[Shape, ...]
    stride: Fraction | None
    params: int
    batch_norms: int
    macs: int
    winograd_muls: int
    memory_access: int
    peak_activation_bytes: int


@dataclass(frozen=True)
class Cost:
    """Costs of all rows and their totals, for one image of ``size_hw`` pixels."""

    size_hw: tuple[int, int]
    rows: tuple[RowCost, ...]

    @property
    def params(self) -> int:
        """Learnable parameters of the network."""
        return sum(row.params for row in self.rows)

    @property
    def batch_norms(self) -> int:
        """Batch norms of the network."""
        return sum(row.batch_norms for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-adds for one image."""
        return sum(row.macs for row in self.rows)

    @property
    def winograd_muls(self) -> int:
        """Multiplications for one image, with Winograd's algorithm where it applies."""
        return sum(row.winograd_muls for row in self.rows)

    @property
    def memory_access(self) -> int:
        """Elements that convolutions and linear layers read and write for one image."""
        return sum(row.memory_access for row in self.rows)

    @property
    def peak_activation_bytes(self) -> int:
        """Peak memory of features between two operations, bytes."""
        return max(row.peak_activation_bytes for row in self.rows)


def cost(model: Detector, size_hw: tuple[int, int]) -> Cost:
    """Count parameters, multiply-adds and memory without computing anything.

    Only convolutions, linear layers and matrix products count as multiply-adds; the "FLOPs" that
    YOLO repositories report are twice as many. Memory is that of evaluation: training keeps all
    features for the backward pass.

    Args:
        model: network as trained or as deployed, counted in the form it has.
        size_hw: height and width of the image, pixels.
    """
    flops, log = FlopCounterMode(display=False), OperationLog()
    counts = [_Counts()]
    shapes: list[tuple[Shape, ...]] = []

    def watch(row: Row, output: Any) -> None:
        macs = flops.get_total_flops() // 2
        counts.append(_Counts(macs, log.winograd_saved, log.memory_access, log.operations))
        shapes.append(tuple(tuple(tensor.shape[1:]) for tensor in tensors(output)))
        if row is model.plan[-1]:
            log.keep(output)

    with flops:
        run_empty(model, size_hw, watch, within=log)
    kept_bytes = log.kept_bytes()
    spans = zip(counts, counts[1:], strict=False)
    return Cost(
        size_hw,
        tuple(
            _row_cost(row, module, row_shapes, span, kept_bytes)
            for row, module, row_shapes, span in zip(
                model.plan, model.rows, shapes, spans, strict=True
            )
        ),
    )


class _Counts(NamedTuple):
    """Running totals from the first row on."""

    macs: int = 0
    winograd_saved: int = 0
    memory_access: int = 0
    operations: int = 0


def _row_cost(
    row: Row,
    module: nn.Module,
    shapes: tuple[Shape, ...],
    span: tuple[_Counts, _Counts],
    kept_bytes: list[int],
) -> RowCost:
    """Return a row's cost from the running totals at its beginning and at its end."""
    begin, end = span
    macs = end.macs - begin.macs
    return RowCost(
        index=row.index,
        sources=row.sources,
        number=row.number,
        module=row.module,
        args=row.arguments,
        shapes=shapes,
        stride=row.stride or None,
        params=sum(parameter.numel() for parameter in module.parameters()),
        batch_norms=sum(isinstance(part, _BatchNorm) for part in module.modules()),
        macs=macs,
        winograd_muls=macs - (end.winograd_saved - begin.winograd_saved),
        memory_access=end.memory_access - begin.memory_access,
        peak_activation_bytes=max(kept_bytes[begin.operations : end.operations + 1]),
    )
