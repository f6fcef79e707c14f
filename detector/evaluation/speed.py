"""Speed of several networks, measured in turns so that a change of the machine's affects all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from detector.runtime.pipeline import Pipeline
from detector.runtime.sources import Frame

ROUNDS = 5
"""Number of runs of each network; one more warms up and is not counted."""

TIMED_IMAGES = 16
"""Number of images of a run, the first ones of a split."""


def ms_per_image(pipelines: Sequence[Pipeline], frames: Sequence[Frame]) -> list[float]:
    """Return each network's median milliseconds per image, from decoded image to result.

    Args:
        pipelines: one for each network.
        frames: decoded images, the same for all.
    """
    rounds = [[_run(pipeline, frames) for pipeline in pipelines] for _ in range(ROUNDS + 1)]
    return [1000 * statistics.median(runs[1:]) / len(frames) for runs in zip(*rounds, strict=True)]


def _run(pipeline: Pipeline, frames: Sequence[Frame]) -> float:
    """Return the seconds of one run."""
    start = time.perf_counter()
    for _ in pipeline(iter(frames)):
        pass
    return time.perf_counter() - start
