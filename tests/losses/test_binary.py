"""Binary losses, by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from detector.losses.binary import BINARY_LOSSES, quality_focal_loss, varifocal_loss


@pytest.mark.parametrize("name", BINARY_LOSSES)
def test_shapes_are_kept(name: str):
    for shape in ((0, 3), (2, 3), (2, 2, 2)):
        found = BINARY_LOSSES[name](torch.zeros(shape), torch.ones(shape))
        assert found.shape == shape


def test_by_hand():
    # σ(0) = ½: BCE is ln 2 whatever the target. Focal: 0.25 · ½² of it. Quality ¾: |¾ − ½|².
    logits = torch.zeros(1)
    one, quality = torch.ones(1), torch.full((1,), 0.75)
    assert float(BINARY_LOSSES["bce"](logits, quality)) == pytest.approx(math.log(2))
    assert float(BINARY_LOSSES["focal"](logits, one)) == pytest.approx(math.log(2) / 16)
    assert float(BINARY_LOSSES["qfl"](logits, quality)) == pytest.approx(math.log(2) / 16)


def test_varifocal_loss_by_hand():
    # σ(0) = ½, BCE ln 2: a true pair of quality ¾ counts ¾ of it, any other 0.75 · ½².
    losses = varifocal_loss(torch.zeros(2), torch.tensor([0.75, 0.0]))
    assert losses.tolist() == pytest.approx([0.75 * math.log(2), 0.1875 * math.log(2)])
    logits = torch.zeros(1, requires_grad=True)
    varifocal_loss(logits, torch.zeros(1)).sum().backward()
    assert float(logits.grad) == pytest.approx(0.1875 * 0.5)  # that of BCE, σ − 0, weighted


def test_quality_focal_loss_is_least_at_the_quality():
    logits = torch.linspace(-4, 4, 801)
    losses = quality_focal_loss(logits, torch.full_like(logits, 0.7))
    assert float(logits[losses.argmin()].sigmoid()) == pytest.approx(0.7, abs=0.01)
    assert float(losses.min()) == pytest.approx(0, abs=1e-4)
    torch.testing.assert_close(
        quality_focal_loss(logits, torch.ones_like(logits), beta=0.0),
        F.softplus(-logits),  # −ln σ
    )
