"""Base class of heads: hooks with defaults, by which a head describes itself to other rooms."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from detector.heads.classes import ClassRows, SharedClasses
from detector.runtime.decoding.known import KnownDecoding
from detector.settings.nms import EVAL_NMS, NmsSettings
from detector.settings.values import TaskName

AUXILIARY = "auxiliary"
"""Key of those raw outputs that are used in training only."""


@dataclass(frozen=True)
class Adapted:
    """Start weights as a head adapted them, where they do not fit tensor by tensor.

    Attributes:
        partly: tensors in the head's own shapes, by name, that take some values from the start
            weights and keep the others.
        refused: names of tensors that fit in shape but must not be taken, with the reason.
    """

    partly: Mapping[str, Tensor] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


class Head(nn.Module):
    """Base class of heads; a head overrides the hooks that it needs.

    ``forward`` takes a list of features and returns raw outputs, the same in training and
    evaluation. ``decode`` turns them into ``boxes_xyxy`` (b, n, 4) in pixels of the input and
    scores (b, n, classes), or into probabilities (b, classes) if ``task`` is ``classify``.

    A head of another package need not inherit from this class: :func:`hook` gives it the defaults.
    """

    task: TaskName = "detect"
    """Task that the head solves: detection or classification."""

    eval_nms: NmsSettings = EVAL_NMS
    """NMS settings for evaluating AP."""

    runs_in_float32: bool = True
    """Run the whole head in full precision inside an autocast region.

    The side of a box grows with its raw value: the 8 significant bits of bfloat16 would round the
    side of a large box by whole pixels. A head with hidden layers keeps them in the short
    precision, and uses :func:`in_float32` for its last ones.
    """

    @property
    def anchor_sizes_wh(self) -> Tensor | None:
        """Widths and heights of anchors, (levels, anchors, 2) pixels; None for other heads."""
        return None

    def check_sizes(self, raw_outputs: Any) -> None:
        """Raise ValueError if the head's boxes do not fit the sizes of its raw outputs."""

    def check_trainable(self) -> None:
        """Raise DetectorError while the head lacks something that training needs."""

    def inference_sources(self, count: int) -> int:
        """Return how many of the ``count`` features, from the first, inference needs.

        Deploying drops the others, and the rows that nothing else reads.
        """
        return count

    def inference_outputs(self, raw_outputs: Any) -> Any:
        """Return the raw outputs without those that are used in training only."""
        return raw_outputs

    def decoding(self) -> KnownDecoding | None:
        """Return how :meth:`maps` encode boxes and scores, for decoding without torch.

        None, for other heads, lets :meth:`decode` decode all predictions.
        """
        return None

    def maps(self, raw_outputs: Any) -> list[Tensor]:
        """Return raw outputs as one map (b, channels, h, w) per level; see :meth:`decoding`."""
        raise NotImplementedError

    def class_rows(self, name: str) -> ClassRows | None:
        """Return which rows of a tensor belong to which class; None for tensors without classes.

        Args:
            name: name of the tensor inside the head.
        """
        return None

    def adapt(
        self, start: Mapping[str, Tensor], keep_fitted: bool, classes: SharedClasses | None
    ) -> Adapted:
        """Adapt start weights that fit in part only, as those of a head for other classes do.

        Args:
            start: tensors of the start weights by their names inside the head.
            keep_fitted: keep values of the model file that are fitted to the data, such as anchors.
            classes: classes of the start weights in this head, by their names; None if the classes
                are the same in the same order, or the names of either side are unknown.
        """
        if classes is None:
            return Adapted()
        find_rows = hook(self, "class_rows")
        found = {
            name: rows.mixed(start[name], own, classes)
            for name, own in self.state_dict().items()
            if name in start and (rows := find_rows(name)) is not None
        }
        return Adapted({name: mixed for name, mixed in found.items() if mixed is not None})

    def mark_loaded(self, names: Collection[str]) -> None:
        """Record which of the head's tensors were loaded from weights, by their names in it."""


def in_float32(module: nn.Module, inputs: Tensor | list[Tensor]) -> Any:
    """Run a module on inputs in full precision, even inside an autocast region."""
    device = (inputs if isinstance(inputs, Tensor) else inputs[0]).device.type
    if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
        return module(inputs)
    with torch.autocast(device, enabled=False):
        if isinstance(inputs, Tensor):
            return module(inputs.float())
        return module([tensor.float() for tensor in inputs])


def hook(head: nn.Module, name: str) -> Any:
    """Return a head's attribute or method, or :class:`Head`'s default if the head has none.

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
