"""Reloads what was written and compares it with the network that it came from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from detector.errors import DetectorError
from detector.graph import Detector
from detector.runtime.backend import OUTPUTS, Backend
from detector.runtime.backend import Arrays as Outputs
from detector.settings import TaskName

Images = NDArray[np.float32]

BOX_TOLERANCE = 5e-5
"""Of the largest coordinate: 0.03 pixels at 640. Rounding in float32 stays below a hundredth of
that, while 0.03 pixels change the IoU of a box of 10 pixels by less than 0.01."""
SCORE_TOLERANCE = 1e-4
"""Of the largest score, which is tiny before training. Rounding stays below a tenth of that …"""
SCORE_ROUNDING = 1e-6
"""… but for runtimes whose sigmoid is an approximation, exact to about 1e-7."""
OTHER_CELLS_HW = ((3, 2), (10, 9))
"""Sizes that a file of any size is compared at, in cells of the largest stride: smaller and larger
than what it was traced with."""
TIMED_RUNS = 5


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

    @property
    def max_abs_diff(self) -> float:
        """The largest difference of all."""
        return max(self.boxes_px, self.scores)

    def check(self) -> None:
        """Raise where a difference is not within its tolerance; one that is no number never is."""
        if not self.boxes_relative <= BOX_TOLERANCE:
            raise DetectorError(
                f"the exported file differs from the network: boxes by {self.boxes_px:.2e} px, "
                f"{self.boxes_relative:.2e} of the largest coordinate, allowed are "
                f"{BOX_TOLERANCE:.0e}; nothing was written"
            )
        allowed = SCORE_TOLERANCE * self.largest_score + SCORE_ROUNDING
        if not self.scores <= allowed:
            raise DetectorError(
                f"the exported file differs from the network: scores by {self.scores:.2e}, "
                f"allowed are {allowed:.2e}; nothing was written"
            )


def compare(
    reference: Callable[[Images], Outputs], backend: Backend, batches: Sequence[Images]
) -> Comparison:
    """Run both on the same images; where the file takes single images, on one after the other."""
    boxes_px = boxes_relative = score_difference = largest_score = 0.0
    for images in _as_taken(batches, backend.batch_size):
        expected, found = reference(images), backend(images)
        if [one.shape for one in found] != [one.shape for one in expected]:
            raise _wrong_shapes(found, expected, backend.task)
        *expected_boxes, expected_scores = expected
        *found_boxes, found_scores = found
        for boxes, truth in zip(found_boxes, expected_boxes, strict=True):
            difference, extent = _largest(boxes - truth), _largest(truth)
            boxes_px = _worse(boxes_px, difference)
            boxes_relative = _worse(boxes_relative, difference / max(extent, 1.0))
        score_difference = _worse(score_difference, _largest(found_scores - expected_scores))
        largest_score = max(largest_score, _largest(expected_scores))
    count = sum(len(images) for images in batches)
    return Comparison(
        boxes_px, boxes_relative, score_difference, largest_score, count, backend.task
    )


def eager(model: Detector) -> Callable[[Images], Outputs]:
    """A network in eval mode as a function of arrays."""

    @torch.inference_mode()
    def run(images: Images) -> Outputs:
        device = next(model.parameters()).device
        outputs = model.decode(model(torch.from_numpy(images).to(device)))
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
