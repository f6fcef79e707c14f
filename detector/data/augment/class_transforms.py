"""Training transforms of classifiers: random resized crop, flips, color jitter.

The crop is Inception's (arXiv 1409.4842, section 6), by torchvision; the color jitter is that of
:mod:`detector.data.augment.transforms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from detector.data.augment.seeding import torch_seeded_by
from detector.data.augment.transforms import (
    Example,
    Generator,
    Mixing,
    further_transforms,
    jitter_colors,
)
from detector.settings.heads import ClassAugmentSettings
from detector.structures.preprocess import Preprocess

CROP_RATIOS = (3 / 4, 4 / 3)
"""Range by which a crop is wider than the input's shape, as in Inception's crop for square ones."""


class ClassAugment:
    """Augmentation of images with one class; a call draws all randomness from its generator.

    Args:
        settings: ``scale``, the largest part by which a crop's side is shorter than the image's
            (0.5: at least a quarter of the area; 0: the whole image); probabilities of flips;
            color jitter; further transforms.
        preprocess: gives the input's size.
    """

    mixing = Mixing()
    source_scale = 2
    """Images are cached at twice the input's size, since crops are enlarged."""

    def __init__(self, settings: ClassAugmentSettings, preprocess: Preprocess) -> None:
        self.settings = settings
        self.further = further_transforms(settings.albumentations, preprocess.size_hw)
        height, width = preprocess.size_hw
        self.corners = np.array([[0, 0, width, height]], np.float32)
        self.compose = v2.Compose(
            [
                v2.RandomResizedCrop(
                    preprocess.size_hw,
                    scale=((1 - settings.scale) ** 2, 1),
                    ratio=tuple(ratio * width / height for ratio in CROP_RATIOS),
                ),
                v2.RandomHorizontalFlip(settings.fliplr),
                v2.RandomVerticalFlip(settings.flipud),
            ]
        )

    def __call__(self, examples: Sequence[Example], rng: Generator) -> Example:
        """Return a training example from one image, whose object fills the image."""
        (example,) = examples
        image = tv_tensors.Image(torch.from_numpy(example.image).permute(2, 0, 1))
        with torch_seeded_by(rng):
            crop = self.compose(image).permute(1, 2, 0).numpy()
        recolored = jitter_colors(np.ascontiguousarray(crop), self.settings, rng)
        result = Example(recolored, self.corners, example.class_ids)
        # The image keeps its class even where a further transform moves or drops the box.
        return (
            result
            if self.further is None
            else replace(result, image=self.further(result, rng).image)
        )
