"""Flags without effect are refused, so that nobody believes that they did something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detector.cli.refused import check_effect, given
from detector.runtime.backends.backend import OUTPUTS_AFTER_NMS
from detector.runtime.backends.exported import INPUT, ExportedBackend
from detector.settings.common import ToolSettings
from detector.settings.detect import DetectSettings
from detector.settings.evaluate import ValSettings
from detector.settings.nms import NmsSettings
from detector.utils.errors import DetectorError
from tests.runtime.conftest import METADATA, FakeBackend, FakeClassifier

FILE = NmsSettings(confidence=0.3, max_detections=10)
HELD = "the file holds its NMS, which is fixed"


def file_with_nms() -> ExportedBackend:
    metadata = METADATA.model_copy(update={"nms": FILE})
    inputs = {INPUT: (None, 3, None, None)}
    return ExportedBackend(Path("x.onnx"), metadata, inputs, dict.fromkeys(OUTPUTS_AFTER_NMS, ()))


def message_of(settings: ToolSettings, backend: Any, requested: NmsSettings) -> str:
    """The error, or nothing."""
    try:
        check_effect(settings, backend, requested)
    except DetectorError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({}, ""),  # the defaults of detect are not requested for
        ({"confidence": 0.3, "max_detections": 10}, ""),
        ({"confidence": 0.4, "max_detections": 9, "classes": ("cat",)}, ""),
        ({"confidence": 0.2}, f"--confidence: {HELD}; omit it"),
        ({"confidence": 0.4, "max_detections": 11}, f"--max-detections: {HELD}; omit it"),
        ({"iou": 0.5, "multi_label": True}, f"--iou, --multi-label: {HELD}; omit them"),
    ],
)
def test_a_file_that_decides(flags, line):
    settings = DetectSettings(weights="x.onnx", source="y", **flags)
    assert message_of(settings, file_with_nms(), settings.nms(METADATA.names)) == line


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({}, ""),
        ({"sigma": 3}, "--sigma: --nms-method nms has no such value; omit it"),
        (
            {"sigma": 3, "nms_method": "fusion"},
            "--sigma: --nms-method fusion has no such value; omit it",
        ),
        ({"sigma": 3, "nms_method": "soft-gaussian"}, ""),
    ],
)
def test_sigma(flags, line):
    settings = ValSettings(weights="x", **flags)
    assert message_of(settings, FakeBackend(), settings.nms()) == line


def test_a_network_without_boxes():
    settings = DetectSettings(weights="x", source="y", txt=True, sigma=1)
    expected = "--sigma, --txt: a classifier has no boxes; omit them"
    assert message_of(settings, FakeClassifier(), settings.nms(METADATA.names)) == expected


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({}, ""),
        ({"batch": 1}, ""),
        ({"batch": 64}, "--batch: the file has a fixed batch size of 1, which is used instead\n"),
    ],
)
def test_a_file_for_one_image(flags, line, capsys):
    settings = ValSettings(weights="x", **flags)
    check_effect(settings, FakeBackend(batch_size=1), settings.nms())
    assert capsys.readouterr().out == line


def test_given():
    settings = ValSettings(weights="x", certificate=False, iou=0.0, split="train")
    assert given(settings, ("certificate", "iou", "confidence", "split")) == [
        "--iou", "--split"
    ]  # fmt: skip


def test_tiles_of_a_network_without_boxes():
    settings = ValSettings(weights="x", tiles=640, tile_overlap=0.3)
    expected = "--tile-overlap, --tiles: a classifier has no boxes; omit them"
    assert message_of(settings, FakeClassifier(), settings.nms()) == expected
    assert message_of(settings, FakeBackend(), settings.nms()) == ""
