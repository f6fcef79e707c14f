"""What each kind of head needs around it; trainer and tools ask here and know no head by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from detector.data.dataset import DetectionDataset
from detector.data.loader import training_loader
from detector.errors import DetectorError
from detector.evaluation.coco import CocoEvaluator
from detector.graph import Detector
from detector.heads.yolo import Detect
from detector.losses import YoloLoss
from detector.preprocess import Preprocess
from detector.runtime.nms import Nms
from detector.settings import LossSettings, TrainSettings
from detector.structures import Targets
from detector.torch_backend import torch_nms


class Criterion(Protocol):
    """Raw maps and targets → named losses, scalars that carry gradients; their sum is trained."""

    def __call__(self, maps: Any, targets: Targets) -> dict[str, Tensor]:
        """The losses of one batch."""
        ...


@dataclass(frozen=True)
class Task:
    """All that a head class brings along.

    Attributes:
        name: stands in checkpoints and exported files.
        criterion: model, settings → loss.
        postprocess: suppression of the decoded boxes.
        evaluator: COCO truth, category ids by class, image ids → evaluator.
        loader: training images with their transforms, as batches.
        preprocess: input size (h, w) → specification, for a model that has none stored.
    """

    name: str
    criterion: Callable[[Detector, LossSettings], Criterion]
    postprocess: Nms
    evaluator: Callable[[dict[str, Any], Sequence[int], Sequence[int]], CocoEvaluator]
    loader: Callable[[DetectionDataset, tuple[int, int], TrainSettings], Any]
    preprocess: Callable[[tuple[int, int]], Preprocess]


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
        f"head {type(model.head).__name__!r} has no task: call detector.tasks.register_task"
    )


def _yolo_criterion(model: Detector, settings: LossSettings) -> Criterion:
    assert isinstance(model.head, Detect)
    return YoloLoss(model.head, settings, side=max(model.preprocess.size_hw))


register_task(
    Detect,
    Task(
        name="detect",
        criterion=_yolo_criterion,
        postprocess=torch_nms,
        evaluator=CocoEvaluator,
        loader=training_loader,
        preprocess=lambda size_hw: Preprocess(size_hw=size_hw),
    ),
)
