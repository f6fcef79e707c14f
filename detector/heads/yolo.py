"""YOLOv5's anchor-based head: any number of levels and anchors."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from detector.heads.anchors import decode_grid
from detector.heads.classes import ClassRows, SharedClasses
from detector.heads.head import Adapted, Head
from detector.registry import register
from detector.runtime.decoding.anchors import AnchorDecoding
from detector.structures.points import grid_xy
from detector.utils.errors import DetectorError

ANCHORS = "anchors_wh"
"""Name of the buffer that holds the anchors."""

DEFAULT_ANCHOR_OF_STRIDE = 4.0
"""Side of the placeholder anchors, in strides, if the model file gives only their number."""


@register("Detect", head=True)
class Detect(Head):
    """Anchor-based head of one 1×1 convolution per level.

    ``forward`` returns raw outputs, one per level, of shape (b, anchors, h, w, 5 + classes); the
    last axis holds x, y, w, h, objectness, then one logit per class. ``decode`` turns them into
    boxes and scores; ``decode_boxes`` and ``decode_scores`` do so for single predictions.

    Args:
        nc: number of classes.
        anchors: per level a flat list w, h, w, h, … in pixels; or the number of anchors per level,
            which have to be fitted to the data before training.
        c_in: channels of each level.
        strides: stride of each level, pixels.
    """

    anchors_wh: Tensor

    output_tensors: tuple[str, ...] = ("weight", "bias")
    """Names of a level's tensors whose first axis is that of its raw outputs."""

    def __init__(
        self,
        nc: int,
        anchors: int | list[list[float]],
        c_in: Sequence[int] = (),
        strides: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if nc < 1:
            raise ValueError(f"argument 'nc': expected at least 1 class, found {nc}")
        levels = _anchor_table(anchors, strides)
        self.nc = nc
        self.strides = tuple(strides)
        self.fitted = not isinstance(anchors, int)
        self.register_buffer("anchors_wh", levels)
        per_level = levels.shape[1]
        self.m = nn.ModuleList(self.make_conv(c, per_level * (5 + nc)) for c in c_in)
        self.initialize_biases()

    @staticmethod
    def make_conv(c_in: int, c_out: int) -> nn.Conv2d:
        """Return the 1×1 convolution of a level."""
        return nn.Conv2d(c_in, c_out, 1)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return raw outputs (b, anchors, h, w, 5 + classes) for (b, c, h, w), per level."""
        raw_outputs = []
        for conv, feature in zip(self.m, features, strict=True):
            b, _, h, w = feature.shape
            raw = conv(feature).view(b, self.anchors_wh.shape[1], 5 + self.nc, h, w)
            raw_outputs.append(raw.permute(0, 1, 3, 4, 2))
        return raw_outputs

    def decode(self, raw_outputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return (b, n, 4) boxes_xyxy in pixels of the input and (b, n, classes) scores."""
        boxes, scores = [], []
        for raw, anchors_wh, stride in zip(raw_outputs, self.anchors_wh, self.strides, strict=True):
            cells_xy = grid_xy(raw.shape[2], raw.shape[3], raw)
            sizes_wh = anchors_wh.to(raw.dtype)[:, None, None]
            boxes.append(decode_grid(raw[..., :4], cells_xy, sizes_wh, stride).flatten(1, 3))
            scores.append(self.decode_scores(raw[..., 4:]).flatten(1, 3))
        return torch.cat(boxes, 1), torch.cat(scores, 1)

    def decoding(self) -> AnchorDecoding:
        """Return how :meth:`maps` encode boxes and scores."""
        sizes = self.anchors_wh.float().tolist()
        return AnchorDecoding.model_validate({"strides": self.strides, "anchors_wh": sizes})

    def maps(self, raw_outputs: list[Tensor]) -> list[Tensor]:
        """Return (b, anchors · (5 + classes), h, w) per level, the outputs of the convolutions."""
        return [raw.permute(0, 1, 4, 2, 3).flatten(1, 2) for raw in raw_outputs]

    def decode_boxes(self, raw: Tensor, level: Tensor, cells_xy: Tensor, anchor: Tensor) -> Tensor:
        """Decode the boxes of k predictions as :meth:`decode` does.

        Args:
            raw: (k, 4) raw x, y, w, h.
            level: (k,) int64, level of each prediction.
            cells_xy: (k, 2) column and row of each prediction's cell.
            anchor: (k,) int64, index of each prediction's anchor within its level.

        Returns:
            (k, 4) boxes_xyxy in pixels of the input.
        """
        strides = torch.tensor(self.strides, device=raw.device)[level, None]
        return decode_grid(raw, cells_xy, self.anchors_wh[level, anchor].to(raw.dtype), strides)

    @staticmethod
    def decode_scores(logits: Tensor) -> Tensor:
        """Decode logits of objectness and classes: (..., 1 + classes) → (..., classes) scores."""
        probabilities = logits.sigmoid()
        return probabilities[..., 1:] * probabilities[..., :1]

    def initialize_biases(self) -> None:
        """Initialize biases to a prior, as in the focal-loss paper (arXiv 1708.02002, section 3.3).

        Objectness starts at the probability of 8 objects in an image of 640 pixels, by stride; the
        classes share a probability of 0.6.
        """
        with torch.no_grad():
            for conv, stride in zip(self.m, self.strides, strict=True):
                assert isinstance(conv, nn.Conv2d)
                assert conv.bias is not None
                bias = conv.bias.view(-1, 5 + self.nc)
                bias[:, 4] += math.log(8 / (640 / stride) ** 2)
                bias[:, 5:] += math.log(0.6 / (self.nc - 0.99999))

    @property
    def anchor_sizes_wh(self) -> Tensor:
        """Widths and heights of the anchors, (levels, anchors, 2) pixels."""
        return self.anchors_wh

    def class_rows(self, name: str) -> ClassRows | None:
        """Return the rows of x, y, w, h, objectness and classes of each anchor."""
        of_outputs = name.startswith("m.") and name.rpartition(".")[2] in self.output_tensors
        return ClassRows(self.anchors_wh.shape[1], 5) if of_outputs else None

    def adapt(
        self, start: Mapping[str, Tensor], keep_fitted: bool, classes: SharedClasses | None
    ) -> Adapted:
        """Take boxes and objectness of start weights for other classes, and the classes of both.

        Boxes and objectness do not depend on the classes, so that training can start from them.
        This needs the anchors of the start weights: with others, raw outputs mean other boxes.
        """
        anchors = start.get(ANCHORS)
        same_places = anchors is not None and anchors.shape == self.anchors_wh.shape
        other_anchors = keep_fitted and self.fitted and same_places
        other_anchors = other_anchors and not torch.equal(start[ANCHORS], self.anchors_wh)
        mixed: dict[str, Tensor] = {}
        for name, own in self.state_dict().items():
            rows = self.class_rows(name)
            if name not in start or rows is None:
                continue
            same_shape = start[name].shape == own.shape
            if classes is not None if same_shape else same_places and not other_anchors:
                found = rows.mixed(start[name], own, classes)
                mixed |= {} if found is None else {name: found}
        refused = {ANCHORS: "the model file has anchors of its own"} if other_anchors else {}
        return Adapted(mixed, refused)

    def mark_loaded(self, names: Collection[str]) -> None:
        """Record that anchors were loaded from weights, so that they need no fitting."""
        self.fitted = self.fitted or ANCHORS in names

    def check_trainable(self) -> None:
        """Raise DetectorError if the model file gives only the number of anchors."""
        if not self.fitted:
            raise DetectorError(
                "the model file gives only the number of anchors; fit them first with "
                "`detector anchors --cfg FILE --data DATA` and write its line into the file"
            )


def _anchor_table(anchors: int | list[list[float]], strides: Sequence[int]) -> Tensor:
    """Return widths and heights in pixels, (levels, anchors, 2)."""
    if isinstance(anchors, int):
        if anchors < 1:
            raise ValueError(f"argument 'anchors': expected at least 1, found {anchors}")
        sides = torch.tensor(strides, dtype=torch.float32) * DEFAULT_ANCHOR_OF_STRIDE
        return sides.view(-1, 1, 1).expand(-1, anchors, 2).clone()
    if len(anchors) != len(strides):
        raise ValueError(f"anchors: expected {len(strides)} levels, found {len(anchors)}")
    lengths = {len(level) for level in anchors}
    if len(lengths) != 1 or min(lengths) == 0 or min(lengths) % 2:
        raise ValueError(
            "anchors: expected the same number of width, height pairs on every level, found "
            f"{', '.join(str(len(level)) for level in anchors)} values"
        )
    if not all(side > 0 for level in anchors for side in level):
        raise ValueError("anchors: expected widths and heights above 0")
    table = torch.tensor(anchors, dtype=torch.float32)
    return table.view(len(anchors), -1, 2)
