"""Two training examples of one size into one: mixup, copy-paste."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detector.data.transforms import Example, Generator
from detector.opencv import cv2

MIXUP_BETA = 32.0
"""Both parameters of the distribution of the share: near one half, both images stay visible."""

MAX_COVERED = 0.3
"""Largest part of a box that a pasted one may cover."""


def mixup(example: Example, other: Example, rng: Generator) -> Example:
    """Blend two images; all boxes stay (arXiv 1710.09412, for detection arXiv 1902.04103)."""
    share = float(rng.beta(MIXUP_BETA, MIXUP_BETA))
    image = cv2.addWeighted(example.image, share, other.image, 1 - share, 0)
    return Example(
        np.asarray(image, np.uint8),
        np.concatenate((example.boxes_xyxy, other.boxes_xyxy)),
        np.concatenate((example.class_ids, other.class_ids)),
    )


def copy_paste(example: Example, other: Example, rng: Generator) -> Example:
    """Paste the boxes of another image where they lie (after arXiv 2012.07177, without masks).

    They are taken in random order; one that would cover more than ``MAX_COVERED`` of a box, or of
    one pasted before, is left out.
    """
    image = example.image.copy()
    boxes_xyxy = example.boxes_xyxy
    pasted = []
    for index in rng.permutation(len(other.boxes_xyxy)):
        box_xyxy = other.boxes_xyxy[index]
        if covered(boxes_xyxy, box_xyxy).max(initial=0) > MAX_COVERED:
            continue
        x1, y1 = np.floor(box_xyxy[:2]).astype(int)
        x2, y2 = np.ceil(box_xyxy[2:]).astype(int)
        image[y1:y2, x1:x2] = other.image[y1:y2, x1:x2]
        boxes_xyxy = np.concatenate((boxes_xyxy, box_xyxy[None]))
        pasted.append(index)
    class_ids = np.concatenate((example.class_ids, other.class_ids[pasted]))
    return replace(example, image=image, boxes_xyxy=boxes_xyxy, class_ids=class_ids)


def covered(boxes_xyxy: NDArray[np.float32], by_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 4), (4,) → (n,) part of each box that the other one covers."""
    left_top = np.maximum(boxes_xyxy[:, :2], by_xyxy[:2])
    right_bottom = np.minimum(boxes_xyxy[:, 2:], by_xyxy[2:])
    sizes = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    common = np.maximum(right_bottom - left_top, 0)
    return np.asarray(common.prod(1) / sizes.prod(1), np.float32)
