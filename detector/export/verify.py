"""Reloads what was written and compares it with the network that it came from."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from detector.errors import DetectorError
from detector.graph import Detector
from detector.runtime.backend import OUTPUTS, Backend
from detector.runtime.backend import Arrays as Outputs
from detector.runtime.exported import ExportedBackend, kept_by_file
from detector.runtime.nms import nms
from detector.settings import NmsSettings, TaskName

Images = NDArray[np.float32]
Run = Callable[..., Outputs]

OTHER_CELLS_HW = ((3, 2), (10, 9))
"""Sizes that a file of any size is compared at, in cells of the largest stride: smaller and larger
than what it was traced with."""
TIMED_RUNS = 5
DRAWN_CANDIDATES = 1000
"""For each image, of the boxes that a file's suppression is compared on."""


@dataclass(frozen=True)
class Tolerance:
    """How far a file's results may lie from the network's.

    Attributes:
        boxes: of a box's coordinate, relative to the largest one.
        scores: of a score, relative to the largest one, which is tiny before training.
        unmatched: fraction of the boxes after suppression without a counterpart.
    """

    boxes: float
    scores: float
    unmatched: float


SINGLE = Tolerance(boxes=5e-5, scores=1e-4, unmatched=0.02)
"""Weights of 32 bits. 0.03 pixels at 640, which change the IoU of a box of 10 pixels by less than
0.01; rounding of a trained network stays below a hundredth of that, and a tenth of the scores'."""
ROUNDINGS, MOST_BY_ROUNDING = 4, 5e-4
"""A deep network with weights that are not trained rounds more. A file may then differ by so many
times what 32 bits change in PyTorch's own result, up to a limit: 0.3 pixels at 640."""
HALF = Tolerance(boxes=5e-3, scores=5e-2, unmatched=0.2)
"""Weights of 16 bits, each rounded by up to 2⁻¹¹ of itself."""
SCORE_ROUNDING = 1e-6
"""Of runtimes whose sigmoid is an approximation, exact to about 1e-7."""


@dataclass(frozen=True)
class Comparison:
    """How far a file's results lie from the network's.

    Attributes:
        boxes_px: largest difference of a box's coordinate, pixels of the input.
        boxes_relative: the same, of the largest coordinate.
        scores: largest difference of a score.
        largest_score: that the network gives.
        images: number of images compared.
        task: a classifier's file has no boxes, and its scores are probabilities.
    """

    boxes_px: float
    boxes_relative: float
    scores: float
    largest_score: float
    images: int
    task: TaskName = "detect"

    def described(self) -> str:
        """The differences, for a report to read."""
        if self.task == "classify":
            return f"probabilities {self.scores:.2e}"
        return f"boxes {self.boxes_px:.2e} px, scores {self.scores:.2e}"

    def is_within(self, tolerance: Tolerance) -> bool:
        """Whether the differences are no larger; one that is no number never is."""
        return self.boxes_relative <= tolerance.boxes and self.scores <= self._allowed(tolerance)

    def _allowed(self, tolerance: Tolerance) -> float:
        return tolerance.scores * self.largest_score + SCORE_ROUNDING

    def check(self, tolerance: Tolerance = SINGLE) -> None:
        """Raise where a difference is not within its tolerance; one that is no number never is."""
        if not self.boxes_relative <= tolerance.boxes:
            raise DetectorError(
                f"the exported file differs from the network: boxes by {self.boxes_px:.2e} px, "
                f"{self.boxes_relative:.2e} of the largest coordinate, allowed are "
                f"{tolerance.boxes:.0e}; nothing was written"
            )
        allowed = self._allowed(tolerance)
        if not self.scores <= allowed:
            raise DetectorError(
                f"the exported file differs from the network: scores by {self.scores:.2e}, "
                f"allowed are {allowed:.2e}; nothing was written"
            )


@dataclass(frozen=True)
class FinalComparison:
    """The same after suppression.

    Attributes:
        boxes_px: largest difference of a coordinate of two counterparts, pixels of the input.
        scores: largest difference of their scores.
        boxes: how many the network has, in all images.
        unmatched: how many of either have no counterpart.
        total: of both.
    """

    boxes_px: float
    scores: float
    boxes: int
    unmatched: int
    total: int

    def described(self) -> str:
        """The differences, for a report to read."""
        return (
            f"{self.boxes} boxes {self.boxes_px:.2e} px, scores {self.scores:.2e}, "
            f"{self.unmatched} without counterpart"
        )

    def check(self, tolerance: Tolerance = SINGLE) -> None:
        """Raise where too many boxes have no counterpart."""
        if self.unmatched > tolerance.unmatched * self.total:
            raise DetectorError(
                f"the exported file differs from the network: {self.unmatched} of {self.total} "
                f"boxes after suppression have no counterpart, allowed are "
                f"{tolerance.unmatched:.0%}; nothing was written"
            )


@dataclass(frozen=True)
class Parts:
    """A file that holds the suppression, apart.

    Attributes:
        network: (b, 3, h, w) images → what stands before the suppression.
        suppression: boxes_xyxy (b, n, 4), scores (b, n, classes) → what the file gives.
    """

    network: Run
    suppression: Run


@dataclass(frozen=True)
class Findings:
    """All comparisons of a file, each within its tolerance.

    Attributes:
        exported: fused → file, before suppression.
        whole: train form → file, before suppression.
        final: train form → file, after suppression; None for a classifier.
        images: number of images compared.
    """

    exported: Comparison
    whole: Comparison
    final: FinalComparison | None
    images: int

    def described(self) -> str:
        """The differences from the train form, for a report to read."""
        after = f"; after suppression {self.final.described()}" if self.final else ""
        return f"{self.whole.described()}{after}"

    def to_dict(self) -> dict[str, Any]:
        """Those from the train form as plain values, for JSON."""
        return {
            "max_abs_diff": max(self.whole.boxes_px, self.whole.scores),
            "max_box_diff_px": self.whole.boxes_px,
            "max_score_diff": self.whole.scores,
            "images": self.images,
        }


def find_differences(
    original: Detector,
    fused: Detector,
    backend: ExportedBackend,
    parts: Parts | None,
    batches: Sequence[Images],
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
    taken = _as_taken(batches, backend.batch_size)
    exported = _compare(eager(fused), network, taken, backend.task)
    whole = _compare(eager(original), network, taken, backend.task)
    if not whole.is_within(tolerance):
        tolerance = _with_rounding(tolerance, original, backend, batches)
    whole.check(tolerance)
    if parts is not None:
        check_suppression(parts, backend.measuring, taken[0])
    final = None
    if backend.task == "detect":
        final = compare_final(eager(original), backend, batches, tolerance)
        final.check(tolerance)
    return Findings(exported, whole, final, sum(len(images) for images in batches))


def _with_rounding(
    tolerance: Tolerance, original: Detector, backend: ExportedBackend, batches: Sequence[Images]
) -> Tolerance:
    """The tolerance, or more where the network itself rounds more: 32 bits against 64."""
    exact = eager(copy.deepcopy(original).double())
    rounding = _compare(
        exact, eager(original), _as_taken(batches, backend.batch_size), backend.task
    )
    boxes = min(ROUNDINGS * rounding.boxes_relative, MOST_BY_ROUNDING)
    largest_score = max(rounding.largest_score, SCORE_ROUNDING)
    scores = min(ROUNDINGS * rounding.scores / largest_score, MOST_BY_ROUNDING)
    return replace(
        tolerance, boxes=max(tolerance.boxes, boxes), scores=max(tolerance.scores, scores)
    )


def compare(
    reference: Callable[[Images], Outputs], backend: Backend, batches: Sequence[Images]
) -> Comparison:
    """Run both on the same images; where the file takes single images, on one after the other."""
    return _compare(reference, backend, _as_taken(batches, backend.batch_size), backend.task)


def _compare(
    reference: Callable[[Images], Outputs],
    other: Callable[[Images], Outputs],
    batches: Sequence[Images],
    task: TaskName,
) -> Comparison:
    boxes_px = boxes_relative = score_difference = largest_score = 0.0
    for images in batches:
        expected, found = reference(images), other(images)
        if [one.shape for one in found] != [one.shape for one in expected]:
            raise _wrong_shapes(found, expected, task)
        *expected_boxes, expected_scores = expected
        *found_boxes, found_scores = found
        for boxes, truth in zip(found_boxes, expected_boxes, strict=True):
            difference, extent = _largest(boxes - truth), _largest(truth)
            boxes_px = _worse(boxes_px, difference)
            boxes_relative = _worse(boxes_relative, difference / max(extent, 1.0))
        score_difference = _worse(score_difference, _largest(found_scores - expected_scores))
        largest_score = max(largest_score, _largest(expected_scores))
    count = sum(len(images) for images in batches)
    return Comparison(boxes_px, boxes_relative, score_difference, largest_score, count, task)


def compare_final(
    reference: Callable[[Images], Outputs],
    backend: ExportedBackend,
    batches: Sequence[Images],
    tolerance: Tolerance = SINGLE,
) -> FinalComparison:
    """Compare the boxes that suppression leaves of either, with the file's own thresholds.

    Two boxes are counterparts if they have the same class and differ by no more than the tolerance:
    suppression compares numbers, so that the last digit of one may decide about another box.
    """
    settings = backend.measuring
    boxes_px = scores = 0.0
    count = unmatched = total = 0
    for images in _as_taken(batches, backend.batch_size):
        expected, found = reference(images), backend(images)
        for index in range(len(images)):
            ours = nms(expected[0][index], expected[1][index], settings)
            its = backend.nms(*(part[index] for part in found), settings)
            pairs, distance, difference = _counterparts(ours, its, tolerance)
            boxes_px = max(boxes_px, float(distance[pairs].max(initial=0)))
            scores = max(scores, float(difference[pairs].max(initial=0)))
            unmatched += int((~pairs.any(1)).sum() + (~pairs.any(0)).sum())
            count += len(ours[1])
            total += len(ours[1]) + len(its[1])
    return FinalComparison(boxes_px, scores, count, unmatched, total)


def check_suppression(parts: Parts, settings: NmsSettings, images: Images) -> None:
    """Compare a file's suppression with ours on drawn boxes, as many as the network gives.

    What a network finds in a few images may be next to nothing. Half of the drawn candidates are
    above the confidence, and nothing that is not drawn is.

    Raises:
        DetectorError: they keep different boxes.
    """
    boxes_xyxy, scores = parts.network(images)
    rng = np.random.default_rng(0)
    corners = rng.random((*boxes_xyxy.shape[:2], 2), np.float32) * max(images.shape[2:])
    sides = rng.random(corners.shape, np.float32) * (max(images.shape[2:]) / 4)
    boxes = np.concatenate([corners, corners + sides], axis=-1)
    drawn = rng.random(scores.shape) * scores[0].size < DRAWN_CANDIDATES
    around = np.float32(settings.confidence - 0.5) + rng.random(scores.shape, np.float32)
    values = np.where(drawn, around, np.float32(-1))
    found = parts.suppression(boxes, values)
    for index in range(len(images)):
        ours: Outputs = nms(boxes[index], values[index], settings)
        rows = [part[index] for part in found]
        its: Outputs = kept_by_file(rows[0], rows[1], rows[2], settings)
        if not all(map(np.array_equal, ours, its)):
            raise DetectorError(
                f"the exported file's suppression keeps {len(its[1])} drawn boxes, "
                f"detector.runtime.nms other {len(ours[1])}; nothing was written"
            )


def _counterparts(
    ours: Outputs, its: Outputs, tolerance: Tolerance
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]]:
    """Which of n boxes matches which of m, and how far each pair's boxes and scores differ."""
    boxes, scores, class_ids = ours
    distance = np.abs(boxes[:, None] - its[0][None]).max(axis=-1, initial=0)
    difference = np.abs(scores[:, None] - its[1][None])
    pairs = class_ids[:, None] == its[2][None]
    pairs &= distance <= tolerance.boxes * max(_largest(boxes), 1.0)
    pairs &= difference <= tolerance.scores * _largest(scores) + SCORE_ROUNDING
    nearest = np.where(pairs, distance, np.inf)
    best = nearest <= nearest.min(axis=1, keepdims=True, initial=np.inf)
    return pairs & best, distance, difference


def eager(model: Detector) -> Callable[[Images], Outputs]:
    """A network in eval mode as a function of arrays."""

    @torch.inference_mode()
    def run(images: Images) -> Outputs:
        like = next(model.parameters())
        outputs = model.decode(model(torch.from_numpy(images).to(like)))
        return tuple(output.cpu().numpy() for output in outputs)

    return run


def random_batches(
    size_hw: tuple[int, int], stride: int, batch: int | None, dynamic_size: bool
) -> list[Images]:
    """Random images of the file's size; of other sizes and numbers too, where it takes them."""
    generator = np.random.default_rng(0)
    count = batch or 2
    shapes = [(count, 3, *size_hw)]
    if dynamic_size:
        shapes += [(1, 3, rows * stride, columns * stride) for rows, columns in OTHER_CELLS_HW]
    return [generator.random(shape, np.float32) for shape in shapes]


def milliseconds(
    runs: Sequence[Callable[[Images], Outputs]], size_hw: tuple[int, int]
) -> list[float]:
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


def _as_taken(batches: Sequence[Images], batch_size: int | None) -> list[Images]:
    """Batches of the number of images that a file takes; it must divide them."""
    if batch_size is None:
        return list(batches)
    return [
        images[start : start + batch_size]
        for images in batches
        for start in range(0, len(images), batch_size)
    ]


def _wrong_shapes(found: Outputs, expected: Outputs, task: TaskName) -> DetectorError:
    names = [name.split("_")[0] for name in OUTPUTS[task]]
    parts = [f"{name} of shape {one.shape}" for name, one in zip(names, found, strict=True)]
    shapes = [str(one.shape) for one in expected]
    return DetectorError(
        f"the exported file gives {' and '.join(parts)}, expected {' and '.join(shapes)}"
    )


def _largest(values: NDArray[np.float32]) -> float:
    return float(np.abs(values).max(initial=0.0))


def _worse(a: float, b: float) -> float:
    """The larger one, where not-a-number is the largest of all."""
    return a if math.isnan(a) or a >= b else b
