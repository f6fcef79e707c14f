"""SSD's training transforms (arXiv 1512.02325, section 2.2, "Data augmentation"), by torchvision.

Photometric distortion, expansion onto a canvas of the mean color, a crop that keeps a minimum IoU
with some object, a horizontal flip; then the image is fitted to the input as in validation.
torchvision's reference training of SSD uses the same transforms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from detector.data.augment.seeding import torch_seeded_by
from detector.data.augment.transforms import Example, Generator, Mixing, further_transforms
from detector.settings.heads import BasicAugmentSettings
from detector.structures.preprocess import Preprocess

MIN_BOX_PIXELS = 1.0
"""Shortest side of a cropped box that remains a target, pixels of the image."""


class SsdAugment:
    """SSD's augmentation; a call draws all randomness from its generator.

    Args:
        settings: probability of the flip, further transforms; the rest is fixed by the paper.
        preprocess: gives the input's size and the mean color.
    """

    mixing = Mixing()
    source_scale = 2
    """Images are cached at twice the input's size, since crops are enlarged."""

    def __init__(self, settings: BasicAugmentSettings, preprocess: Preprocess) -> None:
        self.preprocess = preprocess
        self.further = further_transforms(settings.albumentations, preprocess.size_hw)
        self.compose = v2.Compose(
            [
                v2.RandomPhotometricDistort(),
                v2.RandomZoomOut(fill=[round(level) for level in preprocess.mean_rgb]),
                _Crop(),
                v2.RandomHorizontalFlip(settings.fliplr),
                v2.ClampBoundingBoxes(),  # rounding may put a box beyond the border
                v2.SanitizeBoundingBoxes(min_size=MIN_BOX_PIXELS),
            ]
        )

    def __call__(self, examples: Sequence[Example], rng: Generator) -> Example:
        """Return a training example from one image."""
        (example,) = examples
        image = tv_tensors.Image(torch.from_numpy(example.image).permute(2, 0, 1))
        boxes = tv_tensors.BoundingBoxes(
            torch.from_numpy(example.boxes_xyxy),
            format="XYXY",
            canvas_size=example.image.shape[:2],
        )
        labels = torch.from_numpy(example.class_ids)
        with torch_seeded_by(rng):
            found = self.compose({"image": image, "boxes": boxes, "labels": labels})
        fitted, placement = self.preprocess.fit(
            np.ascontiguousarray(found["image"].permute(1, 2, 0).numpy())
        )
        boxes_xyxy = placement.to_input(found["boxes"].numpy())
        result = Example(fitted, boxes_xyxy, found["labels"].numpy())
        return result if self.further is None else self.further(result, rng)


class _Crop(v2.RandomIoUCrop):  # type: ignore[misc]
    """RandomIoUCrop that leaves images without boxes, or of only a few rows, unchanged.

    The first have no box for the IoU; a crop of the second could have no rows.
    """

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        (boxes,) = (one for one in flat_inputs if isinstance(one, tv_tensors.BoundingBoxes))
        if not len(boxes) or int(self.min_scale * boxes.canvas_size[0]) < 1:
            return {}
        params: dict[str, Any] = super().make_params(flat_inputs)
        return params
