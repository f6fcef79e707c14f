"""Multi-scale training: each batch at a size of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torchvision.transforms.v2.functional import resize

from detector.structures.samples import Batch

SEED_WORD = 0x5CA1E
"""Word of the seed that separates these random numbers from those of the images."""


@dataclass(frozen=True)
class MultiScale:
    """Resizes batches to random sizes that depend on seed, epoch and batch number only.

    Attributes:
        size_hw: of the batches that come in, pixels.
        stride: sizes are multiples of it, where they differ from ``size_hw``.
        fraction: by how much the sides differ at most.
        seed: of the sizes.
        until_epoch: from this epoch on batches stay as they are.
    """

    size_hw: tuple[int, int]
    stride: int
    fraction: float
    seed: int
    until_epoch: int

    def __call__(self, batch: Batch, epoch: int, number: int) -> Batch:
        """Resize a batch, images and boxes, to its random size, on the device where it is."""
        if not self.fraction or epoch >= self.until_epoch:
            return batch
        return resized(batch, self.size_of(epoch, number))

    def size_of(self, epoch: int, number: int) -> tuple[int, int]:
        """Return the height and width of a batch, pixels, at least one stride."""
        rng = np.random.default_rng([self.seed, epoch, number, SEED_WORD])
        scale = rng.uniform(1 - self.fraction, 1 + self.fraction)
        height, width = (max(round(side * scale / self.stride), 1) for side in self.size_hw)
        return height * self.stride, width * self.stride


def resized(batch: Batch, size_hw: tuple[int, int]) -> Batch:
    """Resize the images and boxes of a batch."""
    height, width = batch.images.shape[2:]
    scale = batch.targets.boxes_xyxy.new_tensor([size_hw[1] / width, size_hw[0] / height] * 2)
    targets = replace(batch.targets, boxes_xyxy=batch.targets.boxes_xyxy * scale)
    images = resize(batch.images, list(size_hw), antialias=True)
    return Batch(images, targets)
