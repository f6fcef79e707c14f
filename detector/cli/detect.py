"""``detect``: weights and a source → pictures, txt files, JSON lines, of boxes or of classes."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm

from detector.cli.unused import note_unused
from detector.errors import DetectorError
from detector.predict import Predictor
from detector.runtime.sources import OnBad, open_source
from detector.runtime.writers import JsonLinesWriter, MediaWriter, Writer, YoloTxtWriter
from detector.settings import DetectSettings, TaskName


def detect(settings: DetectSettings) -> dict[str, Any]:
    """Detect or classify, write, print counts and milliseconds by phase; returns them."""
    predictor = Predictor(
        settings.weights,
        settings.nms,
        batch=settings.batch,
        device=settings.device,
        imgsz=settings.imgsz,
        letterbox=settings.letterbox,
        threads=settings.threads,
        mode=settings.mode,
    )
    note_unused(settings, predictor.backend)
    bad: list[str] = []
    source = open_source(settings.source, _noted(bad) if settings.skip_bad else None)
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        writers = [
            stack.enter_context(writer) for writer in _writers(settings, predictor.backend.task)
        ]
        results = predictor.frames(source)
        for result in tqdm(results, total=source.total, unit="image", disable=None):
            counts.update(result.prediction.found)
            for writer in writers:
                writer.write(result)
    timing = predictor.timing
    phases = timing.ms_per_image()
    found = ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
    print(f"{timing.images} images: {found}")
    if bad:
        print(f"{len(bad)} unreadable images passed over")
    spelt = ", ".join(f"{phase} {ms:.1f}" for phase, ms in phases.items())
    print(f"ms per image: {spelt}; {timing.wall_ms_per_image():.1f} in all, since they overlap")
    if settings.draw or settings.txt or settings.jsonl:
        print(f"results: {settings.output}")
    return {
        "images": timing.images,
        "skipped": len(bad),
        "counts": dict(counts),
        "ms_per_image": phases,
        "wall_ms_per_image": timing.wall_ms_per_image(),
        "output": str(settings.output),
    }


def _noted(bad: list[str]) -> OnBad:
    """Print the error of an unreadable image and remember it."""

    def note(error: DetectorError) -> None:
        bad.append(str(error))
        print(f"warning: {error}", file=sys.stderr)

    return note


def _writers(settings: DetectSettings, task: TaskName) -> list[Writer]:
    writers: list[Writer] = []
    if settings.draw:
        writers.append(MediaWriter(settings.output))
    if settings.txt and task == "detect":
        writers.append(YoloTxtWriter(settings.output / "labels"))
    if settings.jsonl:
        writers.append(JsonLinesWriter(settings.output / "detections.jsonl"))
    return writers
