"""The gate: AP before and after decides whether a file is written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.evaluation.intervals import draw, resampled_mean
from detector.export.formats import FORMATS
from detector.export.options import Options
from detector.export.proof.measured import EvaluationImages
from detector.export.quantize.calibration import Calibration
from detector.export.quantize.gate import Gate, Int8Request, accept_int8, named
from detector.export.run import model_metadata
from detector.model.detector import Detector
from detector.runtime.backends.certificate import CalibrationSet
from detector.utils.errors import DetectorError

IMAGES = 10
BATCHES = [np.zeros((1, 3, 64, 64), np.float32)]
ABOUT = CalibrationSet(data="d.yaml", split="train", images=4, classes=2, fingerprint={})
MODULES = {0: "Conv", 1: "RepVGGBlock", 2: "Conv", 3: "SPPF", 4: "C3", 5: "Conv"}


class Rows:
    """Six rows; each image is right but for those that the quantised rows spoil."""

    rows = tuple(MODULES)

    def __init__(self, spoils: dict[int, int], others: Sequence[dict[int, int]] = ()) -> None:
        self.spoils = spoils
        self.others = others

    def other_ranges(self) -> Iterator[Rows]:
        return map(Rows, self.others)

    def save(self, in_float: Collection[int]) -> Any:
        return sum(count for row, count in self.spoils.items() if row not in in_float)

    def run(self, in_float: Collection[int], batches: Sequence[Any]) -> list[Any]:
        return [(np.full(1, 100.0 + self.save(in_float)),) for _ in batches]


@pytest.fixture
def gate_of(network: Detector) -> Callable[..., Gate]:
    """A function that makes the gate of such a network: the metric is the share of right images."""

    def make(
        spoils: dict[int, int], max_drop: float = 0.1, others: Sequence[dict[int, int]] = ()
    ) -> Gate:
        state = {"spoilt": 0}

        def measure(backend: Any, _: Any) -> dict[str, float]:
            state["spoilt"] = backend if isinstance(backend, int) else 0
            return {"AP": 1 - state["spoilt"] / IMAGES, "AP50": 1.0}

        def resampled() -> Any:
            return resampled_mean(
                (np.arange(IMAGES) >= state["spoilt"]).astype(float), draw(IMAGES)
            )

        evaluation = EvaluationImages("e.yaml", "val", IMAGES, measure, resampled, max_drop)
        request = Int8Request(Calibration(ABOUT, ()), evaluation)
        metadata = model_metadata(network, (64, 64), Options(precision="int8"), FORMATS["onnx"])
        opened: Callable[[Any, Path], Any] = lambda save, folder: save  # noqa: E731
        return Gate(Rows(spoils, others), request, network, metadata, opened)

    return make


def test_nothing_lost_and_nothing_in_float(gate_of: Callable[..., Gate]):
    accepted = accept_int8(gate_of({}), BATCHES, MODULES)
    assert accepted.quantisation.in_float == ()
    assert accepted.quantisation.calibration == ABOUT
    assert accepted.measured.main == ("AP", 1, 1)
    assert accepted.measured.intervals is not None
    assert accepted.measured.intervals.change == (0, 0)


def test_the_worst_rows_stay_in_float(gate_of: Callable[..., Gate]):
    """Rows 4, 2 and 0 spoil 3, 2 and 1 of ten images; 0.1 may be lost, so that 4 and 2 stay."""
    accepted = accept_int8(gate_of({0: 1, 2: 2, 4: 3}), BATCHES, MODULES)
    assert accepted.quantisation.in_float == ("row 2 (Conv)", "row 4 (C3)")
    assert accepted.quantisation.rows == 6
    assert accepted.measured.main == ("AP", 1, pytest.approx(0.9))
    # Nine of ten are right: the mean of ten draws has a deviation of √(0.9 · 0.1 / 10) ≈ 0.095.
    low, high = accepted.measured.intervals.change  # type: ignore[union-attr]
    assert (low, high) == pytest.approx((-0.3, 0), abs=0.01)


def test_other_ranges_come_before_rows_in_float(gate_of: Callable[..., Gate]):
    """Of ranges that spoil 4, 5 and 1 of ten images the last one is allowed."""
    gate = gate_of({0: 4}, others=[{0: 3, 1: 2}, {5: 1}, {}])
    accepted = accept_int8(gate, BATCHES, MODULES)
    assert accepted.quantisation.in_float == ()
    assert accepted.measured.main == ("AP", 1, pytest.approx(0.9))


def test_the_ranges_that_lose_least_where_none_passes(gate_of: Callable[..., Gate]):
    """Ranges that spoil 6, 3 and 4 of ten images; of the second, row 3 spoils two."""
    gate = gate_of({0: 6}, others=[{3: 2, 1: 1}, {0: 4}])
    accepted = accept_int8(gate, BATCHES, MODULES)
    assert accepted.quantisation.in_float == ("row 3 (SPPF)",)
    assert accepted.measured.main == ("AP", 1, pytest.approx(0.9))


def test_exactly_the_allowed_drop(gate_of: Callable[..., Gate]):
    assert gate_of({1: 5}, max_drop=0.5).passes(())
    assert not gate_of({1: 6}, max_drop=0.5).passes(())


def test_a_drop_that_no_row_explains(gate_of: Callable[..., Gate]):
    """Each row spoils one or two images; with three of six in float 3 are still spoilt.

    At first one of ten is right. On a resample, none is with probability 0.9¹⁰ = 0.35, and one with
    0.39: 0.35 + 0.39 / 2 = Φ(0.11) lie below. The upper end is at Φ(0.22 + 1.96) = 0.985 of them,
    which is where four of ten are right.
    """
    with pytest.raises(DetectorError) as caught:
        accept_int8(gate_of({0: 1, 1: 2, 2: 1, 3: 1, 4: 2, 5: 2}), BATCHES, MODULES)
    message = str(caught.value)
    assert message.startswith(
        "--precision int8: AP 1.0000 → 0.1000, a change of -0.9000 (-1.0000 to -0.6000), allowed "
        "is −0.1, and leaving 50% of the rows in float does not help; "
        "the worst rows are row 1 (RepVGGBlock), row 4 (C3), row 5 (Conv); nothing was written; "
    )
    assert message.endswith(
        "try other or more images (--calibrate, --calibration-images), --precision fp16, or a "
        "larger --max-drop"
    )


def test_nothing_to_measure(gate_of: Callable[..., Gate], network: Detector):
    """Without objects AP is −1 before and after, which is no proof."""
    request = gate_of({}).request
    evaluation = replace(request.evaluation, measure=lambda *_: {"AP": -1.0})
    metadata = model_metadata(network, (64, 64), Options(precision="int8"), FORMATS["onnx"])
    with pytest.raises(DetectorError) as caught:
        Gate(Rows({}), replace(request, evaluation=evaluation), network, metadata, open)  # type: ignore[arg-type]
    assert str(caught.value) == "--precision int8: the images of --data have nothing for AP"


def test_names():
    assert named(3, MODULES) == "row 3 (SPPF)"
