"""YOLOv5's loss against a slow float64 loop, and its edge cases."""

import math

import pytest
import torch

from detector.assigners import AnchorGrid, DecodedPredictions
from detector.heads.yolo import Detect
from detector.losses import YoloLoss
from detector.settings.heads import YoloLossSettings
from detector.structures.samples import Targets
from detector.utils.errors import DetectorError
from tests.losses.conftest import bce, ciou, sigmoid

ANCHORS = [[8.0, 8.0, 12.0, 20.0], [30.0, 24.0, 40.0, 50.0]]
STRIDES = (8, 16)
SIDE = 64


def make_loss(classes: int = 3, **settings: float | str) -> YoloLoss:
    head = Detect(classes, ANCHORS, c_in=[4, 4], strides=STRIDES)
    return YoloLoss(head, YoloLossSettings(**settings), side=SIDE)


def make_raw_outputs(classes: int = 3, batch: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(
            batch, 2, SIDE // s, SIDE // s, 5 + classes, generator=generator
        ).requires_grad_()
        for s in STRIDES
    ]


def make_targets(count: int, classes: int = 3) -> Targets:
    generator = torch.Generator().manual_seed(2)
    centres = torch.rand(count, 2, generator=generator) * SIDE
    halves = torch.rand(count, 2, generator=generator) * 20 + 2
    return Targets(
        torch.cat((centres - halves, centres + halves), 1),
        torch.randint(0, classes, (count,), generator=generator),
        torch.randint(0, 2, (count,), generator=generator),
    )


def by_cells(part: torch.Tensor, sizes_hw: list[tuple[int, int]]) -> torch.Tensor:
    """Order predictions by level, row, column, anchor."""
    levels = part.split([2 * height * width for height, width in sizes_hw], 1)
    return torch.cat(
        [
            level.unflatten(1, (2, height, width)).movedim(1, 3).flatten(1, 3)
            for level, (height, width) in zip(levels, sizes_hw, strict=True)
        ],
        1,
    )


def assigned(loss: YoloLoss, raw_outputs, targets: Targets) -> list[list[tuple[int, ...]]]:
    """Return image, anchor, row, column and target of each pair, by level."""
    sizes_hw = [(raw.shape[2], raw.shape[3]) for raw in raw_outputs]
    grid = AnchorGrid(loss.head.anchors_wh, STRIDES, sizes_hw)
    boxes_xyxy, scores = loss.head.decode(raw_outputs)
    # decode's order is level, anchor, row, column
    in_order = [by_cells(part, sizes_hw) for part in (boxes_xyxy, scores)]
    pairs = loss.assigner(targets, grid, DecodedPredictions(*in_order))
    level, y, x, anchor = grid.locate(pairs.prediction)
    fields = (pairs.image, anchor, y, x, pairs.target)
    found = list(zip(*(field.tolist() for field in fields), strict=True))
    return [[p for p, lv in zip(found, level.tolist(), strict=True) if lv == n] for n in (0, 1)]


def focal(logit: float, target: float) -> float:
    """Return arXiv 1708.02002, equation 5, with α = 0.25 and γ = 2, linear in the target."""
    p = sigmoid(logit)
    p_t = target * p + (1 - target) * (1 - p)
    return (target * 0.25 + (1 - target) * 0.75) * (1 - p_t) ** 2 * bce(logit, target)


def quality_focal(logit: float, target: float) -> float:
    """Return arXiv 2006.04388, equation 5, with β = 2."""
    return (target - sigmoid(logit)) ** 2 * bce(logit, target)


FOCAL = {"focal": focal, "qfl": quality_focal}


def slow_loss(
    loss: YoloLoss, raw_outputs, targets: Targets, smoothing: float, answer=bce
) -> dict[str, float]:
    """Compute YOLOv5's loss by plain loops in float64."""
    classes = loss.head.nc
    pairs = assigned(loss, raw_outputs, targets)
    total = {"loss_box": 0.0, "loss_objectness": 0.0, "loss_class": 0.0}
    for level, raw in enumerate(raw_outputs):
        target = torch.zeros(raw.shape[:4], dtype=torch.float64)
        box_terms, class_terms = [], []
        for i, a, y, x, t in pairs[level]:
            p = raw[i, a, y, x].double().tolist()
            aw, ah = loss.head.anchors_wh[level, a].tolist()
            cx = (2 * sigmoid(p[0]) - 0.5 + x) * STRIDES[level]
            cy = (2 * sigmoid(p[1]) - 0.5 + y) * STRIDES[level]
            w, h = (2 * sigmoid(p[2])) ** 2 * aw, (2 * sigmoid(p[3])) ** 2 * ah
            box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
            overlap = ciou(box, targets.boxes_xyxy[t].double().tolist())
            box_terms.append(1 - overlap)
            target[i, a, y, x] = max(float(target[i, a, y, x]), overlap, 0.0)
            for c in range(classes):
                wanted = 1 - smoothing / 2 if c == int(targets.class_ids[t]) else smoothing / 2
                wanted *= max(overlap, 0.0) if answer is quality_focal else 1
                class_terms.append(answer(p[5 + c], wanted))
        cells = zip(raw[..., 4].flatten().tolist(), target.flatten().tolist(), strict=True)
        objectness = [answer(logit, wanted) for logit, wanted in cells]
        # two levels: balance 4, 1; gains times 3 / 2; classes / 80; (64 / 640)²
        total["loss_objectness"] += (
            (4.0, 1.0)[level] * sum(objectness) / len(objectness) * 1.0 * 0.1**2 * 1.5
        )
        if box_terms:
            total["loss_box"] += sum(box_terms) / len(box_terms) * 0.05 * 1.5
        if class_terms and classes > 1:
            gain = 0.5 * classes / 80 * 1.5
            total["loss_class"] += sum(class_terms) / len(class_terms) * gain
    return total


@pytest.mark.parametrize("assigner", ["ratio", "simota", "aligned"])
@pytest.mark.parametrize(("count", "smoothing"), [(0, 0.0), (1, 0.0), (40, 0.0), (40, 0.1)])
def test_equal_to_a_slow_loop(count: int, smoothing: float, assigner: str):
    loss = make_loss(label_smoothing=smoothing, assigner=assigner)
    raw_outputs, targets = make_raw_outputs(), make_targets(count)
    found = loss(raw_outputs, targets)
    expected = slow_loss(loss, [m.detach() for m in raw_outputs], targets, smoothing)
    for name, value in expected.items():
        assert float(found[name].detach()) == pytest.approx(value, rel=2e-5, abs=1e-7), name


@pytest.mark.parametrize(
    ("levels", "weight"),
    [
        (1, 4.0 * 3),
        (2, (4.0 + 1.0) * 3 / 2),
        (3, 4.0 + 1.0 + 0.4),
        (4, (4.0 + 1.0 + 0.25 + 0.06) * 3 / 4),
        (5, (4.0 + 1.0 + 0.25 + 0.06 + 0.02) * 3 / 5),
    ],
)
def test_weights_of_levels(levels: int, weight: float):
    """Without targets, logits of 0 give a mean of ln 2 per level (640 pixels, a gain of 1)."""
    head = Detect(
        1, [[8.0, 8.0]] * levels, c_in=[4] * levels, strides=(8, 16, 32, 64, 128)[:levels]
    )
    raw_outputs = [torch.zeros(1, 1, 3, 5, 6) for _ in range(levels)]
    found = YoloLoss(head, YoloLossSettings(), side=640)(raw_outputs, make_targets(0))
    assert float(found["loss_objectness"]) == pytest.approx(weight * math.log(2), rel=1e-6)


def test_the_quality_that_objectness_learns_moves_no_box():
    """The IoU is a target of the objectness, as in YOLOv5, and is detached from the gradient."""
    raw_outputs, targets = make_raw_outputs(), make_targets(40)
    make_loss()(raw_outputs, targets)["loss_objectness"].backward()
    for raw in raw_outputs:
        assert raw.grad is not None
        assert not raw.grad[..., :4].any()
        assert not raw.grad[..., 5:].any()
        assert raw.grad[..., 4].all()


def test_more_levels_than_weights():
    head = Detect(1, [[8.0, 8.0]] * 6, c_in=[4] * 6, strides=(4, 8, 16, 32, 64, 128))
    with pytest.raises(DetectorError, match="weights for up to 5 levels, the head has 6"):
        YoloLoss(head, YoloLossSettings(), side=SIDE)


@pytest.mark.parametrize("name", ["focal", "qfl"])
def test_focal_losses_are_weighted_entropies(name: str):
    """Focal losses are BCE, term by term, times α_t (1 − p_t)², or times |y − σ|²."""
    raw_outputs, targets = make_raw_outputs(), make_targets(40)
    loss = make_loss(class_loss=name, objectness_loss=name)
    found = loss(raw_outputs, targets)
    expected = slow_loss(loss, [m.detach() for m in raw_outputs], targets, 0.0, FOCAL[name])
    for part, value in expected.items():
        assert float(found[part].detach()) == pytest.approx(value, rel=2e-5, abs=1e-7), part


def test_the_box_loss_is_one_minus_the_named_overlap():
    # The boxes of test_a_perfect_prediction_has_no_box_loss, IoU 1, 0, 0: side by side, 8 px apart.
    # DIoU: −64/320. GIoU: nothing is lost between them: 0. SIoU: Λ = 0, Δ = 1 − e^(−2 (8/16)²).
    targets = Targets(
        torch.tensor([[16.0, 16.0, 24.0, 24.0]]), torch.tensor([0]), torch.tensor([0])
    )
    head = Detect(3, [[8.0, 8.0]], c_in=[4], strides=(8,))
    sides = {"ciou": 0.2, "diou": 0.2, "giou": 0.0, "siou": (1 - math.exp(-0.5)) / 2}
    for name, penalty in sides.items():
        loss = YoloLoss(head, YoloLossSettings(box_loss=name), side=SIDE)
        found = loss([torch.zeros(1, 1, 8, 8, 8)], targets)["loss_box"]
        assert float(found) == pytest.approx(2 * (1 + penalty) / 3 * 0.15, rel=1e-5), name


def test_an_image_without_boxes_has_a_finite_loss_and_a_gradient():
    raw_outputs = make_raw_outputs()
    losses = make_loss()(raw_outputs, make_targets(0))
    sum(losses.values()).backward()
    assert float(losses["loss_box"]) == 0
    assert all(torch.isfinite(m.grad).all() and m.grad.abs().sum() > 0 for m in raw_outputs)


def test_one_class_needs_no_class_loss():
    losses = make_loss(classes=1)(make_raw_outputs(classes=1), make_targets(20, classes=1))
    assert float(losses["loss_class"]) == 0


def test_a_perfect_prediction_has_no_box_loss():
    # centre (20, 20) at stride 8 = (2.5, 2.5): the cells (2, 2), (3, 2), (2, 3). Raw zeros decode
    # to the cell's middle with the anchor's size: (20, 20) in the home cell, else 8 px off.
    targets = Targets(
        torch.tensor([[16.0, 16.0, 24.0, 24.0]]),
        torch.zeros(1, dtype=torch.int64),
        torch.zeros(1, dtype=torch.int64),
    )
    head = Detect(3, [[8.0, 8.0]], c_in=[4], strides=(8,))
    loss = YoloLoss(head, YoloLossSettings(), side=SIDE)
    raw = torch.zeros(1, 1, 8, 8, 8)
    # 8×8 boxes side by side: IoU 0, ρ² = 64, c² = 16² + 8² = 320 → CIoU = −0.2, twice.
    # mean(0, 1.2, 1.2) = 0.8; gain 0.05 · 3 levels
    assert float(loss([raw], targets)["loss_box"]) == pytest.approx(0.8 * 0.15, rel=1e-5)


def test_anchors_that_are_only_counted_cannot_be_trained():
    head = Detect(3, 3, c_in=[4, 4], strides=STRIDES)
    with pytest.raises(DetectorError, match=r"fit them first with `detector anchors"):
        YoloLoss(head, YoloLossSettings(), side=SIDE)
