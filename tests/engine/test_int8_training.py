"""The start of training for INT8."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detector.engine import int8_training
from detector.engine.int8_training import with_small_inputs
from detector.layers.repvgg import randomise_batch_norms
from detector.model.deploy import fuse_modules
from detector.model.detector import Detector, build
from detector.utils.errors import DetectorError


def fused(name: str, variant: str | None) -> Detector:
    model = build(name, 2, variant)
    randomise_batch_norms(model)
    return fuse_modules(model).double().eval()


def outputs(model: Detector, images: Tensor) -> Tensor:
    with torch.no_grad():
        raw = model(model.normalize(images).double())
    return torch.cat([one.flatten() for one in raw])


@pytest.mark.parametrize(("name", "variant"), [("yolox", "nano"), ("dsod300_vovnet27slim", None)])
def test_pixels_are_divided_and_nothing_else_changes(name: str, variant: str | None):
    """Networks that read pixels of 0 to 255, the second one after a mean is subtracted."""
    model = fused(name, variant)
    mean_rgb, size_hw = model.preprocess.mean_rgb, model.fixed_size_hw or (64, 64)
    images = torch.randint(256, (1, 3, *size_hw), dtype=torch.uint8)
    expected = outputs(model, images)
    with_small_inputs(model)
    assert (model.preprocess.mean_rgb, model.preprocess.scale_rgb) == (mean_rgb, (255.0,) * 3)
    torch.testing.assert_close(outputs(model, images), expected, rtol=1e-10, atol=1e-10)


def test_layers_that_cannot_be_converted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The network stays as it is, and a line says so."""

    def refuse(*_: object) -> None:
        raise DetectorError("cannot be converted")

    monkeypatch.setattr(int8_training, "fit_input_layers", refuse)
    model = fused("yolox", "nano")
    preprocess = model.preprocess
    with_small_inputs(model)
    assert model.preprocess == preprocess
    assert caplog.messages == [
        "--qat: the network reads numbers up to 255, and its first layers cannot be converted to "
        "smaller ones; steps may be too large for them"
    ]


def test_small_inputs_stay():
    model = fused("yolov5n", None)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    preprocess = model.preprocess
    with_small_inputs(model)
    assert model.preprocess == preprocess
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
