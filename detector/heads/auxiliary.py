"""Heads with a second head for training only, which deploying drops with the rows that feed it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from detector.heads.classes import ClassRows, SharedClasses
from detector.heads.distribution import GroupedDFLHead
from detector.heads.head import AUXILIARY, Adapted, Head, hook
from detector.heads.implicit import IDetect
from detector.heads.yolo import Detect
from detector.layers.shared_norm import fused_copy
from detector.registry import register
from detector.runtime.decoding.known import KnownDecoding
from detector.settings.nms import NmsSettings
from detector.settings.values import TaskName

MAIN = "main"


class AuxiliaryHead(Head):
    """Base class of two heads in one row, which reads the main head's levels, then the other's.

    ``forward`` gives ``{"main": …, "auxiliary": …}``, the raw outputs of both; only those of the
    main head are decoded. :meth:`fuse` keeps the main head.

    Args:
        main: head for inference.
        auxiliary: head that is used in training only, of as many levels.
    """

    auxiliary_weight: float = 0.25
    """Weight of the auxiliary head's losses."""

    def __init__(self, main: Head, auxiliary: Head) -> None:
        super().__init__()
        self.main = main
        self.auxiliary = auxiliary

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Both heads by their names."""
        return {MAIN: self.main, AUXILIARY: self.auxiliary}

    @property
    def task(self) -> TaskName:  # type: ignore[override]
        """Task of the main head."""
        found: TaskName = hook(self.main, "task")
        return found

    @property
    def eval_nms(self) -> NmsSettings:  # type: ignore[override]
        """NMS settings of the main head."""
        found: NmsSettings = hook(self.main, "eval_nms")
        return found

    @property
    def runs_in_float32(self) -> bool:  # type: ignore[override]
        """Full precision as the main head has it."""
        return bool(hook(self.main, "runs_in_float32"))

    @property
    def anchor_sizes_wh(self) -> Tensor | None:
        """Widths and heights of the main head's anchors, pixels, or None."""
        found: Tensor | None = hook(self.main, "anchor_sizes_wh")
        return found

    def inference_sources(self, count: int) -> int:
        """Return how many of the ``count`` features the main head reads."""
        return count // 2

    def forward(self, features: list[Tensor]) -> dict[str, Any]:
        """Return the raw outputs of both heads for their features."""
        half = self.inference_sources(len(features))
        return {MAIN: self.main(features[:half]), AUXILIARY: self.auxiliary(features[half:])}

    def inference_outputs(self, raw_outputs: Any) -> Any:
        """Return the main head's raw outputs; those of a fused head are nothing else."""
        return raw_outputs[MAIN] if isinstance(raw_outputs, dict) else raw_outputs

    def decode(self, raw_outputs: Any) -> Any:
        """Decode the main head's raw outputs."""
        return self.main.decode(raw_outputs[MAIN])  # type: ignore[operator]

    def decoding(self) -> KnownDecoding | None:
        """Return how :meth:`maps` encode the main head's boxes and scores."""
        found: KnownDecoding | None = hook(self.main, "decoding")()
        return found

    def maps(self, raw_outputs: Any) -> list[Tensor]:
        """Return the maps of the main head's raw outputs."""
        found: list[Tensor] = hook(self.main, "maps")(self.inference_outputs(raw_outputs))
        return found

    def check_sizes(self, raw_outputs: Any) -> None:
        """Raise ValueError if the boxes of either head do not fit the sizes of its raw outputs."""
        for name, head in self.parts.items():
            hook(head, "check_sizes")(raw_outputs[name])

    def check_trainable(self) -> None:
        """Raise DetectorError while either head lacks something that training needs."""
        for head in self.parts.values():
            hook(head, "check_trainable")()

    def class_rows(self, name: str) -> ClassRows | None:
        """Return which rows of a tensor of either head belong to which class."""
        part, _, inside = name.partition(".")
        found: ClassRows | None = hook(self.parts[part], "class_rows")(inside)
        return found

    def adapt(
        self, start: Mapping[str, Tensor], keep_fitted: bool, classes: SharedClasses | None
    ) -> Adapted:
        """Adapt the start weights of each head; see :meth:`Head.adapt`."""
        partly: dict[str, Tensor] = {}
        refused: dict[str, str] = {}
        for name, head in self.parts.items():
            own = _inside(start, name)
            adapted: Adapted = hook(head, "adapt")(own, keep_fitted, classes)
            partly |= {f"{name}.{inside}": tensor for inside, tensor in adapted.partly.items()}
            refused |= {f"{name}.{inside}": reason for inside, reason in adapted.refused.items()}
        return Adapted(partly, refused)

    def mark_loaded(self, names: Collection[str]) -> None:
        """Record which tensors of each head were loaded from weights."""
        for name, head in self.parts.items():
            hook(head, "mark_loaded")(_inside(dict.fromkeys(names), name).keys())

    def fuse(self) -> nn.Module:
        """Return the main head, fused."""
        return fused_copy(self.main)


def _inside(named: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return what is inside a part, by its names there."""
    start = f"{prefix}."
    return {n.removeprefix(start): value for n, value in named.items() if n.startswith(start)}


def _halves(values: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    if len(values) % 2 or not values:
        raise ValueError(
            f"reads as many rows for training only as for inference, found {len(values)} in all"
        )
    half = len(values) // 2
    return values[:half], values[half:]


@register(head=True)
class DualGroupedDFLHead(AuxiliaryHead):
    """YOLOv9's head and its auxiliary branch's, which reads the later half of the row's sources.

    Args:
        nc: number of classes.
        c_in: channels of each level, of the main head and of the auxiliary one.
        strides: strides of the same, pixels.
    """

    def __init__(self, nc: int, c_in: Sequence[int] = (), strides: Sequence[int] = ()) -> None:
        pairs = zip(_halves(c_in), _halves(strides), strict=True)
        main, auxiliary = (GroupedDFLHead(nc, c_in=c, strides=s) for c, s in pairs)
        super().__init__(main, auxiliary)


@register("IAuxDetect", head=True)
class IAuxDetect(AuxiliaryHead):
    """YOLOv7's head of its larger networks: IDetect, and Detect on the later half of the sources.

    Args:
        nc: number of classes.
        anchors: of both heads; see :class:`Detect`.
        c_in: channels of each level, of the main head and of the auxiliary one.
        strides: strides of the same, pixels.
    """

    def __init__(
        self,
        nc: int,
        anchors: int | list[list[float]],
        c_in: Sequence[int] = (),
        strides: Sequence[int] = (),
    ) -> None:
        (c_main, c_other), (s_main, s_other) = _halves(c_in), _halves(strides)
        super().__init__(
            IDetect(nc, anchors, c_main, s_main), Detect(nc, anchors, c_other, s_other)
        )
