"""Pictures of ground truth and of detections, and grids of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.data.cache import shrink
from detector.settings.nms import NmsSettings
from detector.structures.detections import Detections
from detector.structures.samples import Sample
from detector.utils.opencv import Image

COLUMNS = 4
SIDE = 480
"""Longest side of an image within a picture, pixels."""
CONFIDENCE = NmsSettings().confidence
"""Lowest score of a box that is drawn; the default of ``detect``."""


def pair(
    sample: Sample,
    results: Sequence[Mapping[str, Any]],
    category_ids: Sequence[int],
    names: tuple[str, ...],
    lowest: float = CONFIDENCE,
) -> Image:
    """Draw an image twice: with its ground truth (left), and with the boxes found (right).

    Args:
        sample: the image.
        results: its boxes, in COCO's results format.
        category_ids: category id of each class.
        names: of the classes.
        lowest: lowest score of a box that is drawn.
    """
    image = sample.read_image()
    truth = with_ground_truth(image, sample.boxes_xyxy, sample.class_ids, names)
    found = found_boxes(results, category_ids, names, lowest).draw(image)
    return np.concatenate((truth, found), axis=1)


def with_ground_truth(
    image_rgb: Image,
    boxes_xyxy: NDArray[np.float32],
    class_ids: NDArray[np.int64],
    names: tuple[str, ...],
) -> Image:
    """Return a copy of the image with the ground truth drawn."""
    certain = np.ones(len(class_ids), np.float32)
    return Detections(boxes_xyxy, certain, class_ids, names).draw(image_rgb, scores=False)


def found_boxes(
    results: Sequence[Mapping[str, Any]],
    category_ids: Sequence[int],
    names: tuple[str, ...],
    lowest: float = CONFIDENCE,
) -> Detections:
    """Convert the COCO results of an image to Detections worth drawing, best first."""
    class_of = {category: number for number, category in enumerate(category_ids)}
    shown = sorted((r for r in results if r["score"] >= lowest), key=lambda r: -r["score"])
    boxes_xywh = np.array([r["bbox"] for r in shown], np.float32).reshape(-1, 4)
    return Detections(
        np.concatenate((boxes_xywh[:, :2], boxes_xywh[:, :2] + boxes_xywh[:, 2:]), 1),
        np.array([r["score"] for r in shown], np.float32),
        np.array([class_of[r["category_id"]] for r in shown], np.int64),
        names,
    )


def grid(images: Sequence[Image], columns: int = COLUMNS, side: int = SIDE) -> Image:
    """Arrange images in a grid, each at most ``side`` pixels large, on a dark background."""
    small = [shrink(image, (side, side)) for image in images]
    height = max(image.shape[0] for image in small)
    width = max(image.shape[1] for image in small)
    columns = min(columns, len(small))
    rows = -(-len(small) // columns)
    canvas = np.full((rows * height, columns * width, 3), 40, np.uint8)
    for number, image in enumerate(small):
        top, left = number // columns * height, number % columns * width
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    return canvas
