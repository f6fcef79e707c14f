"""SSD's loss against plain float64 loops, and its edge cases."""

import math

import pytest
import torch

from detector.heads.ssd import SSDHead
from detector.losses.multibox import MultiBoxLoss, hard_negatives
from detector.settings.heads import LossSettings
from detector.structures.samples import Targets

SIDE, CLASSES = 64, 3
SIZES = ((8, 8), (4, 4))
BOXES = (4, 6)


def make_loss(**settings: float) -> MultiBoxLoss:
    head = SSDHead(CLASSES, [[10, 20], [20, 40]], [[2], [2, 3]], [8, 16], c_in=[4, 4], imgsz=SIDE)
    return MultiBoxLoss(head, LossSettings(**settings))


def make_raw_outputs(batch: int, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(
            batch, *size, k, 4 + 1 + CLASSES, generator=generator, dtype=torch.float64
        ).requires_grad_()
        for size, k in zip(SIZES, BOXES, strict=True)
    ]


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


def overlap(a: list[float], b: list[float]) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return w * h / (sum(areas) - w * h)


def slow_match(targets_xyxy: list[list[float]], boxes: list[list[float]]) -> list[int]:
    """Match each target to its best box, best pairs first, then boxes of IoU ≥ ½ (section 2.2)."""
    table = [[overlap(t, b) for b in boxes] for t in targets_xyxy]
    match = [-1] * len(boxes)
    for b in range(len(boxes)):
        for t in range(len(targets_xyxy)):
            better = match[b] < 0 or table[t][b] > table[match[b]][b]
            if table[t][b] >= 0.5 and better:
                match[b] = t
    free_targets, free_boxes = set(range(len(targets_xyxy))), set(range(len(boxes)))
    while free_targets and free_boxes:
        t, b = max(
            ((t, b) for t in free_targets for b in free_boxes),
            key=lambda pair: (table[pair[0]][pair[1]], -pair[0], -pair[1]),
        )
        if table[t][b] <= 0:
            break
        match[b] = t
        free_targets.remove(t)
        free_boxes.remove(b)
    return match


def slow_loss(raw_outputs: list[torch.Tensor], boxes: list[list[float]], targets: Targets):
    """Compute equations 1 to 3 with hard negative mining, box by box."""
    batch = raw_outputs[0].shape[0]
    box_loss = class_loss = 0.0
    positives = 0
    for image in range(batch):
        raw = torch.cat([level[image].flatten(0, 2) for level in raw_outputs]).tolist()
        mine = [i for i in range(len(targets)) if int(targets.image_index[i]) == image]
        targets_xyxy = [targets.boxes_xyxy[i].double().tolist() for i in mine]
        match = slow_match(targets_xyxy, boxes)
        negatives = []
        for values, box, t in zip(raw, boxes, match, strict=True):
            logits = values[4:]
            wanted = 0 if t < 0 else int(targets.class_ids[mine[t]]) + 1
            entropy = math.log(sum(math.exp(v) for v in logits)) - logits[wanted]
            if t < 0:
                negatives.append(entropy)
                continue
            class_loss += entropy
            target = targets_xyxy[t]
            w, h = box[2] - box[0], box[3] - box[1]
            offsets = [
                ((target[0] + target[2]) / 2 - (box[0] + box[2]) / 2) / w / 0.1,
                ((target[1] + target[3]) / 2 - (box[1] + box[3]) / 2) / h / 0.1,
                math.log((target[2] - target[0]) / w) / 0.2,
                math.log((target[3] - target[1]) / h) / 0.2,
            ]
            for found, expected in zip(values[:4], offsets, strict=True):
                d = abs(found - expected)
                box_loss += 0.5 * d * d if d < 1 else d - 0.5
        count = len(boxes) - len(negatives)
        positives += count
        class_loss += sum(sorted(negatives, reverse=True)[: 3 * max(count, 1)])
    divisor = max(positives, 1)
    return {"loss_box": box_loss / divisor, "loss_class": class_loss / divisor}


@pytest.mark.parametrize("counts", [[0], [1], [0, 0], [3, 0, 5], [100], [20, 1]], ids=str)
def test_equal_to_a_slow_loop(counts: list[int]):
    loss, raw_outputs, targets = make_loss(), make_raw_outputs(len(counts)), make_targets(counts)
    boxes = loss.head.default_boxes(raw_outputs).tolist()
    found = loss(raw_outputs, targets)
    expected = slow_loss([m.detach() for m in raw_outputs], boxes, targets)
    for name, value in expected.items():
        assert float(found[name]) == pytest.approx(value, abs=1e-6), name


def test_ties_in_mining_change_nothing():
    """Equal logits give every background box the loss ln 4."""
    loss, targets = make_loss(), make_targets([2])
    raw_outputs = [torch.zeros(1, *size, k, 8) for size, k in zip(SIZES, BOXES, strict=True)]
    # positives + 3 negatives each, over the positives: 4 ln 4
    assert float(loss(raw_outputs, targets)["loss_class"]) == pytest.approx(
        4 * math.log(4), rel=1e-6
    )


def test_two_targets_of_one_place_get_a_box_each():
    box = torch.tensor([[20.0, 20.0, 30.0, 30.0]] * 2)
    targets = Targets(box, torch.tensor([0, 1]), torch.zeros(2, dtype=torch.int64))
    loss = make_loss()
    default = loss.head.default_boxes(make_raw_outputs(1))
    match = loss.assigner(targets, default, 1)
    assert {0, 1} <= set(match.unique().tolist())


def test_images_without_boxes_have_a_finite_loss_and_a_gradient():
    raw_outputs = make_raw_outputs(2)
    losses = make_loss()(raw_outputs, make_targets([0, 0]))
    sum(losses.values()).backward()
    assert float(losses["loss_box"]) == 0
    assert float(losses["loss_class"]) > 0
    assert all(torch.isfinite(m.grad).all() for m in raw_outputs)
    # 3 boxes of each image are mined
    touched = sum(int((m.grad.abs().sum(-1) > 0).sum()) for m in raw_outputs)
    assert touched == 6


def test_perfect_offsets_have_no_box_loss():
    """A target that equals a default box has offsets 0; no other box has an IoU of 1 with it."""
    loss = make_loss()
    loss.assigner.threshold = 1.0
    raw_outputs = [torch.zeros(1, *size, k, 8) for size, k in zip(SIZES, BOXES, strict=True)]
    box = loss.head.default_boxes(raw_outputs)[200][None]
    targets = Targets(box, torch.tensor([1]), torch.tensor([0]))
    assert float(loss(raw_outputs, targets)["loss_box"]) == 0
    raw_outputs[0][0, 6, 2, 0, 0] = 3  # box 200 = (6 · 8 + 2) · 4: smooth L1 of 3 is 2.5
    assert float(loss(raw_outputs, targets)["loss_box"]) == 2.5


def test_hard_negatives_by_hand():
    losses = torch.tensor([[9.0, 1, 5, 3, 4, 2, 8], [1, 2, 3, 4, 5, 6, 7]])
    positive = torch.zeros(2, 7, dtype=torch.bool)
    positive[0, 0] = True
    # The first image has one positive, the second none: three of the largest each
    assert hard_negatives(losses, positive).int().tolist() == [
        [0, 0, 1, 0, 1, 0, 1],
        [0, 0, 0, 0, 1, 1, 1],
    ]


def test_more_positives_than_negatives():
    losses, positive = torch.ones(1, 5), torch.tensor([[True, True, True, False, False]])
    assert hard_negatives(losses, positive).tolist() == [[False, False, False, True, True]]
