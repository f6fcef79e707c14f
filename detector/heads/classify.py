"""Classification head: pooling, optional hidden layers, a linear layer; auxiliary classifiers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import pydantic
import torch
from torch import Tensor, nn

from detector.heads.classes import ClassRows
from detector.heads.head import AUXILIARY, Head
from detector.layers.activation import Activation
from detector.layers.conv import Conv
from detector.layers.shared_norm import fused_copy
from detector.registry import ULTRALYTICS, Count, register
from detector.settings.values import TaskName

Probability = Annotated[float, pydantic.Field(ge=0, lt=1)]


@register(head=True)
class Classify(Head):
    """Average pooling to ``pool`` × ``pool`` → hidden linear layers → linear.

    ``forward`` gives ``{"logits": (b, classes)}``, and under ``"auxiliary"`` the logits of the
    auxiliary classifiers, one for each of the features that the row reads besides the first
    (RepVGGplus: training only, loss = main + 0.1 × each; :meth:`fuse` drops them).

    Args:
        nc: number of classes.
        pool: side of the pooled features, cells (VGG: 7).
        hidden: widths of hidden linear layers with ReLU (VGG: 4096, 4096).
        dropout: dropout probability before each linear layer except the first.
        c_in: channels of each of the features.
    """

    task: TaskName = "classify"

    def __init__(
        self,
        nc: int,
        pool: Count = 1,
        hidden: list[Count] | None = None,
        dropout: Probability = 0.0,
        c_in: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.nc = nc
        widths = [c_in[0] * pool**2, *(hidden or ()), nc]
        layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(pool), nn.Flatten()]
        for i, (width, next_width) in enumerate(zip(widths, widths[1:], strict=False)):
            layers += [nn.ReLU(inplace=True), nn.Dropout(dropout)] if i else []
            layers.append(nn.Linear(width, next_width))
        self.layers = nn.Sequential(*layers)
        self.auxiliary = nn.ModuleList(AuxiliaryClassifier(c, nc) for c in c_in[1:])

    def forward(self, features: list[Tensor]) -> dict[str, Any]:
        """Return the logits of all classifiers.

        Args:
            features: (b, c, h, w) of the last stage, then of stages with an auxiliary classifier.
        """
        raw_outputs: dict[str, Any] = {"logits": self.layers(features[0])}
        if len(self.auxiliary):
            pairs = zip(self.auxiliary, features[1:], strict=True)
            raw_outputs[AUXILIARY] = [classifier(feature) for classifier, feature in pairs]
        return raw_outputs

    def decode(self, raw_outputs: dict[str, Any]) -> Tensor:
        """Return (b, classes) probabilities from the raw outputs."""
        return torch.softmax(raw_outputs["logits"], -1)

    def inference_sources(self, count: int) -> int:
        """Return 1: auxiliary classifiers read the features after the first."""
        return 1

    def inference_outputs(self, raw_outputs: dict[str, Any]) -> dict[str, Any]:
        """Return the raw outputs without those of auxiliary classifiers."""
        return {name: value for name, value in raw_outputs.items() if name != AUXILIARY}

    def class_rows(self, name: str) -> ClassRows | None:
        """Return the rows of the last linear layers, one for each class."""
        path = name.rpartition(".")[0]
        last = {f"layers.{len(self.layers) - 1}"}
        last |= {f"auxiliary.{i}.{len(one) - 1}" for i, one in self._auxiliary()}
        return ClassRows(1, 0) if path in last else None

    def _auxiliary(self) -> Iterator[tuple[int, nn.Sequential]]:
        for i, classifier in enumerate(self.auxiliary):
            assert isinstance(classifier, nn.Sequential)
            yield i, classifier

    def fuse(self) -> Classify:
        """Return a copy without auxiliary classifiers."""
        fused = copy.deepcopy(self)
        fused.auxiliary = nn.ModuleList()
        return fused


@register("Classify", head=True, dialect=ULTRALYTICS)
class ConvClassify(Classify):
    """1×1 conv to 1280 channels → average pooling → linear, the head of YOLOv8's classifiers."""

    WIDTH = 1280

    def __init__(self, nc: int, activation: Activation = "SiLU", c_in: Sequence[int] = ()) -> None:
        if len(c_in) != 1:
            raise ValueError(f"reads one row, found {len(c_in)}")
        super().__init__(nc, c_in=[self.WIDTH])
        self.conv: nn.Module = Conv(c_in[0], self.WIDTH, 1, activation=activation)

    def forward(self, features: list[Tensor]) -> dict[str, Any]:
        """Return the logits for the (b, c, h, w) features of the last stage."""
        return super().forward([self.conv(features[0])])

    def fuse(self) -> ConvClassify:
        """Return a copy whose convolution is fused."""
        fused = copy.deepcopy(self)
        fused.conv = fused_copy(self.conv)
        return fused


class AuxiliaryClassifier(nn.Sequential):
    """Classifier of RepVGGplus: 3×3 stride-2 conv-BN-ReLU → global average pool → linear."""

    def __init__(self, c_in: int, nc: int) -> None:
        conv = Conv(c_in, c_in, 3, 2, activation="ReLU", eps=1e-5, momentum=0.1)
        super().__init__(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, nc))
