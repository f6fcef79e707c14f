"""Pictures of training examples and of detections on validation images."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from detector.data.loader import ExampleKey
from detector.engine.callbacks import Callback, Epoch, Start, Step
from detector.engine.run import Record
from detector.evaluation.coco import CocoEvaluator
from detector.evaluation.curves import confusion, precision_by_recall
from detector.evaluation.pictures import SIDE, grid, pair, with_ground_truth
from detector.evaluation.plots import plot_confusion, plot_curves
from detector.structures.samples import Sample
from detector.utils.opencv import Image, write_image

logger = logging.getLogger(__name__)

TRAINING_PICTURES = 3
"""Number of optimizer steps whose examples are drawn: enough to see wrong labels."""
TRAINING_IMAGES = 16
VALIDATION_IMAGES = 6


class TrainingPictures(Callback):
    """Draws ``train_1.jpg``, …: the examples of the first steps as the network sees them."""

    def on_start(self, start: Start) -> None:
        self.start = start

    def on_step(self, step: Step) -> None:
        path = self.start.folder / f"train_{step.number}.jpg"
        if step.number <= TRAINING_PICTURES and not path.exists():
            write_image(path, grid([self._drawn(key) for key in step.keys[:TRAINING_IMAGES]]))

    def _drawn(self, key: ExampleKey) -> Image:
        example = self.start.train_set[key]
        names = self.start.val_set.names
        return with_ground_truth(example.image, example.boxes_xyxy, example.class_ids, names)


class ValidationPictures(Callback):
    """Draws ``val_best.jpg``: ground truth (left) beside detections of the best epoch."""

    def on_start(self, start: Start) -> None:
        self.start = start
        self.images = _spread(start.val_set.samples, VALIDATION_IMAGES)

    def on_epoch(self, epoch: Epoch) -> None:
        if epoch.results and epoch.record["epoch"] == epoch.best_epoch:
            write_image(
                self.start.folder / "val_best.jpg",
                grid([self._pair(sample, epoch.results) for sample in self.images], 2, 2 * SIDE),
            )

    def _pair(self, sample: Sample, results: Sequence[Mapping[str, Any]]) -> Image:
        data = self.start.val_set
        own = [result for result in results if result["image_id"] == sample.image_id]
        return pair(sample, own, data.category_ids, data.names)


class Curves(Callback):
    """Draws ``precision_recall.png`` and ``confusion.png`` of the best epoch, at the end."""

    def __init__(self) -> None:
        self.results: Sequence[Mapping[str, Any]] = ()
        self.without = "the best epoch was in an earlier part of this run"

    def on_start(self, start: Start) -> None:
        self.start = start

    def on_epoch(self, epoch: Epoch) -> None:
        if epoch.record["epoch"] == epoch.best_epoch:
            self.results = epoch.results
            self.without = "the best epoch found no boxes"

    def on_end(self, history: Sequence[Record]) -> None:
        if not self.results:
            logger.info("no precision_recall.png, confusion.png: %s", self.without)
            return
        data, folder = self.start.val_set, self.start.folder
        image_ids = [sample.image_id for sample in data.samples]
        evaluator = CocoEvaluator(data.ground_truth(), data.category_ids, image_ids)
        evaluator.results = [dict(result) for result in self.results]
        plot_curves(precision_by_recall(evaluator), folder / "precision_recall.png")
        plot_confusion(*confusion(evaluator), folder / "confusion.png")


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Pick that many samples, evenly from first to last."""
    places = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)
    return [samples[place] for place in places]
