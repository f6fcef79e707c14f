"""Worker process of ``benchmark detect``: measures one configuration with its own threads, memory.

The first line of stdin is the configuration as JSON. The worker answers by one JSON line after the
first image, and then, for each further line of stdin, by one after a run over all images.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import islice
from pathlib import Path

from detector.predict import open_backend, parallel_batches
from detector.runtime.pipeline import Pipeline, Timing
from detector.runtime.sources import open_source
from detector.settings.common import RuntimeSettings
from detector.settings.nms import NmsSettings
from detector.settings.values import Count, Fraction
from detector.utils.system import peak_memory


class Configuration(RuntimeSettings):
    """Configuration that one process measures."""

    weights: Path
    source: str
    batch: Count
    confidence: Fraction


def main() -> None:
    """Measure and answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # so that output of libraries does not mix with the answers
    settings = Configuration.model_validate_json(sys.stdin.readline())
    backend = open_backend(settings.weights, settings)
    nms = NmsSettings(confidence=settings.confidence)

    def run(images: int | None) -> Timing:
        pipeline = Pipeline(backend, nms, settings.batch, parallel_batches(settings))
        for _ in pipeline(islice(open_source(settings.source), images)):
            pass
        return pipeline.timing

    timing = run(images=1)
    while True:
        answer = {
            "images": timing.images,
            "seconds": timing.seconds,
            "wall_seconds": timing.wall_seconds,
            "peak_bytes": peak_memory(),
        }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if not sys.stdin.readline():
            return
        timing = run(images=None)


if __name__ == "__main__":
    main()
