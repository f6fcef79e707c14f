"""What each kind of head needs around it; trainer and tools ask here and know no head by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn

from detector.data.augment import class_transforms
from detector.data.augment.class_transforms import ClassAugment
from detector.data.augment.ssd_transforms import SsdAugment
from detector.data.dataset import DetectionDataset
from detector.data.loader import training_loader
from detector.evaluation.classification import ClassificationEvaluator
from detector.evaluation.coco import CocoEvaluator
from detector.evaluation.run import Evaluator
from detector.heads.classify import Classify
from detector.heads.ssd import SSDHead
from detector.heads.yolo import Detect
from detector.losses import ClassifyLoss, MultiBoxLoss, YoloLoss
from detector.model.detector import Detector
from detector.settings import AugmentSettings, LossSettings, TrainSettings
from detector.structures.preprocess import Preprocess
from detector.structures.samples import Targets
from detector.utils.errors import DetectorError


class Criterion(Protocol):
    """Raw outputs and targets → named losses, scalars that carry gradients; their sum is trained.

    They are means over the batch's images.
    """

    def __call__(self, raw_outputs: Any, targets: Targets) -> dict[str, Tensor]:
        """The losses of one batch."""
        ...


@dataclass(frozen=True)
class Task:
    """All that a head class brings along.

    Attributes:
        name: stands in checkpoints and exported files.
        criterion: model, settings → loss.
        evaluator: COCO truth, category ids by class, image ids → evaluator.
        loader: training images with their transforms, as batches for that preprocessing.
        figures: those of the evaluator that are printed and drawn; the first, the higher the
            better, chooses the best epoch.
        adds_up: whether an optimizer step takes the sum of the losses of its images, as YOLOv5's
            learning rates expect, or their mean.
        unused: names of settings that mean nothing here; whoever gives them is told.
    """

    name: str
    criterion: Callable[[Detector, LossSettings], Criterion]
    evaluator: Callable[[dict[str, Any], Sequence[int], Sequence[int]], Evaluator[Any]]
    loader: Callable[[DetectionDataset, Preprocess, TrainSettings], Any]
    figures: tuple[str, ...] = ("AP", "AP50")
    adds_up: bool = False
    unused: frozenset[str] = frozenset()


_TASKS: dict[type[nn.Module], Task] = {}


def register_task(head: type[nn.Module], task: Task) -> None:
    """Make a head class trainable; packages of others call this beside ``register``."""
    _TASKS[head] = task


def task_of(model: Detector) -> Task:
    """The task that a model's head decides.

    Raises:
        DetectorError: the head's class has no task.
    """
    for kind in type(model.head).__mro__:
        if kind in _TASKS:
            return _TASKS[kind]
    raise DetectorError(
        f"head {type(model.head).__name__!r} has no task: call detector.engine.tasks.register_task"
    )


def _yolo_criterion(model: Detector, settings: LossSettings) -> Criterion:
    assert isinstance(model.head, Detect)
    return YoloLoss(model.head, settings, side=max(model.preprocess.size_hw))


register_task(
    Detect,
    Task(
        name="detect",
        criterion=_yolo_criterion,
        evaluator=CocoEvaluator,
        loader=training_loader,
        adds_up=True,
    ),
)


_SSD_UNUSED = frozenset(AugmentSettings.model_fields) - {
    "augment",
    "fliplr",
    "albumentations",
} | frozenset(LossSettings.model_fields) - {"label_smoothing"}


def _multibox_criterion(model: Detector, settings: LossSettings) -> Criterion:
    assert isinstance(model.head, SSDHead)
    return MultiBoxLoss(model.head, settings)


register_task(
    SSDHead,
    Task(
        name="detect",
        criterion=_multibox_criterion,
        evaluator=CocoEvaluator,
        loader=partial(training_loader, augmentation=SsdAugment),
        unused=_SSD_UNUSED,
    ),
)


_CLASSIFY_UNUSED = (frozenset(AugmentSettings.model_fields) - class_transforms.USED) | (
    frozenset(LossSettings.model_fields) - {"label_smoothing"}
)


def _classify_criterion(model: Detector, settings: LossSettings) -> Criterion:
    return ClassifyLoss(settings)


register_task(
    Classify,
    Task(
        name="classify",
        criterion=_classify_criterion,
        evaluator=ClassificationEvaluator,
        loader=partial(training_loader, augmentation=ClassAugment),
        figures=("top1", "top5"),
        unused=_CLASSIFY_UNUSED,
    ),
)
