"""Folded batch norms get the statistics of images; no output changes, in training neither."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from detector.data.dataset import open_dataset
from detector.engine.norm_statistics import (
    IMAGES,
    fitted_batches,
    lacks_statistics,
    restore_statistics,
)
from detector.layers.conv import Conv
from detector.layers.repvgg import randomise_batch_norms
from detector.model.detector import Detector, build_model_file
from detector.model.model_file import check_model_file
from detector.utils.yaml_file import YamlFile

MODEL = """
nc: 2
imgsz: 64
anchors: [[10, 13], [30, 61]]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, C3, [8]]
  - [-1, 1, Conv, [16, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[2, 3], 1, Detect, [nc, anchors]]
"""


def norms_of(model: Detector) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@torch.no_grad()
def fold(model: Detector) -> None:
    """Fold each norm into its convolution, and leave a norm of mean 0 and variance 1."""
    for module in model.modules():
        if not isinstance(module, Conv):
            continue
        conv, norm = module.conv, module.bn
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        conv.weight.mul_(factor.view(-1, 1, 1, 1))
        norm.bias.sub_(norm.running_mean * factor)
        norm.weight.fill_((1 + norm.eps) ** 0.5)
        norm.reset_running_stats()


@pytest.fixture
def model() -> Detector:
    torch.manual_seed(0)
    model = build_model_file(check_model_file(YamlFile(Path("a.yaml"), MODEL)))
    randomise_batch_norms(model)
    return model.eval()


@torch.no_grad()
def test_a_mean_that_stands_for_a_bias(model: Detector, tiny_data: Path) -> None:
    images = torch.rand(2, 3, 64, 64)
    fold(model)
    for norm in norms_of(model):
        norm.running_mean.copy_(torch.randn_like(norm.running_mean))
    before = model(images)
    restore_statistics(model, open_dataset(str(tiny_data), "train"))
    for found, expected in zip(model(images), before, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_no_output_changes(model: Detector, tiny_data: Path) -> None:
    images = torch.rand(2, 3, 64, 64)
    before = model(images)
    fold(model)
    dataset = open_dataset(str(tiny_data), "train")
    count = len(norms_of(model))
    assert restore_statistics(model, dataset) == [
        f"start weights: {count} batch norms hold no statistics; they are taken "
        f"from {min(len(dataset), IMAGES)} training images, which changes no output"
    ]
    for found, expected in zip(model(images), before, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not model.training
    assert restore_statistics(model, dataset) == []  # they have statistics now


@torch.no_grad()
def test_training_starts_from_the_same_network(model: Detector, tiny_data: Path) -> None:
    """On the images of the statistics, the batch's are the running ones: the outputs agree."""
    fold(model)
    dataset = open_dataset(str(tiny_data), "train", limit=4)
    (images,) = fitted_batches(model, dataset, 4)
    folded = copy.deepcopy(model).train()(images)
    restore_statistics(model, dataset)
    evaluated, trained = model.eval()(images), model.train()(images)
    for before, found, expected in zip(folded, trained, evaluated, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        assert (before - expected).abs().max() > 0.1


def test_fresh_norms_and_those_with_statistics_stay() -> None:
    norm = nn.BatchNorm2d(3)
    assert not lacks_statistics(norm)
    nn.init.constant_(norm.bias, 0.5)
    assert lacks_statistics(norm)
    nn.init.constant_(norm.running_mean, 0.1)
    assert lacks_statistics(norm)
    nn.init.constant_(norm.bias, 0.0)
    assert lacks_statistics(norm)  # a convolution's bias
    norm.running_var[0] = 1.5
    assert not lacks_statistics(norm)
    assert not lacks_statistics(nn.BatchNorm2d(3, track_running_stats=False))
    assert not lacks_statistics(nn.BatchNorm2d(3, affine=False))
