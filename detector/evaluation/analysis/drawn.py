"""Pictures of the worst images, and of probably wrong labels."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.data.cache import shrink
from detector.evaluation.analysis.analysis import Analysis
from detector.evaluation.analysis.label_errors import LabelError
from detector.evaluation.evaluation_set import EvaluationSet
from detector.evaluation.pictures import SIDE, pair
from detector.structures.samples import Sample
from detector.utils.drawing import draw_boxes
from detector.utils.opencv import Image, read_image

FALSE_POSITIVES, MISSED, LOCALISATION = "false positives", "missed objects", "localisation"

SMALLEST_CROP = 240
"""Smallest side of the part of an image around a label, pixels."""

Drawn = tuple[Image, str]
"""A picture and its caption."""


def drawn_worst_images(
    analysis: Analysis, evaluation_set: EvaluationSet, count: int
) -> dict[str, list[Drawn]]:
    """Draw the worst images of each kind, ground truth (left) beside the boxes found (right)."""
    dataset = evaluation_set.dataset
    samples = {sample.image_id: sample for sample in dataset.samples}
    results: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for result in evaluation_set.evaluator.results:
        results[result["image_id"]].append(result)

    def draw(image_id: int) -> Image:
        ids, names, lowest = dataset.category_ids, dataset.names, analysis.confidence
        picture = pair(samples[image_id], results[image_id], ids, names, lowest)
        return shrink(picture, (2 * SIDE, 2 * SIDE))

    worst = analysis.worst
    kinds = {
        FALSE_POSITIVES: worst.false_positives,
        MISSED: worst.missed,
        LOCALISATION: worst.localisation,
    }
    return {
        kind: [
            (draw(one.image_id), f"{analysis.files[one.image_id]}: {one.count} {kind}")
            for one in images[:count]
        ]
        for kind, images in kinds.items()
    }


def drawn_label_errors(
    analysis: Analysis, evaluation_set: EvaluationSet, count: int
) -> list[Drawn]:
    """Draw the most suspicious labels, each with the box that was found."""
    samples = {sample.image_id: sample for sample in evaluation_set.dataset.samples}
    return [
        (_around(samples[one.image_id], one), f"{analysis.files[one.image_id]}: {_says(one)}")
        for one in analysis.label_errors[:count]
    ]


def _says(error: LabelError) -> str:
    names = filter(None, (error.label_class, error.predicted_class))
    return f"{error.kind}, {' → '.join(names)}, {error.suspicion:.2f}"


def _around(sample: Sample, error: LabelError) -> Image:
    """Draw the part of an image around a label, twice as large as its boxes."""
    rows = []
    if error.label_class is not None:
        rows.append((error.box_xyxy, f"label: {error.label_class}"))
    if error.predicted_box_xyxy is not None:
        rows.append((error.predicted_box_xyxy, f"{error.predicted_class} {error.score:.2f}"))
    boxes: NDArray[np.float32] = np.array([box for box, _ in rows], np.float32)
    start, end = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    half = np.maximum(end - start, SMALLEST_CROP / 2)
    middle, limits = (start + end) / 2, np.array(sample.size_hw[::-1])
    left, top = np.clip(middle - half, 0, limits).astype(int).tolist()
    right, bottom = np.clip(middle + half, 0, limits).astype(int).tolist()
    part = read_image(sample.path)[top:bottom, left:right]
    moved = boxes - np.array([left, top, left, top], np.float32)
    colours = np.arange(2 - len(rows), 2)  # a label has the first colour, what is found the second
    if error.predicted_box_xyxy is None:
        colours = np.zeros(1, np.int64)
    return draw_boxes(part, moved, colours, [text for _, text in rows])
