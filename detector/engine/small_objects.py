"""Count of the training objects that the network's input is too small to show."""

from __future__ import annotations

import math

from detector.data.augment.transforms import MIN_BOX_PIXELS
from detector.data.checks.sizes import shorter_sides
from detector.data.dataset import DetectionDataset
from detector.model.detector import Detector
from detector.structures.preprocess import imgsz_text


def small_objects(model: Detector, train_set: DetectionDataset) -> list[str]:
    """Return lines on objects of at most 2 pixels, and the smallest input that shows them.

    Augmentation drops such objects, so that nothing is learned from them.
    """
    height, width = model.preprocess.size_hw
    in_image, in_input = shorter_sides(train_set.samples, model.preprocess)
    is_small = in_input <= MIN_BOX_PIXELS
    if not is_small.any():
        return []
    can_grow = is_small & (in_image > MIN_BOX_PIXELS)
    line = (
        f"{is_small.sum()} of {len(in_input)} training objects are at most {MIN_BOX_PIXELS:g} px "
        f"wide or high in the input of {height}×{width} px and cannot be learned"
    )
    hopeless = int(is_small.sum() - can_grow.sum())
    if hopeless:
        line += f"; {hopeless} of them are as small in the images themselves"
    if can_grow.any() and model.fixed_size_hw is None:
        growth = MIN_BOX_PIXELS / float(in_input[can_grow].min())
        stride = model.max_stride
        larger_h, larger_w = (
            (math.floor(growth * side / stride) + 1) * stride for side in (height, width)
        )
        line += f"; --imgsz {imgsz_text((larger_h, larger_w))} is the smallest size that shows the "
        line += "other " * bool(hopeless)
        line += f"{can_grow.sum()}"
    return [line]
