"""Tasks: everything a head brings along, so that trainer and tools know no head by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from torch import Tensor, nn

from detector.data.augment.class_transforms import ClassAugment
from detector.data.augment.ssd_transforms import SsdAugment
from detector.data.dataset import DetectionDataset, letterboxed_sizes
from detector.data.loader import training_loader
from detector.engine.multi_scale import MultiScale
from detector.evaluation.classification import ClassificationEvaluator
from detector.evaluation.coco import CocoEvaluator
from detector.evaluation.run import Evaluator
from detector.heads.anchors import best_possible_recall
from detector.heads.auxiliary import AuxiliaryHead, DualGroupedDFLHead, IAuxDetect
from detector.heads.classify import Classify
from detector.heads.distribution import DFLHead, DistanceHead
from detector.heads.head import hook
from detector.heads.ppyoloe import PPYOLOEHead
from detector.heads.refinedet import RefineDetHead
from detector.heads.ssd import SSDHead
from detector.heads.yolo import Detect
from detector.heads.yolov6 import YOLOv6Head
from detector.heads.yolox import YOLOXHead
from detector.losses import (
    AuxiliaryLoss,
    ClassifyLoss,
    DistributionLoss,
    MultiBoxLoss,
    RefineDetLoss,
    YoloLoss,
    YoloxLoss,
)
from detector.losses.distillation import (
    DistanceDistillation,
    MainDistillation,
    OutputDistillation,
    YoloDistillation,
    YoloxDistillation,
)
from detector.model.detector import Detector
from detector.registry import load_entry_points
from detector.settings.heads import (
    AugmentSettings,
    ClassifyTraining,
    DetectTraining,
    DistributionLossSettings,
    DistributionTraining,
    LossSettings,
    SsdTraining,
    YoloLossSettings,
    YoloxLossSettings,
    YoloxTraining,
)
from detector.settings.train import TrainSettings
from detector.structures.preprocess import Preprocess, imgsz_text
from detector.structures.samples import Batch, Targets
from detector.utils.errors import DetectorError
from detector.utils.yaml_file import Strict

ENOUGH_RECALL = 0.98
"""Best possible recall below which a hint says how to fit anchors; they never change silently."""


class Criterion(Protocol):
    """Loss function: raw outputs and targets → named scalar losses, whose sum is minimized.

    They are means over the batch's images.
    """

    def __call__(self, raw_outputs: Any, targets: Targets) -> dict[str, Tensor]:
        """Return the losses of one batch."""
        ...


Resize = Callable[[Batch, int, int], Batch]
"""Function from batch, epoch and number of the batch to the batch at its training size."""


def _keep_size(model: Detector, settings: Any) -> Resize:
    return lambda batch, epoch, number: batch


def _no_hints(model: Detector, train_set: DetectionDataset, settings: Any) -> list[str]:
    return []


@dataclass(frozen=True)
class Task:
    """Everything that a head class brings along for training and evaluation.

    Attributes:
        name: stands in checkpoints and exported files.
        criterion: head, height and width of the input, settings → loss.
        evaluator: COCO truth, category ids by class, image ids → evaluator.
        loader: training images with their transforms, as batches for that preprocessing.
        metrics: those of the evaluator that are printed and drawn; the first, the higher the
            better, chooses the best epoch.
        adds_up: whether an optimizer step takes the sum of the losses of its images, as YOLOv5's
            learning rates expect, or their mean.
        settings: what the head lets people choose, beside what every training has; an instance of
            both in one is what ``criterion``, ``loader``, ``resize`` and ``hints`` get.
        distillation: criterion → loss between raw outputs and those of a teacher; None without.
        resize: model, settings → what changes the size of each training batch.
        hints: model, training images, settings → lines to say before the first epoch.
        recipe: preset that ``--preset auto`` starts from, ``train/ssd``; None: the one for most
            heads, by start weights and number of images.
    """

    name: str
    criterion: Callable[[Any, tuple[int, int], Any], Criterion]
    evaluator: Callable[[dict[str, Any], Sequence[int], Sequence[int]], Evaluator[Any]]
    loader: Callable[[DetectionDataset, Preprocess, Any], Any]
    metrics: tuple[str, ...] = ("AP", "AP50")
    adds_up: bool = False
    settings: type[Strict] = AugmentSettings
    distillation: Callable[[Any], OutputDistillation] | None = None
    resize: Callable[[Detector, Any], Resize] = _keep_size
    hints: Callable[[Detector, DetectionDataset, Any], list[str]] = _no_hints
    recipe: str | None = None


_TASKS: dict[type[nn.Module], Task] = {}


def register_task(head: type[nn.Module], task: Task) -> None:
    """Make a head class trainable; packages of others call this beside ``register``.

    Raises:
        DetectorError: a setting of the head has the name of one that every training has.
    """
    taken = sorted(task.settings.model_fields.keys() & TrainSettings.model_fields.keys())
    if taken:
        raise DetectorError(
            f"head {head.__name__!r} declares the setting {taken[0]!r}, which every training has"
        )
    _TASKS[head] = task


def trainable_heads() -> dict[str, Task]:
    """Return the tasks by the names of their head classes, those of installed packages too."""
    load_entry_points()
    return {head.__name__: task for head, task in _TASKS.items()}


def task_of(head: type[nn.Module]) -> Task:
    """Return the task of a head class, or of the nearest class that it inherits from.

    Raises:
        DetectorError: it has none.
    """
    for kind in head.__mro__:
        if kind in _TASKS:
            return _TASKS[kind]
    raise DetectorError(f"head {head.__name__!r} has no task: call detector.register_task")


# ---------------------------------------------------------------------------------------- Detect


def _yolo_criterion(
    head: Detect, size_hw: tuple[int, int], settings: YoloLossSettings
) -> Criterion:
    return YoloLoss(head, settings, side=math.sqrt(math.prod(size_hw)))


def _multi_scale(model: Detector, settings: Any) -> MultiScale:
    return MultiScale(
        size_hw=model.preprocess.size_hw,
        stride=model.max_stride,
        fraction=settings.multi_scale,
        seed=settings.seed,
        until_epoch=settings.epochs - settings.close_mixing,
    )


def _anchor_recall(model: Detector, train_set: DetectionDataset, settings: Any) -> list[str]:
    """Say how many training boxes the anchors can match, and which command fits better ones."""
    anchors_wh = hook(model.head, "anchor_sizes_wh")
    size_hw = model.preprocess.size_hw
    sizes_wh = letterboxed_sizes(train_set, size_hw)
    if not len(sizes_wh):
        return []
    recall = best_possible_recall(
        sizes_wh, anchors_wh.reshape(-1, 2).numpy(), settings.anchor_ratio
    )
    lines = [f"anchors: best possible recall {recall:.4f} of {len(sizes_wh)} training boxes"]
    if recall < ENOUGH_RECALL:
        words = f"--cfg {settings.cfg or 'FILE'} --data {settings.data}"
        words += f" --imgsz {imgsz_text(size_hw)}"
        if "anchor_ratio" in settings.model_fields_set:
            words += f" --anchor-ratio {settings.anchor_ratio}"
        lines.append(
            f"hint: detector anchors {words} fits others; write its line into the model file"
        )
    return lines


register_task(
    Detect,
    Task(
        name="detect",
        criterion=_yolo_criterion,
        evaluator=CocoEvaluator,
        loader=training_loader,
        adds_up=True,
        settings=DetectTraining,
        distillation=YoloDistillation,
        resize=_multi_scale,
        hints=_anchor_recall,
    ),
)


def with_auxiliary(task: Task) -> Task:
    """Return the task of an AuxiliaryHead from that of its heads."""

    def criterion(head: AuxiliaryHead, size_hw: tuple[int, int], settings: Any) -> Criterion:
        main, auxiliary = (task.criterion(one, size_hw, settings) for one in head.parts.values())
        return AuxiliaryLoss(main, auxiliary, head.auxiliary_weight)

    def distillation(criterion: AuxiliaryLoss) -> OutputDistillation:
        assert task.distillation is not None
        return MainDistillation(task.distillation(criterion.main))

    return replace(task, criterion=criterion, distillation=task.distillation and distillation)


register_task(IAuxDetect, with_auxiliary(task_of(Detect)))


# ------------------------------------------------------------------------------------- YOLOXHead


def _yolox_criterion(
    head: YOLOXHead, size_hw: tuple[int, int], settings: YoloxLossSettings
) -> Criterion:
    return YoloxLoss(head, settings)


register_task(
    YOLOXHead,
    Task(
        name="detect",
        criterion=_yolox_criterion,
        evaluator=CocoEvaluator,
        loader=training_loader,
        settings=YoloxTraining,
        distillation=YoloxDistillation,
        resize=_multi_scale,
    ),
)


# ---------------------------------------------------------------------------------- DistanceHead


def _distribution_criterion(
    head: DistanceHead, size_hw: tuple[int, int], settings: DistributionLossSettings
) -> Criterion:
    return DistributionLoss(head, settings)


for _head in (DFLHead, YOLOv6Head, PPYOLOEHead):
    register_task(
        _head,
        Task(
            name="detect",
            criterion=_distribution_criterion,
            evaluator=CocoEvaluator,
            loader=training_loader,
            adds_up=True,
            settings=DistributionTraining,
            distillation=DistanceDistillation,
            resize=_multi_scale,
        ),
    )


register_task(DualGroupedDFLHead, with_auxiliary(task_of(DFLHead)))


# --------------------------------------------------------------------------------------- SSDHead


def _multibox_criterion(
    head: SSDHead, size_hw: tuple[int, int], settings: LossSettings
) -> Criterion:
    return MultiBoxLoss(head, settings)


register_task(
    SSDHead,
    Task(
        name="detect",
        criterion=_multibox_criterion,
        evaluator=CocoEvaluator,
        loader=partial(training_loader, augmentation=SsdAugment),
        settings=SsdTraining,
        recipe="train/ssd",
    ),
)


# --------------------------------------------------------------------------------- RefineDetHead


def _refinedet_criterion(
    head: RefineDetHead, size_hw: tuple[int, int], settings: LossSettings
) -> Criterion:
    return RefineDetLoss(head, settings)


register_task(RefineDetHead, replace(task_of(SSDHead), criterion=_refinedet_criterion))


# -------------------------------------------------------------------------------------- Classify


def _classify_criterion(
    head: Classify, size_hw: tuple[int, int], settings: LossSettings
) -> Criterion:
    return ClassifyLoss(settings)


register_task(
    Classify,
    Task(
        name="classify",
        criterion=_classify_criterion,
        evaluator=ClassificationEvaluator,
        loader=partial(training_loader, augmentation=ClassAugment),
        metrics=("top1", "top5"),
        settings=ClassifyTraining,
    ),
)
