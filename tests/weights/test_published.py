"""The table of published weights: its networks build, and the page shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import detector
from detector.model.deploy import fuse_modules
from detector.model.detector import build
from detector.weights.checkpoint import load_quietly
from detector.weights.published import PUBLISHED, PublishedWeights
from detector.weights.transfer import start_from

PAGE = (Path(__file__).parents[2] / "docs" / "weights.md").read_text()
SMALL = ("yolox_nano.pth", "yolov5n.pt", "v9-s.pt", "yolo11n.pt")
"""Files of networks that are fused quickly."""


def row_of(weights: PublishedWeights) -> list[str]:
    """Return the cells of the page's row about a file, after its name."""
    start = re.escape(f"| [{weights.file}]({weights.folder}{weights.file}) | ")
    found = re.search(start + r"(.*) \|\n", PAGE)
    assert found, weights.file
    return found[1].split(" | ")


@pytest.mark.parametrize("weights", PUBLISHED, ids=lambda weights: weights.file)
def test_the_page_shows_the_table(weights: PublishedWeights) -> None:
    model_file, licence, imgsz, published, measured, params = row_of(weights)
    name = f"`{weights.cfg}`"
    assert model_file == (f"{name}, {weights.variant}" if weights.variant else name)
    assert licence == weights.licence
    assert imgsz == str(weights.imgsz)
    assert published == f"{weights.published_ap:.1f}"
    assert measured == (f"{weights.measured_ap:.3f}" if weights.measured_ap else "–")
    classes = 90 if weights.cfg == "ssd300_vgg16" else 80
    with torch.device("meta"):
        model = build(weights.cfg, classes, weights.variant)
    count = f"{sum(p.numel() for p in model.parameters()):,}"
    assert params.split(" → ")[0] == count


@pytest.mark.parametrize("file", SMALL)
def test_deployed_parameters_on_the_page(file: str) -> None:
    (weights,) = (one for one in PUBLISHED if one.file == file)
    fused = fuse_modules(build(weights.cfg, variant=weights.variant))
    assert row_of(weights)[-1].split(" → ")[1] == f"{sum(p.numel() for p in fused.parameters()):,}"


def test_permissive_weights_come_first() -> None:
    licences = [weights.is_permissive for weights in PUBLISHED]
    assert licences == sorted(licences, reverse=True)
    assert {one.licence for one in PUBLISHED if one.is_permissive} == {
        "Apache-2.0",
        "BSD-3-Clause",
        "MIT",
    }


def test_models_carry_their_weights() -> None:
    models = {model.name: model for model in detector.list_models()}
    assert [one.variant for one in models["yolox"].weights] == ["nano", "tiny", "s", "m", "l", "x"]
    assert models["yolov5_repvgg"].weights == ()


def test_the_licence_is_said_once_for_each_opening(
    shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = shared / "weights" / "yolox_nano_coco.pth"
    line = "yolox_nano_coco.pth: weights of YOLOX, licence: Apache-2.0; see docs/weights.md"
    with caplog.at_level("INFO", "detector"):
        load_quietly(path)
        assert caplog.messages == []
        model = detector.load(path)
        assert caplog.messages == [line]
        start_from(model, path)
        assert caplog.messages == [line, line]
