"""Evaluation sets small enough to count by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from detector.evaluation.analysis.matches import Matches, match
from detector.evaluation.coco import CocoEvaluator

Row = tuple[Any, ...]
MakeMatches = Callable[..., Matches]


def evaluator(
    objects: Sequence[Row],
    boxes: Sequence[Row],
    images: Sequence[int] = (1, 2, 3),
    names: Sequence[Any] = ("cat", "dog"),
) -> CocoEvaluator:
    """Return an evaluator with results.

    Args:
        objects: (image, category, bbox) or (image, category, bbox, crowd); categories count from 1.
        boxes: (image, category, bbox, score).
        images: their ids.
        names: of categories 1, 2, …; each is shown as text.
    """
    ids = tuple(range(1, len(names) + 1))
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": list(bbox),
            "area": bbox[2] * bbox[3],
            "iscrowd": int(crowd[0]) if crowd else 0,
        }
        for number, (image, category, bbox, *crowd) in enumerate(objects, 1)
    ]
    ground_truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 200, "height": 200} for i in images],
        "categories": [{"id": i, "name": str(name)} for i, name in zip(ids, names, strict=True)],
        "annotations": annotations,
    }
    found = CocoEvaluator(ground_truth, ids, images)
    found.results = [
        {"image_id": image, "category_id": category, "bbox": list(bbox), "score": score}
        for image, category, bbox, score in boxes
    ]
    return found


@pytest.fixture(scope="session")
def make_evaluator() -> Callable[..., CocoEvaluator]:
    return evaluator


@pytest.fixture(scope="session")
def make_matches() -> MakeMatches:
    return lambda *args, **options: match(evaluator(*args, **options))
