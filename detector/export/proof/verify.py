"""Reloads what was written and compares it with the network that it came from."""

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
from detector.settings import NmsSettings

OTHER_CELLS_HW = ((3, 2), (10, 9))
"""Sizes that a file of any size is compared at, in cells of the largest stride: smaller and larger
than what it was traced with."""
TIMED_RUNS = 5
ROUNDINGS, MOST_BY_ROUNDING = 4, 5e-4
"""A deep network with weights that are not trained rounds more. A file may then differ by so many
times what 32 bits change in PyTorch's own result, up to a limit: 0.3 pixels at 640."""


@dataclass(frozen=True)
class Findings:
    """All comparisons of a file, each within its tolerance.

    Attributes:
        exported: fused → file, before NMS.
        before_nms: train form → file, before NMS.
        after_nms: train form → file, after NMS; None for a classifier.
        images: number of images compared.
    """

    exported: Comparison
    before_nms: Comparison
    after_nms: ComparisonAfterNms | None
    images: int

    def describe(self) -> str:
        """The differences from the train form, for a report to read."""
        after = f"; after NMS {self.after_nms.describe()}" if self.after_nms else ""
        return f"{self.before_nms.describe()}{after}"

    def to_dict(self) -> dict[str, Any]:
        """Those from the train form as plain values, for JSON."""
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
    """Compare a file with the network that it came from, before and after suppression.

    Args:
        original: the network as it was trained.
        fused: its deployed copy.
        backend: runs the file.
        parts: of a file that holds the suppression; else None.
        batches: normalised images.
        tolerance: of all differences.

    Raises:
        DetectorError: a difference is past the tolerance.
    """
    network = backend if parts is None else parts.network
    taken = split_batches(batches, backend.batch_size)
    exported = compare(eager(fused), network, taken, backend.task)
    whole = compare(eager(original), network, taken, backend.task)
    if not whole.is_within(tolerance):
        tolerance = _with_rounding(tolerance, original, backend, batches)
    whole.check(tolerance)
    if parts is not None:
        check_nms(parts, backend.eval_nms, taken[0])
    final = None
    if backend.task == "detect":
        final = _compare_after_nms(original, backend, taken, tolerance)
    return Findings(exported, whole, final, sum(len(images) for images in batches))


def _compare_after_nms(
    original: Detector, backend: ExportedBackend, taken: Sequence[InputBatch], tolerance: Tolerance
) -> ComparisonAfterNms:
    """Compare the boxes after NMS; where they differ, as much as rounding alone makes them.

    A network that was hardly trained gives many scores that differ in the last digits only, and
    which boxes NMS keeps of those is decided by rounding: in the network's own result, too.
    """
    settings = backend.eval_nms
    found = compare_after_nms(
        eager(original), backend, backend.postprocess, settings, taken, tolerance
    )
    if found.unmatched_share > tolerance.unmatched:
        exact = eager(copy.deepcopy(original).double())
        rounding = compare_after_nms(exact, eager(original), _apply_nms, settings, taken, tolerance)
        allowed = max(tolerance.unmatched, ROUNDINGS * rounding.unmatched_share)
        found.check(replace(tolerance, unmatched=allowed))
    return found


def _apply_nms(outputs: Arrays, settings: NmsSettings) -> KeptBoxes:
    boxes_xyxy, scores = outputs
    return nms(boxes_xyxy, scores, settings)


def _with_rounding(
    tolerance: Tolerance,
    original: Detector,
    backend: ExportedBackend,
    batches: Sequence[InputBatch],
) -> Tolerance:
    """The tolerance, or more where the network itself rounds more: 32 bits against 64."""
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
    """A network in eval mode as a function of arrays."""

    @torch.inference_mode()
    def run(images: InputBatch) -> Arrays:
        like = next(model.parameters())
        outputs = model.decode(model(torch.from_numpy(images).to(like)))
        return tuple(output.cpu().numpy() for output in outputs)

    return run


def random_batches(
    size_hw: tuple[int, int], stride: int, batch: int | None, dynamic_size: bool
) -> list[InputBatch]:
    """Random images of the file's size; of other sizes and numbers too, where it takes them."""
    generator = np.random.default_rng(0)
    count = batch or 2
    shapes = [(count, 3, *size_hw)]
    if dynamic_size:
        shapes += [(1, 3, rows * stride, columns * stride) for rows, columns in OTHER_CELLS_HW]
    return [generator.random(shape, np.float32) for shape in shapes]


def milliseconds(runs: Sequence[ArrayFunction], size_hw: tuple[int, int]) -> list[float]:
    """Median time of one image for each, in turns, so that other work on the machine hits all."""
    image = np.zeros((1, 3, *size_hw), np.float32)
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(TIMED_RUNS + 1):
        for run, found in zip(runs, times, strict=True):
            start = time.perf_counter()
            run(image)
            if turn:  # the first one prepares buffers and is not counted
                found.append(time.perf_counter() - start)
    return [float(np.median(found) * 1000) for found in times]
