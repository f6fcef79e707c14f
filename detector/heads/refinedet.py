"""RefineDet's head (arXiv 1711.06897): default boxes that are refined twice.

The anchor refinement module tells objects from background and moves the default boxes; the object
detection module, which reads the same levels mixed with coarser ones, moves the refined boxes and
classifies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import pydantic
import torch
from torch import Tensor, nn

from detector.heads.anchors import decode_offsets, ratio_sizes
from detector.heads.classes import ClassRows
from detector.heads.default_boxes import DefaultBoxHead, Pair, check_levels, join_levels
from detector.heads.head import in_float32
from detector.layers.activation import Activation
from detector.layers.transfer import TransferConnection
from detector.registry import Count, Positive, register
from detector.runtime.decoding.refined_boxes import RefinedBoxDecoding
from detector.structures.boxes import clip as clip_boxes

Probability = Annotated[float, pydantic.Field(gt=0, lt=1)]


class RefineDetRaw(NamedTuple):
    """Parts of the raw outputs, in their order.

    Attributes:
        refinement: (…, 4) offsets of the refined boxes from the default boxes.
        offsets: (…, 4) offsets of the boxes from the refined boxes.
        objectness: (…, 2) logits of background and object.
        classes: (…, 1 + classes) logits of the background and of each class.
    """

    refinement: Tensor
    offsets: Tensor
    objectness: Tensor
    classes: Tensor


@register(head=True)
class RefineDetHead(DefaultBoxHead):
    """Anchor refinement, transfer connections and object detection, each on every level.

    ``forward`` returns raw outputs, one per level, of shape (b, h, w, boxes, 10 + 1 + classes),
    whose last axis is split by :meth:`split`. ``decode`` turns them into boxes and scores. A box
    whose objectness lies below ``threshold`` has its scores multiplied by objectness / threshold.
    The paper leaves such boxes out (section 3.3): that is a jump, at which the rounding of another
    format would change a score by its whole value.

    Args:
        nc: number of classes, without the background.
        sides: per level the side of its default boxes, pixels.
        ratios: per level the aspect ratios besides 1; a level has 1 + 2 · len(ratios) boxes.
        steps: per level the distance between the boxes' centres, pixels; each twice the one before.
        width: channels of the features that the object detection module reads.
        norm: batch norms in the transfer connections, without which random weights train slowly.
        threshold: objectness under which a negative box is not trained, and scores fade.
        clip: limit widths and heights of default boxes to the input's side.
        variances: factors of the offsets of centres and of those of sides.
        c_in: channels of each level, the finest first.
        imgsz: side of the square input, pixels; the default boxes are made for this size only.
    """

    runs_in_float32 = False
    """The transfer connections keep the short precision, the last convolutions do not."""

    def __init__(
        self,
        nc: int,
        sides: list[Positive],
        ratios: list[list[Positive]],
        steps: list[Positive],
        width: Count = 256,
        norm: bool = False,
        threshold: Probability = 0.01,
        clip: bool = False,
        variances: Pair = (0.1, 0.2),
        activation: Activation = "ReLU",
        c_in: Sequence[int] = (),
        imgsz: int = 320,
    ) -> None:
        check_levels(len(c_in), sides=sides, ratios=ratios, steps=steps)
        sizes_wh = [
            [(float(side), float(side)), *ratio_sizes(side, level)]
            for side, level in zip(sides, ratios, strict=True)
        ]
        super().__init__(nc, sizes_wh, steps, clip, variances, imgsz)
        self.threshold = threshold
        counts = [len(sizes) for sizes in sizes_wh]
        self.refine = nn.ModuleList(BoxConvs(c, k, 2) for c, k in zip(c_in, counts, strict=True))
        self.transfer = nn.ModuleList(
            TransferConnection(c, width, level < len(c_in) - 1, norm, activation)
            for level, c in enumerate(c_in)
        )
        self.detect = nn.ModuleList(BoxConvs(width, k, 1 + nc) for k in counts)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return raw outputs (b, h, w, boxes, 10 + 1 + classes) for (b, c, h, w), per level."""
        mixed: list[Tensor] = []
        for transfer, feature in zip(reversed(self.transfer), reversed(features), strict=True):
            mixed.insert(0, transfer(feature, mixed[0] if mixed else None))
        raw_outputs = []
        for feature, wide, refine, detect in zip(
            features, mixed, self.refine, self.detect, strict=True
        ):
            refinement, objectness = in_float32(refine, feature).split((4, 2), -1)
            offsets, classes = in_float32(detect, wide).split((4, 1 + self.nc), -1)
            raw_outputs.append(torch.cat((refinement, offsets, objectness, classes), -1))
        return raw_outputs

    def split(self, raw: Tensor) -> RefineDetRaw:
        """Split the last axis of raw outputs into its parts."""
        return RefineDetRaw(*raw.split((4, 4, 2, 1 + self.nc), -1))

    def refined_boxes(self, raw: RefineDetRaw, default_xyxy: Tensor) -> Tensor:
        """Return the boxes_xyxy that the object detection module starts from, (b, n, 4) pixels."""
        return decode_offsets(raw.refinement, default_xyxy, self.variances)

    def decode(self, raw_outputs: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return (b, n, 4) boxes_xyxy in pixels of the input and (b, n, classes) scores.

        Boxes are clipped to the input, so that IoU is computed from their visible parts.
        """
        raw = self.split(join_levels(raw_outputs))
        refined_xyxy = self.refined_boxes(raw, self.default_boxes(raw_outputs))
        boxes_xyxy = decode_offsets(raw.offsets, refined_xyxy, self.variances)
        kept = (objectness(raw) / self.threshold).clamp(max=1)
        scores = raw.classes.softmax(-1)[..., 1:] * kept[..., None]
        return clip_boxes(boxes_xyxy, self.size_hw), scores

    def decoding(self) -> RefinedBoxDecoding:
        """Return how :meth:`maps` encode boxes and scores."""
        keys = {**self.decoding_keys(), "threshold": self.threshold}
        return RefinedBoxDecoding.model_validate(keys)

    def class_rows(self, name: str) -> ClassRows | None:
        """Return the rows of the background and the classes of each default box."""
        module, *rest = name.split(".")
        if module != "detect" or rest[1] != "logits":
            return None
        return ClassRows(len(self.sizes_wh[int(rest[0])]), 1)


def objectness(raw: RefineDetRaw) -> Tensor:
    """Return the probability of an object in each box, (b, n)."""
    background, thing = raw.objectness.unbind(-1)
    return (thing - background).sigmoid()


class BoxConvs(nn.Module):
    """Two 3×3 convolutions: (b, c, h, w) → (b, h, w, boxes, 4 + logits), offsets first.

    Args:
        c_in: channels of the features.
        boxes: number of boxes of a cell.
        count: number of logits of a box.
    """

    def __init__(self, c_in: int, boxes: int, count: int) -> None:
        super().__init__()
        self.boxes = boxes
        self.offsets = nn.Conv2d(c_in, 4 * boxes, 3, padding=1)
        self.logits = nn.Conv2d(c_in, count * boxes, 3, padding=1)
        for conv in (self.offsets, self.logits):
            assert conv.bias is not None
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        parts = [
            conv(x).permute(0, 2, 3, 1).unflatten(-1, (self.boxes, -1))
            for conv in (self.offsets, self.logits)
        ]
        return torch.cat(parts, -1)
