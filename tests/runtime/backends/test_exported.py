"""Settings that still apply to the boxes of a file with NMS inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detector.runtime.backends.backend import OUTPUTS_AFTER_NMS
from detector.runtime.backends.exported import INPUT, ExportedBackend, filter_after_nms
from detector.runtime.decoding.points import CentreDecoding
from detector.settings.nms import NmsSettings
from detector.utils.errors import DetectorError
from tests.runtime.conftest import METADATA

BOXES = np.arange(20, dtype=np.float32).reshape(5, 4)
SCORES = np.array([0.3, 0.9, 0.5, 0.9, 0], np.float32)
CLASS_IDS = np.array([0, 1, 0, 0, -1])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [1, 3, 2, 0]),  # best first, equal ones in the file's order
        ({"confidence": 0.5}, [1, 3, 2]),
        ({"max_detections": 1}, [1]),
        ({"classes": (0,), "max_detections": 2}, [3, 2]),
    ],
)
def test_filters(settings: dict[str, object], expected: list[int]):
    boxes, scores, class_ids = filter_after_nms(BOXES, SCORES, CLASS_IDS, NmsSettings(**settings))
    assert np.array_equal(boxes, BOXES[expected])
    assert np.array_equal(scores, SCORES[expected])
    assert np.array_equal(class_ids, CLASS_IDS[expected])


@pytest.fixture
def open_with() -> Callable[..., ExportedBackend]:
    """A function that opens a file with these NMS settings."""

    def make(**settings: object) -> ExportedBackend:
        metadata = METADATA.model_copy(update={"nms": NmsSettings(**settings)})
        shape = (None, 3, None, None)
        return ExportedBackend(
            Path("x"), metadata, {INPUT: shape}, dict.fromkeys(OUTPUTS_AFTER_NMS, ())
        )

    return make


def test_classes_of_a_class_agnostic_file(open_with: Callable[..., ExportedBackend]):
    some = NmsSettings(classes=(1,))
    open_with().check_settings(some)
    agnostic = open_with(class_agnostic=True)
    agnostic.check_settings(NmsSettings())
    with pytest.raises(DetectorError) as caught:
        agnostic.check_settings(some)
    assert str(caught.value) == (
        "x: its NMS is class-agnostic, so that boxes of other classes may have removed some "
        "of those selected by classes; export it without --class-agnostic"
    )


class Counting(ExportedBackend):
    """A file whose network is too large for more than two images; it notes what is checked."""

    def __init__(self, path: Path, batch: int | None) -> None:
        outputs = dict.fromkeys(METADATA.outputs, ())
        super().__init__(path, METADATA, {INPUT: (batch, 3, None, None)}, outputs)
        self.seen: list[tuple[int, ...]] = []

    def _check_run(self, image: tuple[int, ...]) -> None:
        self.seen.append(image)
        if image[0] > 2:
            raise ValueError("is too large")


def test_each_shape_is_checked_once():
    backend = Counting(Path("x"), None)
    assert (backend.input_shape, Counting(Path("x"), 16).input_shape) == (
        (1, 3, 32, 64),
        (16, 3, 32, 64),
    )
    for _ in range(2):
        backend.check_sizes((1, 3, 32, 64))
        backend.check_sizes((2, 3, 32, 64))
    assert backend.seen == [(1, 3, 32, 64), (2, 3, 32, 64)]
    for _ in range(2):
        with pytest.raises(DetectorError) as caught:
            backend.check_sizes((3, 3, 32, 64))
        assert str(caught.value) == "x: refused, it was not run: is too large"
    assert len(backend.seen) == 4


def test_raw_outputs_of_other_channels():
    """Two classes make 7 channels; sizes that are not stated are checked when it is run."""
    metadata = METADATA.model_copy(update={"decoding": CentreDecoding(strides=(8,))})

    def opened(*shape: int | None) -> ExportedBackend:
        return ExportedBackend(Path("x"), metadata, {INPUT: (1, 3, 32, 64)}, {"level_0": shape})

    assert opened(1, 7, 4, 8).output_names == ("level_0",)
    assert opened(None, None, None, None).output_names == ("level_0",)
    for shape, message in (
        ((1, 8, 4, 8), "output 'level_0' has 8 channels, its metadata say 7"),
        ((1, 7, 32), "output 'level_0' has shape (1, 7, 32), expected 4 dimensions"),
    ):
        with pytest.raises(DetectorError) as caught:
            opened(*shape)
        assert str(caught.value) == f"x: {message}"
