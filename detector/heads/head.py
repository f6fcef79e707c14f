"""What a head can say about itself beyond its raw outputs; every hook has a default."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from detector.settings import EVAL_NMS, NmsSettings, TaskName


@dataclass(frozen=True)
class Adapted:
    """What a head makes of start weights that do not simply fit.

    Attributes:
        partly: tensors of its own shapes, by name, of which a part comes from the start weights.
        refused: names of tensors that would fit and must not be taken, with the reason.
    """

    partly: Mapping[str, Tensor] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


class Head(nn.Module):
    """Base of heads; a head overrides the hooks that it needs.

    ``forward`` takes a list of feature maps and returns raw outputs, the same in training and
    evaluation; ``decode`` makes of them ``boxes_xyxy`` (b, n, 4) in pixels of the input and scores
    (b, n, classes), or probabilities (b, classes) where ``task`` is ``classify``.

    A head of another package need not inherit from this class: :func:`hook` gives it the defaults.
    """

    task: TaskName = "detect"
    """What the network gives for an image."""

    eval_nms: NmsSettings = EVAL_NMS
    """NMS settings for measuring AP."""

    @property
    def anchor_sizes_wh(self) -> Tensor | None:
        """Anchors as (levels, anchors, 2) pixels; None for a head without."""
        return None

    def check_sizes(self, raw_outputs: Any) -> None:
        """Raise ValueError where raw outputs have sizes that the head's boxes are not made for."""

    def check_trainable(self) -> None:
        """Raise DetectorError while the head lacks something that training needs."""

    def inference_outputs(self, raw_outputs: Any) -> Any:
        """Return the raw outputs without those that exist in training only."""
        return raw_outputs

    def adapt(self, start: Mapping[str, Tensor], keep_fitted: bool) -> Adapted:
        """Take what fits in part of the start weights for this head, as with other classes.

        Args:
            start: tensors by their names inside the head.
            keep_fitted: whether what the model file fits to the data (anchors) stays.
        """
        return Adapted()

    def mark_loaded(self, names: Collection[str]) -> None:
        """Note that the tensors of these names, inside the head, came with weights."""


def hook(head: nn.Module, name: str) -> Any:
    """Return a hook of a head, or its default where the head's class has none.

    >>> hook(nn.Identity(), "task")
    'detect'
    """
    found = getattr(head, name, None)
    if found is not None:
        return found
    default = getattr(Head, name)
    if isinstance(default, property):
        return default.__get__(head)
    return partial(default, head) if callable(default) else default
