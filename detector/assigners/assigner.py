"""Interfaces of assigners: from points and decoded predictions to pairs; anchors are optional."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

from detector.assigners.assignment import Assignment
from detector.structures.points import Points
from detector.structures.samples import Targets

PointsT_contra = TypeVar("PointsT_contra", bound=Points, contravariant=True)
"""Type of points that a rule accepts: ``Points``, or ``AnchorGrid`` if the rule needs anchors."""


class Predictions(Protocol):
    """Predictions of a batch, which the head decodes for the pairs that an assigner asks for."""

    def all_classes(self, pairs: Assignment) -> tuple[Tensor, Tensor]:
        """Return (k, 4) boxes_xyxy in pixels and (k, classes) scores in 0..1."""
        ...

    def one_class(self, pairs: Assignment, class_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return (k, 4) boxes_xyxy in pixels and (k,) scores, each of one class given per pair."""
        ...


@dataclass(frozen=True)
class DecodedPredictions:
    """Predictions of a head that decodes all of them at once.

    Attributes:
        boxes_xyxy: (b, n, 4) pixels of the network's input.
        scores: (b, n, classes) in 0..1.
    """

    boxes_xyxy: Tensor
    scores: Tensor

    def all_classes(self, pairs: Assignment) -> tuple[Tensor, Tensor]:
        """Return boxes and the scores of all classes; see :class:`Predictions`."""
        at = pairs.image, pairs.prediction
        return self.boxes_xyxy[at], self.scores[at]

    def one_class(self, pairs: Assignment, class_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return boxes and the scores of (k,) classes; see :class:`Predictions`."""
        at = pairs.image, pairs.prediction
        return self.boxes_xyxy[at], self.scores[pairs.image, pairs.prediction, class_ids]


class CandidateRule(Protocol[PointsT_contra]):
    """Rule that finds the candidate predictions of each target, by their places only."""

    def __call__(self, targets: Targets, points: PointsT_contra, /) -> Assignment:
        """Return pairs of a batch's targets and their candidates; no pair occurs twice.

        Args:
            targets: m boxes in pixels of the input.
            points: places of the predictions.
        """
        ...


class Assigner(Protocol[PointsT_contra]):
    """Assigner of a batch's targets to predictions."""

    def __call__(
        self, targets: Targets, points: PointsT_contra, predictions: Predictions, /
    ) -> Assignment:
        """Assign a batch's targets; no pair occurs twice.

        Args:
            targets: m boxes in pixels of the input.
            points: places of the predictions.
            predictions: decoded predictions, for assigners that use boxes and scores.
        """
        ...
