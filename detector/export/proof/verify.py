"""Comparison of a written file with the network that it was exported from."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from detector.export.proof.comparison import (
    SCORE_ROUNDING,
    ArrayFunction,
    Comparison,
    ComparisonAfterNms,
    InputBatch,
    compare,
    compare_after_nms,
    split_batches,
)
from detector.export.proof.nms_check import Parts, check_nms
from detector.model.detector import Detector
from detector.runtime.backends.backend import Arrays, KeptBoxes
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.backends.precision import Tolerance
from detector.runtime.nms.nms import nms
from detector.settings.nms import NmsSettings

OTHER_CELLS_HW = ((3, 2), (10, 9))
"""Further sizes that a dynamic file is compared at, in cells of the largest stride: one smaller and
one larger than the size that it was traced with."""

TIMED_RUNS = 5
"""Number of timed runs of each network; the median is reported."""

ROUNDINGS, MOST_BY_ROUNDING = 4, 5e-4
"""Wider tolerance for networks with large rounding errors, such as deep untrained ones.

A file may differ by ``ROUNDINGS`` times the difference between PyTorch's own results in float32 and
float64, up to a relative limit of ``MOST_BY_ROUNDING``: 0.3 pixels at 640.
"""

TIMES_NOISE = 2
"""Factor on the boxes that noise changes after NMS: how many more a file may change."""


@dataclass(frozen=True)
class Findings:
    """Differences between a file and the network, each within its tolerance.

    Attributes:
        exported: file against fused network, before NMS.
        before_nms: file against trained network, before NMS.
        after_nms: file against trained network, after NMS; None for a classifier.
        images: number of images compared.
    """

    exported: Comparison
    before_nms: Comparison
    after_nms: ComparisonAfterNms | None
    images: int

    def describe(self) -> str:
        """Return the differences from the trained network as text, for a report."""
        after = f"; after NMS {self.after_nms.describe()}" if self.after_nms else ""
        return f"{self.before_nms.describe()}{after}"

    def to_dict(self) -> dict[str, Any]:
        """Return the differences from the trained network before NMS, for JSON."""
        return {
            "max_abs_diff": max(self.before_nms.boxes_px, self.before_nms.scores),
            "max_box_diff_px": self.before_nms.boxes_px,
            "max_score_diff": self.before_nms.scores,
            "images": self.images,
        }


def compare_outputs(
    original: Detector,
    fused: Detector,
    backend: ExportedBackend,
    parts: Parts | None,
    batches: Sequence[InputBatch],
    tolerance: Tolerance,
) -> Findings:
    """Compare a file with the network that it was exported from, before and after NMS.

    Args:
        original: the trained network.
        fused: its fused copy.
        backend: backend that runs the file.
        parts: network and NMS of a file with NMS inside; None for other files.
        batches: normalized images.
        tolerance: limits of all differences.

    Raises:
        DetectorError: a difference exceeds its tolerance.
    """
    network = backend.decoded if parts is None else parts.network
    split = split_batches(batches, backend.batch_size)
    exported = compare(eager(fused), network, split, backend.task)
    before_nms = compare(eager(original), network, split, backend.task)
    if not before_nms.is_within(tolerance):
        tolerance = _with_rounding(tolerance, original, backend, batches)
    before_nms.check(tolerance)
    if parts is not None:
        check_nms(parts, backend.eval_nms, split[0])
    after_nms = None
    if backend.task == "detect":
        after_nms = _compare_after_nms(original, backend, split, tolerance, before_nms)
    return Findings(exported, before_nms, after_nms, sum(len(images) for images in batches))


def _compare_after_nms(
    original: Detector,
    backend: ExportedBackend,
    split: Sequence[InputBatch],
    tolerance: Tolerance,
    before_nms: Comparison,
) -> ComparisonAfterNms:
    """Compare the boxes after NMS, allowing what the difference before NMS can explain.

    A barely trained network returns many scores that differ in the last digits only, and the last
    digits then decide which of these boxes NMS keeps. So noise of the size of the difference
    before NMS, which is within its own tolerance, says how many boxes may change.
    """
    settings, reference = backend.eval_nms, eager(original)
    found = compare_after_nms(reference, backend, backend.postprocess, settings, split, tolerance)
    if found.unmatched_share > tolerance.unmatched:
        noisy = _with_noise(reference, before_nms)
        by_noise = compare_after_nms(reference, noisy, _apply_nms, settings, split, tolerance)
        allowed = max(tolerance.unmatched, TIMES_NOISE * by_noise.unmatched_share)
        found.check(replace(tolerance, unmatched=allowed))
    return found


def _with_noise(run: ArrayFunction, difference: Comparison) -> ArrayFunction:
    """Add uniform noise of at most the largest difference to boxes and scores."""
    rng = np.random.default_rng(0)

    def noisy(images: InputBatch) -> Arrays:
        return tuple(
            output + rng.uniform(-largest, largest, output.shape).astype(output.dtype)
            for output, largest in zip(
                run(images), (difference.boxes_px, difference.scores), strict=True
            )
        )

    return noisy


def _apply_nms(outputs: Arrays, settings: NmsSettings) -> KeptBoxes:
    boxes_xyxy, scores = outputs
    return nms(boxes_xyxy, scores, settings)


def _with_rounding(
    tolerance: Tolerance,
    original: Detector,
    backend: ExportedBackend,
    batches: Sequence[InputBatch],
) -> Tolerance:
    """Return the tolerance, widened if the network's own float32 rounding exceeds it."""
    exact = eager(copy.deepcopy(original).double())
    rounding = compare(
        exact, eager(original), split_batches(batches, backend.batch_size), backend.task
    )
    boxes = min(ROUNDINGS * rounding.boxes_relative, MOST_BY_ROUNDING)
    largest_score = max(rounding.largest_score, SCORE_ROUNDING)
    scores = min(ROUNDINGS * rounding.scores / largest_score, MOST_BY_ROUNDING)
    return replace(
        tolerance, boxes=max(tolerance.boxes, boxes), scores=max(tolerance.scores, scores)
    )


def eager(model: Detector) -> ArrayFunction:
    """Return a network in eval mode as a function of arrays, run by PyTorch."""

    @torch.inference_mode()
    def run(images: InputBatch) -> Arrays:
        like = next(model.parameters())
        outputs = model.decode(model(torch.from_numpy(images).to(like)))
        return tuple(output.cpu().numpy() for output in outputs)

    return run


def random_batches(
    size_hw: tuple[int, int], stride: int, batch: int | None, dynamic_size: bool
) -> list[InputBatch]:
    """Return random images of the file's size; for a dynamic file also of other sizes."""
    generator = np.random.default_rng(0)
    count = batch or 2
    shapes = [(count, 3, *size_hw)]
    if dynamic_size:
        shapes += [
            (batch or 1, 3, rows * stride, columns * stride) for rows, columns in OTHER_CELLS_HW
        ]
    return [generator.random(shape, np.float32) for shape in shapes]


def milliseconds(
    runs: Sequence[ArrayFunction], size_hw: tuple[int, int], batch: int = 1
) -> list[float]:
    """Return the median run time per image of each function, ms, in batches of a size.

    The functions run in turns, so that other load on the machine affects all of them alike.
    """
    images = np.zeros((batch, 3, *size_hw), np.float32)
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(TIMED_RUNS + 1):
        for run, found in zip(runs, times, strict=True):
            start = time.perf_counter()
            run(images)
            if turn:  # the first one prepares buffers and is not counted
                found.append(time.perf_counter() - start)
    return [float(np.median(found) * 1000 / batch) for found in times]
