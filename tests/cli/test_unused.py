"""Flags that mean nothing: named, so that nobody believes that they did something."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.cli.unused import given, note_unused
from detector.runtime.backends.backend import SUPPRESSED
from detector.runtime.backends.exported import INPUT, ExportedBackend
from detector.settings import DetectSettings, NmsSettings, ValSettings
from tests.runtime.conftest import CARD, FakeBackend, FakeClassifier

FILE = NmsSettings(confidence=0.3, max_detections=10)
HELD = "the file holds the suppression and does not use"


def file_with_suppression() -> ExportedBackend:
    card = CARD.model_copy(update={"nms": FILE})
    inputs = {INPUT: (None, 3, None, None)}
    return ExportedBackend(Path("x.onnx"), card, inputs, dict.fromkeys(SUPPRESSED, ()))


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({}, ""),  # the defaults of detect are not asked for
        ({"confidence": 0.3, "max_detections": 10}, ""),
        ({"confidence": 0.4, "max_detections": 9, "classes": ("cat",)}, ""),
        ({"confidence": 0.2}, f"{HELD}: --confidence\n"),
        ({"confidence": 0.4, "max_detections": 11}, f"{HELD}: --max-detections\n"),
        ({"iou": 0.5, "multi_label": True}, f"{HELD}: --iou, --multi-label\n"),
    ],
)
def test_a_file_that_decides(flags, line, capsys):
    settings = DetectSettings(weights="x.onnx", source="y", **flags)
    note_unused(settings, file_with_suppression(), settings.nms(CARD.names))
    assert capsys.readouterr().out == line


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({}, ""),
        ({"sigma": 3}, "--suppression nms does not use: --sigma\n"),
        ({"sigma": 3, "suppression": "fusion"}, "--suppression fusion does not use: --sigma\n"),
        ({"sigma": 3, "suppression": "soft-gaussian"}, ""),
    ],
)
def test_sigma(flags, line, capsys):
    settings = ValSettings(weights="x", **flags)
    note_unused(settings, FakeBackend(), settings.nms())
    assert capsys.readouterr().out == line


def test_a_network_without_boxes(capsys):
    settings = DetectSettings(weights="x", source="y", txt=True, sigma=1)
    note_unused(settings, FakeClassifier(), settings.nms(CARD.names))
    expected = "a classifier has no boxes and does not use: --sigma, --txt\n"
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({}, ""),
        ({"batch": 1}, ""),
        ({"batch": 64}, "the file is for batches of 1 and does not use: --batch\n"),
    ],
)
def test_a_file_for_one_image(flags, line, capsys):
    settings = ValSettings(weights="x", **flags)
    note_unused(settings, FakeBackend(batch_size=1), settings.nms())
    assert capsys.readouterr().out == line


def test_given():
    settings = ValSettings(weights="x", certificate=False, iou=0.0, split="train")
    assert given(settings, ("certificate", "iou", "confidence", "split")) == [
        "--iou", "--split"
    ]  # fmt: skip
