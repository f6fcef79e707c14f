"""Mixup and copy-paste: two training examples of one size become one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detector.data.augment.transforms import Example, Generator
from detector.utils.opencv import cv2

MIXUP_BETA = 32.0
"""Both parameters of the Beta distribution of the blending weight, which concentrates near 1/2."""

MAX_COVERED = 0.3
"""Largest fraction of a box that all pasted boxes together may hide."""


def mixup(example: Example, other: Example, rng: Generator) -> Example:
    """Blend two images; all boxes stay (arXiv 1710.09412, for detection arXiv 1902.04103)."""
    weight = float(rng.beta(MIXUP_BETA, MIXUP_BETA))
    image = cv2.addWeighted(example.image, weight, other.image, 1 - weight, 0)
    return Example(
        np.asarray(image, np.uint8),
        np.concatenate((example.boxes_xyxy, other.boxes_xyxy)),
        np.concatenate((example.class_ids, other.class_ids)),
    )


def copy_paste(example: Example, other: Example, rng: Generator) -> Example:
    """Paste the boxes of another image at their own positions (arXiv 2012.07177, without masks).

    They are pasted in random order. A box is left out if it and those pasted before it would hide
    more than ``MAX_COVERED`` of any box, one of the image itself or a pasted one.
    """
    image = example.image.copy()
    layers = np.zeros(image.shape[:2], np.int32)  # 0: original pixels; n: pixels of the n-th paste
    boxes_px = whole_pixels(example.boxes_xyxy)
    layer_of = np.zeros(len(boxes_px), np.int32)
    pasted: list[int] = []
    patches = whole_pixels(other.boxes_xyxy)
    for index in rng.permutation(len(patches)):
        x1, y1, x2, y2 = patches[index]
        place, number = np.s_[y1:y2, x1:x2], len(pasted) + 1
        below = layers[place].copy()
        layers[place] = number
        touched = ((boxes_px[:, :2] < (x2, y2)) & (boxes_px[:, 2:] > (x1, y1))).all(1)
        pairs = zip(boxes_px[touched], layer_of[touched], strict=True)
        hidden = [hidden_part(layers, box_xyxy, layer) for box_xyxy, layer in pairs]
        if max(hidden, default=0.0) > MAX_COVERED:
            layers[place] = below
            continue
        image[place] = other.image[place]
        boxes_px = np.concatenate((boxes_px, patches[index : index + 1]))
        layer_of = np.append(layer_of, number)
        pasted.append(index)
    boxes_xyxy = np.concatenate((example.boxes_xyxy, other.boxes_xyxy[pasted]))
    class_ids = np.concatenate((example.class_ids, other.class_ids[pasted]))
    return replace(example, image=image, boxes_xyxy=boxes_xyxy, class_ids=class_ids)


def whole_pixels(boxes_xyxy: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the pixels that boxes touch: (n, 4) → (n, 4) x1, y1, x2, y2, end exclusive."""
    return np.concatenate((np.floor(boxes_xyxy[:, :2]), np.ceil(boxes_xyxy[:, 2:])), 1).astype(int)


def hidden_part(layers: NDArray[np.int32], box_xyxy: NDArray[np.int64], layer: int) -> float:
    """Return the fraction of a box's pixels that later pastes cover."""
    x1, y1, x2, y2 = box_xyxy
    return float((layers[y1:y2, x1:x2] > layer).mean())
