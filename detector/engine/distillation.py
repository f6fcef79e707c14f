"""Distillation: a trained network, the teacher, gives further targets for each training batch.

What of it is learned: its raw outputs (:mod:`detector.losses.distillation`), where both heads
encode boxes and scores alike, or the features that its head reads
(:mod:`detector.losses.channel_distillation`). The teacher sees the very same augmented images. It
is no part of the trained network, and neither are the 1×1 convolutions that map the network's
features to as many channels as the teacher's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from detector.engine.tasks import Criterion, Task, task_of
from detector.heads.head import hook
from detector.losses.channel_distillation import ChannelDistillation
from detector.losses.distillation import OutputDistillation
from detector.model.detector import Detector
from detector.settings.train import TrainSettings
from detector.settings.values import comma_list
from detector.utils.errors import DetectorError
from detector.weights.checkpoint import load

LevelPairs = Sequence[tuple[int, int]]
"""Levels of the network and of the teacher that have the same stride."""


class Lesson(NamedTuple):
    """Raw outputs of a teacher without those for training only, and the features its head read."""

    raw_outputs: Any
    features: list[Tensor]


class Distillation:
    """Loss between what a network and its teacher make of the same images.

    Args:
        teacher: trained network; it is put into eval mode, and its weights stay as they are.
        outputs: loss between raw outputs; None compares features.
        features: loss between features, whose weights are trained; without levels for outputs.
        gain: weight of the loss.
        digest: of the teacher's file, which a resumed run must find again.
        description: line that says what is learned.
    """

    def __init__(
        self,
        teacher: Detector,
        outputs: OutputDistillation | None,
        features: ChannelDistillation,
        gain: float,
        digest: str,
        description: str,
    ) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.outputs = outputs
        self.features = features
        self.gain = gain
        self.digest = digest
        self.description = description

    @torch.no_grad()
    def lesson(self, images: Tensor) -> Lesson:
        """Return what the teacher makes of (b, 3, h, w) uint8 images; b may be 0."""
        with head_inputs(self.teacher) as features:
            raw_outputs = self.teacher(self.teacher.normalize(images))
        return Lesson(hook(self.teacher.head, "inference_outputs")(raw_outputs), features)

    def __call__(
        self, raw_outputs: Any, features: Sequence[Tensor], lesson: Lesson
    ) -> dict[str, Tensor]:
        """Return the loss of a batch, a mean over its images.

        Args:
            raw_outputs: of the network that is trained.
            features: those that its head has read, from :func:`head_inputs`.
            lesson: the teacher's, for the same images.
        """
        if self.outputs is not None:
            loss = self.outputs(raw_outputs, lesson.raw_outputs)
        else:
            dtype = next(self.teacher.parameters()).dtype  # some may come in a short precision
            own, other = ([f.to(dtype) for f in one] for one in (features, lesson.features))
            loss = self.features(own, other)
        return {"loss_distillation": loss * self.gain}

    def to(self, device: torch.device) -> Distillation:
        """Move all weights to a device; return this object."""
        self.teacher.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.features.to(device)
        return self

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values for a checkpoint."""
        return {"teacher": self.digest, "features": self.features.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the weights.

        Raises:
            DetectorError: the teacher's file has changed.
        """
        if state["teacher"] != self.digest:
            raise DetectorError(
                "--teacher: the file has changed since the run was started; a run can only be "
                "resumed with the same teacher"
            )
        self.features.load_state_dict(state["features"])


@contextmanager
def head_inputs(model: Detector) -> Iterator[list[Tensor]]:
    """Collect the features that a network's head reads while it runs in this block."""
    found: list[Tensor] = []
    handle = model.head.register_forward_pre_hook(lambda _, inputs: found.extend(inputs[0]))
    try:
        yield found
    finally:
        handle.remove()


@dataclass(frozen=True)
class Teacher:
    """A network that fits the one to train, and what is learned of it.

    Attributes:
        network: the teacher.
        path: its file.
        levels: levels whose features are learned; None for raw outputs.
        learned: what is learned, in words.
    """

    network: Detector
    path: Path
    levels: LevelPairs | None
    learned: str

    @property
    def description(self) -> str:
        """Line that says what is learned of whom."""
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        return f"teacher {self.path.name}, {parameters:,} parameters: {self.learned}"


def open_teacher(settings: TrainSettings, student: Detector) -> Teacher | None:
    """Load the teacher that the settings name, if any, and decide what is learned of it.

    Args:
        settings: of the run.
        student: network to train.

    Raises:
        DetectorError: the teacher cannot be read, or does not fit the network.
    """
    path = settings.teacher
    if path is None:
        return None
    network = load(path).to(next(student.parameters()).dtype)
    try:
        _check(network, student, settings)
        issue = _other_outputs(network, student)
        if issue is not None and settings.distill == "outputs":
            raise DetectorError(f"--distill outputs: {issue}; --distill features fits any teacher")
        if issue is None and settings.distill != "features":
            return Teacher(network, path, None, "classes and boxes of its outputs")
        levels = _common_levels(network, student)
    except DetectorError as error:
        raise DetectorError(f"--teacher: {error.message}", file=path) from error
    strides = comma_list([str(network.strides[other]) for _, other in levels])
    reason = f", since {issue}" if settings.distill is None else ""
    return Teacher(network, path, levels, f"its features of stride {strides}{reason}")


def make_distillation(
    settings: TrainSettings, student: Detector, task: Task, criterion: Criterion
) -> Distillation | None:
    """Return the distillation that the settings ask for, or None.

    Args:
        settings: of the run.
        student: network to train.
        task: of its head.
        criterion: its loss.

    Raises:
        DetectorError: as :func:`open_teacher`.
    """
    teacher = open_teacher(settings, student)
    if teacher is None:
        return None
    network, levels = teacher.network, teacher.levels or ()
    channels = [(_channels(student, own), _channels(network, other)) for own, other in levels]
    dtype = next(network.parameters()).dtype
    outputs = None
    if teacher.levels is None and task.distillation is not None:
        outputs = task.distillation(criterion)
    return Distillation(
        network,
        outputs,
        ChannelDistillation(levels, channels, settings.seed).to(dtype),
        settings.distill_gain,
        hashlib.sha256(teacher.path.read_bytes()).hexdigest(),
        teacher.description,
    )


def _check(teacher: Detector, student: Detector, settings: TrainSettings) -> None:
    """Raise DetectorError unless the teacher has the student's classes and takes its batches."""
    for network, what in ((student, "the network"), (teacher, "it")):
        if network.task != "detect":
            raise DetectorError(f"{what} is a classifier, expected detectors")
    if teacher.names != student.names and settings.distill != "features":
        raise DetectorError(
            f"it has the classes {_shown(teacher.names)}, the data {_shown(student.names)}; with "
            "other classes only --distill features"
        )
    teacher.check_size(student.preprocess.size_hw)
    if getattr(settings, "multi_scale", 0):
        if teacher.fixed_size_hw is not None:
            raise DetectorError("it takes one input size only, found --multi-scale")
        if student.max_stride % teacher.max_stride:
            raise DetectorError(
                f"the sizes of --multi-scale are multiples of {student.max_stride}, its stride is "
                f"{teacher.max_stride}"
            )


def _other_outputs(teacher: Detector, student: Detector) -> str | None:
    """Return what makes the raw outputs of the two mean other things, in words, or None."""
    if task_of(type(student.head)).distillation is None:
        return f"{type(student.head).__name__} has no distillation of its outputs"
    if teacher.names != student.names:
        return "its classes are others"
    if teacher.strides != student.strides:
        found, expected = (", ".join(map(str, one.strides)) for one in (teacher, student))
        return f"its head has the strides {found}, the network's {expected}"
    own, other = student.decoding, teacher.decoding
    kinds = tuple(type(one.head).__name__ for one in (teacher, student))
    if own is None or type(own) is not type(other):
        return f"its head is {kinds[0]}, the network's {kinds[1]}"
    assert other is not None
    differing = [name for name, value in own if value != getattr(other, name)]
    return f"its head has other {comma_list(differing)} than the network's" if differing else None


def _common_levels(teacher: Detector, student: Detector) -> LevelPairs:
    """Return the levels of the same stride.

    Raises:
        DetectorError: there is none.
    """
    pairs = [
        (own, teacher.strides.index(stride))
        for own, stride in enumerate(student.strides)
        if stride in teacher.strides
    ]
    if not pairs:
        found, expected = (", ".join(map(str, one.strides)) for one in (teacher, student))
        raise DetectorError(
            f"its features have the strides {found}, the network's {expected}: none is the same"
        )
    return pairs


def _channels(model: Detector, level: int) -> int:
    return model.plan[model.plan[-1].sources[level]].channels


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown}, … ({len(names)})"
