"""Classification loss, by hand."""

import math

import pytest
import torch

from detector.losses import ClassifyLoss
from detector.settings.heads import LossSettings
from detector.structures.samples import Targets

# Probabilities (1/2, 1/4, 1/4) and (1/8, 1/8, 3/4).
LOGITS = torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 6.0]]).log()


def targets(*class_ids: int) -> Targets:
    n = len(class_ids)
    return Targets(torch.zeros(n, 4), torch.tensor(class_ids), torch.arange(n))


def test_cross_entropy_is_a_mean_over_images():
    losses = ClassifyLoss(LossSettings())({"logits": LOGITS}, targets(0, 1))
    assert losses.keys() == {"loss_class"}
    # −(ln 1/2 + ln 1/8) / 2 = (ln 2 + 3 ln 2) / 2
    assert float(losses["loss_class"]) == pytest.approx(2 * math.log(2))


def test_label_smoothing():
    loss = ClassifyLoss(LossSettings(label_smoothing=0.3))({"logits": LOGITS[:1]}, targets(0))
    # wanted are 0.7 + 0.1, 0.1, 0.1: 0.8 ln 2 + 2 · 0.1 · ln 4
    assert float(loss["loss_class"]) == pytest.approx(1.2 * math.log(2))


def test_a_tenth_of_each_auxiliary_classifier():
    raw_outputs = {"logits": LOGITS, "auxiliary": [LOGITS, torch.zeros(2, 3)]}
    losses = ClassifyLoss(LossSettings())(raw_outputs, targets(0, 1))
    # 0.1 · (2 ln 2 + ln 3)
    expected = 0.1 * (2 * math.log(2) + math.log(3))
    assert float(losses["loss_auxiliary"]) == pytest.approx(expected)


def test_gradients_reach_every_classifier():
    raw_outputs = {"logits": LOGITS.clone().requires_grad_(), "auxiliary": [torch.zeros(2, 3)]}
    raw_outputs["auxiliary"][0].requires_grad_()
    torch.stack(
        list(ClassifyLoss(LossSettings())(raw_outputs, targets(0, 1)).values())
    ).sum().backward()
    # softmax − target, over two images; of the auxiliary a tenth of that
    expected = torch.tensor([[-1 / 2, 1 / 4, 1 / 4], [1 / 8, -7 / 8, 3 / 4]]) / 2
    torch.testing.assert_close(raw_outputs["logits"].grad, expected)
    expected = torch.tensor([[-2.0, 1, 1], [1, -2, 1]]) / 3 / 2 / 10
    torch.testing.assert_close(raw_outputs["auxiliary"][0].grad, expected)
