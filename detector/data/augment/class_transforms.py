"""A classifier's training transforms: a random part of the image, flips, colours.

The part is Inception's (arXiv 1409.4842, section 6), by torchvision; colours change as they do in a
detector's training.
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
    jitter_colours,
)
from detector.settings import ClassAugmentSettings
from detector.structures.preprocess import Preprocess


class ClassAugment:
    """The random changes of training, all drawn from the generator that a call is given.

    Args:
        settings: ``scale`` is how much smaller than the image the sides of the part may be: 0.5
            takes a quarter of its area at least, 0 all of it. Flips, colours, further transforms.
        preprocess: the input's size.
    """

    mixing = Mixing()
    source_scale = 2
    """Images are kept this many times larger than the input: a part of them is enlarged."""

    def __init__(self, settings: ClassAugmentSettings, preprocess: Preprocess) -> None:
        self.settings = settings
        self.further = further_transforms(settings.albumentations, preprocess.size_hw)
        height, width = preprocess.size_hw
        self.corners = np.array([[0, 0, width, height]], np.float32)
        self.compose = v2.Compose(
            [
                v2.RandomResizedCrop(preprocess.size_hw, scale=((1 - settings.scale) ** 2, 1)),
                v2.RandomHorizontalFlip(settings.fliplr),
                v2.RandomVerticalFlip(settings.flipud),
            ]
        )

    def __call__(self, examples: Sequence[Example], rng: Generator) -> Example:
        """One training example from one image; its object is the whole of it."""
        (example,) = examples
        image = tv_tensors.Image(torch.from_numpy(example.image).permute(2, 0, 1))
        with torch_seeded_by(rng):
            part = self.compose(image).permute(1, 2, 0).numpy()
        coloured = jitter_colours(np.ascontiguousarray(part), self.settings, rng)
        result = Example(coloured, self.corners, example.class_ids)
        # Whatever becomes of the object's box, the image keeps its class.
        return (
            result
            if self.further is None
            else replace(result, image=self.further(result, rng).image)
        )
