"""The backbone of a network as a module of its own, for programs with heads of their own."""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from detector.model.builder import IMAGE, with_frees
from detector.model.deploy import TOLERANCE_FP64
from detector.model.detector import Detector
from detector.registry import contract
from detector.utils.errors import DetectorError

NormName = Literal["batch", "frozen", "group"]
GROUPS = 32
"""Number of groups of a group norm (arXiv 1803.08494), where the channels can be divided so."""
COMPARED_STRIDES = 2
"""Side of the image on which the deployed form is compared, in multiples of the largest stride."""


class Features(nn.Module):
    """Rows of a backbone, up to the last one that is asked for.

    ``forward`` takes normalized images (b, 3, h, w) and returns an ``OrderedDict`` of features
    (b, c, h / s, w / s) by level, the form that torchvision's feature pyramid takes.

    Args:
        model: network that the rows and their modules are taken from.
        rows: index of each level's row, by name of the level, in rising order.

    Attributes:
        out_channels: channels of each level.
        strides: input pixels per cell of each level.
        deployed: its blocks are fused.
    """

    def __init__(self, model: Detector, rows: Mapping[str, int]) -> None:
        super().__init__()
        self.levels = dict(rows)
        last = max(rows.values())
        self.plan = with_frees(model.plan[: last + 1])
        self.rows = nn.ModuleList(list(model.rows)[: last + 1])
        self.out_channels = tuple(self.plan[index].channels for index in rows.values())
        self.strides = tuple(int(self.plan[index].stride) for index in rows.values())
        self.deployed = False

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Return the features of each level, the finest first."""
        wanted = set(self.levels.values())
        outputs: dict[int, Any] = {IMAGE: images}
        for row, module in zip(self.plan, self.rows, strict=True):
            features = [outputs[source] for source in row.sources]
            reads_list = contract(row.module).reads_list
            outputs[row.index] = module(features if reads_list else features[0])
            for source in row.frees:
                if source not in wanted:
                    del outputs[source]
        return OrderedDict((level, outputs[index]) for level, index in self.levels.items())

    @torch.no_grad()
    def deploy(self) -> Features:
        """Return a copy in eval mode whose batch norms are folded into convolutions.

        Blocks with group norms stay as they are. The copy is compared in float64.

        Raises:
            DetectorError: the outputs differ by more than the tolerance.
        """
        reference = copy.deepcopy(self).eval().double()
        fused = copy.deepcopy(reference)
        _fuse_blocks(fused)
        side = COMPARED_STRIDES * max(self.strides)
        first = next(self.parameters())
        images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).double()
        images = images.to(first.device)
        for level, expected in reference(images).items():
            found = fused(images)[level]
            difference = float((found - expected).abs().max() / expected.abs().max())
            if not difference <= TOLERANCE_FP64:
                raise DetectorError(
                    f"fusing changes the features: {level} differs by {difference:.2e} of its "
                    f"largest value, allowed are {TOLERANCE_FP64:.0e}"
                )
        fused.deployed = True
        return fused.to(first.dtype)


def _fuse_blocks(module: nn.Module) -> None:
    """Fuse the outermost blocks that can be, but for those with a group norm inside."""
    for name, child in module.named_children():
        groups = any(isinstance(part, nn.GroupNorm) for part in child.modules())
        if callable(getattr(child, "fuse", None)) and not groups:
            setattr(module, name, child.fuse().eval())  # type: ignore[operator]
        else:
            _fuse_blocks(child)


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics and factors stay as they are, in training too."""

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        """Stay in evaluation mode."""
        super().train(False)
        return self


def replace_norms(module: nn.Module, norm: NormName) -> None:
    """Replace the batch norms inside a module.

    Args:
        module: is changed.
        norm: ``frozen`` keeps their values as they are; ``group`` normalizes groups of channels of
            each image, whatever the batch (arXiv 1803.08494); ``batch`` changes nothing.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d) and norm != "batch":
            setattr(module, name, _frozen(child) if norm == "frozen" else _grouped(child))
        else:
            replace_norms(child, norm)


def _frozen(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    frozen = FrozenBatchNorm2d(norm.num_features, norm.eps, norm.momentum)
    frozen.load_state_dict(norm.state_dict())
    return frozen.train().requires_grad_(False)


def _grouped(norm: nn.BatchNorm2d) -> nn.GroupNorm:
    groups = math.gcd(GROUPS, norm.num_features)
    return nn.GroupNorm(groups, norm.num_features, norm.eps)
