"""RefineDet's loss against plain float64 loops, and its edge cases."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from detector.heads.refinedet import RefineDetHead
from detector.losses.refinedet import RefineDetLoss
from detector.settings.heads import LossSettings
from detector.structures.samples import Targets

SIDE, CLASSES = 64, 3
SIZES = ((8, 8), (4, 4))
Box = list[float]


def make_loss() -> RefineDetLoss:
    head = RefineDetHead(CLASSES, [12, 24], [[2], [2]], [8, 16], width=4, c_in=[4, 4], imgsz=SIDE)
    return RefineDetLoss(head, LossSettings())


def make_raw_outputs(batch: int, seed: int = 1) -> list[Tensor]:
    """Random outputs; objectness lies on both sides of 0.01, whose logit is −4.6."""
    generator = torch.Generator().manual_seed(seed)
    levels = []
    for size in SIZES:
        level = torch.randn(batch, *size, 3, 11 + CLASSES, generator=generator, dtype=torch.float64)
        level[..., 8] += 4
        levels.append(level.requires_grad_())
    return levels


def make_targets(counts: list[int], seed: int = 2) -> Targets:
    """Return targets with the given number of boxes in each image."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(counts)
    centres = torch.rand(total, 2, generator=generator) * SIDE
    halves = torch.rand(total, 2, generator=generator) * 10 + 2
    return Targets(
        torch.cat((centres - halves, centres + halves), 1),
        torch.randint(0, CLASSES, (total,), generator=generator),
        torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)),
    )


def overlap(a: Box, b: Box) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return w * h / (sum(areas) - w * h)


def slow_match(targets_xyxy: list[Box], boxes: list[Box]) -> list[int]:
    """Match each target to its best box, best pairs first, then boxes of IoU ≥ ½."""
    table = [[overlap(t, b) for b in boxes] for t in targets_xyxy]
    match = [-1] * len(boxes)
    for b in range(len(boxes)):
        for t in range(len(targets_xyxy)):
            if table[t][b] >= 0.5 and (match[b] < 0 or table[t][b] > table[match[b]][b]):
                match[b] = t
    pairs = [(table[t][b], -t, -b) for t in range(len(table)) for b in range(len(boxes))]
    taken_targets, taken_boxes = set(), set()
    for value, t, b in sorted(pairs, reverse=True):
        if value > 0 and t not in taken_targets and b not in taken_boxes:
            match[-b] = -t
            taken_targets.add(t)
            taken_boxes.add(b)
    return match


def moved(box: Box, offsets: Box) -> Box:
    """Equation of SSD with variances 0.1 and 0.2."""
    w, h = box[2] - box[0], box[3] - box[1]
    x = (box[0] + box[2]) / 2 + 0.1 * offsets[0] * w
    y = (box[1] + box[3]) / 2 + 0.1 * offsets[1] * h
    w, h = w * math.exp(0.2 * offsets[2]), h * math.exp(0.2 * offsets[3])
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def slow_stage(
    offsets: list[Box],
    logits: list[Box],
    anchors: list[Box],
    targets_xyxy: list[Box],
    class_ids: list[int],
    usable: list[bool],
) -> tuple[float, float, int]:
    """Return box loss, class loss and the number of positives of one image and one stage."""
    box_loss = class_loss = 0.0
    negatives, positives = [], 0
    for o, values, anchor, t, may in zip(
        offsets, logits, anchors, slow_match(targets_xyxy, anchors), usable, strict=True
    ):
        wanted = 0 if t < 0 else class_ids[t] + 1
        entropy = math.log(sum(math.exp(v) for v in values)) - values[wanted]
        if t < 0:
            negatives += [entropy] if may else []
            continue
        positives += 1
        class_loss += entropy
        target, w, h = targets_xyxy[t], anchor[2] - anchor[0], anchor[3] - anchor[1]
        wanted_offsets = [
            ((target[0] + target[2]) - (anchor[0] + anchor[2])) / 2 / w / 0.1,
            ((target[1] + target[3]) - (anchor[1] + anchor[3])) / 2 / h / 0.1,
            math.log((target[2] - target[0]) / w) / 0.2,
            math.log((target[3] - target[1]) / h) / 0.2,
        ]
        for found, expected in zip(o, wanted_offsets, strict=True):
            d = abs(found - expected)
            box_loss += 0.5 * d * d if d < 1 else d - 0.5
    class_loss += sum(sorted(negatives, reverse=True)[: 3 * max(positives, 1)])
    return box_loss, class_loss, positives


def slow_loss(raw_outputs: list[Tensor], defaults: list[Box], targets: Targets) -> dict[str, float]:
    first, second = [0.0, 0.0, 0], [0.0, 0.0, 0]
    for image in range(len(raw_outputs[0])):
        raw = torch.cat([level[image].flatten(0, 2) for level in raw_outputs]).tolist()
        mine = [i for i in range(len(targets)) if int(targets.image_index[i]) == image]
        boxes = [targets.boxes_xyxy[i].double().tolist() for i in mine]
        ids = [int(targets.class_ids[i]) for i in mine]
        refined = [moved(box, one[:4]) for box, one in zip(defaults, raw, strict=True)]
        hard = [1 / (1 + math.exp(one[8] - one[9])) >= 0.01 for one in raw]
        stages = (
            (first, 0, 8, 10, defaults, [0] * len(ids), [True] * len(raw)),
            (second, 4, 10, None, refined, ids, hard),
        )
        for sums, at, begin, end, anchors, class_ids, usable in stages:
            offsets = [one[at : at + 4] for one in raw]
            logits = [one[begin:end] for one in raw]
            parts = slow_stage(offsets, logits, anchors, boxes, class_ids, usable)
            for index, part in enumerate(parts):
                sums[index] += part
    return {
        "loss_refine_box": first[0] / max(first[2], 1),
        "loss_objectness": first[1] / max(first[2], 1),
        "loss_box": second[0] / max(second[2], 1),
        "loss_class": second[1] / max(second[2], 1),
    }


@pytest.mark.parametrize("counts", [[0], [1], [0, 0], [3, 0, 5], [100], [20, 1]], ids=str)
def test_equal_to_a_slow_loop(counts: list[int]) -> None:
    loss, raw_outputs, targets = make_loss(), make_raw_outputs(len(counts)), make_targets(counts)
    defaults = loss.head.default_boxes(raw_outputs).tolist()
    found = loss(raw_outputs, targets)
    expected = slow_loss([m.detach() for m in raw_outputs], defaults, targets)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, abs=1e-6), name


def test_easy_negatives_are_not_mined() -> None:
    """Of the background only the two boxes whose objectness is not below 0.01 are counted."""
    loss = make_loss()
    raw_outputs = [torch.zeros(1, *size, 3, 14) for size in SIZES]
    for level in raw_outputs:
        level[..., 8] = 4.6  # objectness 0.00995
    raw_outputs[0][0, 0, 0, :2, 8] = 4.59  # 0.01005
    found = loss(raw_outputs, make_targets([0]))
    assert float(found["loss_class"]) == pytest.approx(2 * math.log(4), rel=1e-6)
    # The first stage mines three: objectness 0.01005 costs −ln 0.98995, the third box less.
    expected = -2 * math.log(1 - 0.0100493) - math.log(1 - 0.0099502)
    assert float(found["loss_objectness"]) == pytest.approx(expected, rel=1e-3)


def test_a_positive_counts_whatever_its_objectness() -> None:
    loss = make_loss()
    raw_outputs = [torch.zeros(1, *size, 3, 14) for size in SIZES]
    for level in raw_outputs:
        level[..., 8] = 20
    box = loss.head.default_boxes(raw_outputs)[120][None]
    found = loss(raw_outputs, Targets(box, torch.tensor([1]), torch.tensor([0])))
    # No negative is left; each positive costs ln 4.
    assert float(found["loss_class"]) == pytest.approx(math.log(4), rel=1e-6)


def test_the_second_stage_matches_refined_boxes() -> None:
    """A box that the first stage moved onto the target needs no further offsets."""
    loss = make_loss()
    loss.assigner.threshold = 0.99
    raw_outputs = [torch.zeros(1, *size, 3, 14) for size in SIZES]
    default = loss.head.default_boxes(raw_outputs)[3 * (3 * 8 + 4)]
    # 12 pixels wide, moved by 0.1 · 2 · 12 = 2.4 pixels to the right
    raw_outputs[0][0, 3, 4, 0, 0] = 2
    target = (default + torch.tensor([2.4, 0, 2.4, 0]))[None]
    found = loss(raw_outputs, Targets(target, torch.tensor([1]), torch.tensor([0])))
    assert float(found["loss_box"]) == pytest.approx(0, abs=1e-10)
    assert float(found["loss_refine_box"]) == pytest.approx(0, abs=1e-10)


def test_the_second_stage_leaves_the_first_alone() -> None:
    raw_outputs = make_raw_outputs(2)
    losses = make_loss()(raw_outputs, make_targets([3, 4]))
    (losses["loss_box"] + losses["loss_class"]).backward()
    for level in raw_outputs:
        assert level.grad is not None
        assert not level.grad[..., :4].any()
        assert not level.grad[..., 8:10].any()
    assert any(level.grad[..., 4:8].any() for level in raw_outputs if level.grad is not None)


def test_images_without_boxes_have_a_finite_loss_and_a_gradient() -> None:
    raw_outputs = make_raw_outputs(2)
    losses = make_loss()(raw_outputs, make_targets([0, 0]))
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert float(losses["loss_box"]) == float(losses["loss_refine_box"]) == 0
    assert float(losses["loss_class"]) > 0
    assert all(torch.isfinite(m.grad).all() for m in raw_outputs if m.grad is not None)
