"""A batch split among processes gives the losses and gradients of the entire batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from detector.heads.distribution import DFLHead
from detector.heads.refinedet import RefineDetHead
from detector.heads.ssd import SSDHead
from detector.heads.yolo import Detect
from detector.heads.yolov6 import YOLOv6Head
from detector.heads.yolox import YOLOXHead
from detector.losses import (
    ClassifyLoss,
    DistributionLoss,
    MultiBoxLoss,
    RefineDetLoss,
    YoloLoss,
    YoloxLoss,
)
from detector.settings.heads import (
    DistributionLossSettings,
    LossSettings,
    YoloLossSettings,
    YoloxLossSettings,
)
from detector.structures.samples import Targets

IMAGES, CLASSES, SIDE = 5, 3, 64
LOSSES = ("yolo", "yolox", "distribution", "distances", "multibox", "refinedet", "classify")


def make(name: str) -> tuple[Callable[..., dict[str, Tensor]], Any]:
    """Return a loss, and raw outputs in float64 for it."""
    torch.manual_seed(0)
    if name == "yolo":
        head = Detect(CLASSES, [[8, 8, 16, 24], [24, 24, 48, 40]], [8, 8], [8, 16])
        shapes = [(IMAGES, 2, SIDE // s, SIDE // s, 5 + CLASSES) for s in (8, 16)]
        return YoloLoss(head, YoloLossSettings(), SIDE), [random_raw(shape) for shape in shapes]
    if name == "yolox":
        point_head = YOLOXHead(CLASSES, 8, c_in=[8, 8], strides=[8, 16])
        shapes = [(IMAGES, SIDE // s, SIDE // s, 5 + CLASSES) for s in (8, 16)]
        settings = YoloxLossSettings(l1_gain=1.0)
        return YoloxLoss(point_head, settings), [random_raw(shape) for shape in shapes]
    if name == "distribution":
        dfl_head = DFLHead(CLASSES, 4, c_in=[8, 8], strides=[8, 16])
        shapes = [(IMAGES, SIDE // s, SIDE // s, 16 + CLASSES) for s in (8, 16)]
        loss = DistributionLoss(dfl_head, DistributionLossSettings())
        return loss, [random_raw(shape) for shape in shapes]
    if name == "distances":
        v6_head = YOLOv6Head(CLASSES, c_in=[8, 8], strides=[8, 16])
        shapes = [(IMAGES, SIDE // s, SIDE // s, 4 + CLASSES) for s in (8, 16)]
        distances = DistributionLoss(v6_head, DistributionLossSettings())
        return distances, [random_raw(shape) for shape in shapes]
    if name == "multibox":
        sides = [[10, 20], [20, 40]]
        ssd = SSDHead(CLASSES, sides, [[2], [2]], [8, 16], c_in=[8, 8], imgsz=SIDE)
        shapes = [(IMAGES, SIDE // s, SIDE // s, 4, 5 + CLASSES) for s in (8, 16)]
        return MultiBoxLoss(ssd, LossSettings()), [random_raw(shape) for shape in shapes]
    if name == "refinedet":
        refined = RefineDetHead(
            CLASSES, [12, 24], [[2], [2]], [8, 16], width=8, c_in=[8, 8], imgsz=SIDE
        )
        shapes = [(IMAGES, SIDE // s, SIDE // s, 3, 11 + CLASSES) for s in (8, 16)]
        return RefineDetLoss(refined, LossSettings()), [random_raw(shape) for shape in shapes]
    return ClassifyLoss(LossSettings()), [random_raw((IMAGES, CLASSES))]


def random_raw(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def targets_of(images: range, per_image: int) -> Targets:
    """Return the targets of some images, numbered as in a batch of their own."""
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(IMAGES, per_image, 2, generator=generator) * 30
    sizes = 6 + torch.rand(IMAGES, per_image, 2, generator=generator) * 26
    class_ids = torch.randint(CLASSES, (IMAGES, per_image), generator=generator)
    chosen = torch.tensor(list(images), dtype=torch.long)
    boxes_xyxy = torch.cat((corners, corners + sizes), -1)[chosen].flatten(0, 1)
    index = torch.arange(len(images)).repeat_interleave(per_image)
    return Targets(boxes_xyxy, class_ids[chosen].flatten(), index)


class FakeAllReduce:
    """Simulated all_reduce_sum: records each process's summands first, then returns their sums."""

    def __init__(self) -> None:
        self.parts: list[list[Tensor]] = []
        self.sums: list[Tensor] = []

    def __call__(self, values: Tensor) -> Tensor:
        if self.sums:
            self.sums.append(self.sums.pop(0))
            return self.sums[-1]
        self.parts[-1].append(values.detach().clone())
        return values


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("processes", [2, 3, 7])
def test_shares_add_up(name: str, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 7 processes that share 5 images, two have none."""
    loss, raw = make(name)
    per_image = 1 if name == "classify" else 3
    whole = loss(as_raw_outputs(name, raw), targets_of(range(IMAGES), per_image))
    expected = torch.autograd.grad(torch.stack(list(whole.values())).sum(), raw)

    all_reduce = FakeAllReduce()
    module = "detector.losses.multibox" if name == "refinedet" else type(loss).__module__
    monkeypatch.setattr(f"{module}.all_reduce_sum", all_reduce)
    shares = [range(rank, IMAGES, processes) for rank in range(processes)]
    for share in shares:
        all_reduce.parts.append([])
        loss(
            as_raw_outputs(name, [level[list(share)] for level in raw]),
            targets_of(share, per_image),
        )
    all_reduce.sums = [torch.stack(parts).sum(0) for parts in zip(*all_reduce.parts, strict=True)]
    parts = [
        loss(
            as_raw_outputs(name, [level[list(share)] for level in raw]),
            targets_of(share, per_image),
        )
        for share in shares
    ]
    for key, value in whole.items():
        found = float(sum(part[key].detach() for part in parts))
        assert found == pytest.approx(float(value.detach()), rel=1e-12)
    gradients = torch.autograd.grad(sum(sum(part.values()) for part in parts), raw)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def as_raw_outputs(name: str, levels: list[Tensor]) -> Any:
    return {"logits": levels[0]} if name == "classify" else levels
