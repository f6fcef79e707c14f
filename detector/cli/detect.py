"""``detect``: weights and a source → pictures, txt files, JSON lines, of boxes or of classes."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tqdm import tqdm

from detector.cli.refused import check_effect
from detector.predict import Predictor
from detector.runtime.pipeline import Timing
from detector.runtime.shards import Shard
from detector.runtime.sources import OnBad, Source, open_source
from detector.runtime.writers import (
    JsonLinesWriter,
    MediaWriter,
    ResultNames,
    Writer,
    YoloTxtWriter,
)
from detector.settings import DetectSettings, TaskName
from detector.utils.errors import DetectorError


def detect(settings: DetectSettings) -> dict[str, Any]:
    """Detect or classify, write, print counts and milliseconds by phase; returns them."""
    shard = Shard.parse(settings.shard) if settings.shard else Shard.from_environment()
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
    check_effect(settings, predictor.backend, settings.nms(predictor.names))
    bad: list[str] = []
    source = open_source(settings.source, _noted(bad) if settings.skip_bad else None, shard)
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        writers = [
            stack.enter_context(writer)
            for writer in _writers(settings, predictor.backend.task, source, shard)
        ]
        results = predictor.frames(source)
        for result in tqdm(results, total=source.total, unit="image", disable=None):
            counts.update(result.prediction.class_names)
            for writer in writers:
                writer.write(result)
    if shard is not None and settings.jsonl:
        shard.merge(_lines_of(settings))
    return _report(settings, predictor.timing, counts, len(bad), shard)


def _report(
    settings: DetectSettings, timing: Timing, counts: Counter[str], bad: int, shard: Shard | None
) -> dict[str, Any]:
    """Print what was found, and return it."""
    phases = timing.ms_per_image()
    found = ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
    print(f"{f'shard {shard}: ' if shard else ''}{timing.images} images: {found}")
    if bad:
        print(f"{bad} unreadable images passed over")
    spelt = ", ".join(f"{phase} {ms:.1f}" for phase, ms in phases.items())
    print(f"ms per image: {spelt}; {timing.wall_ms_per_image():.1f} in all, since they overlap")
    if settings.draw or settings.txt or settings.jsonl:
        print(f"results: {settings.output}")
    return {
        "images": timing.images,
        "skipped": bad,
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


def _lines_of(settings: DetectSettings) -> Path:
    return settings.output / "detections.jsonl"


def _writers(
    settings: DetectSettings, task: TaskName, source: Source, shard: Shard | None
) -> list[Writer]:
    writers: list[Writer] = []
    if settings.draw:
        writers.append(MediaWriter(settings.output, names=ResultNames(source.earlier)))
    if settings.txt and task == "detect":
        writers.append(YoloTxtWriter(settings.output / "labels", ResultNames(source.earlier)))
    if settings.jsonl:
        lines = _lines_of(settings)
        if shard is not None:
            shard.remove_outputs(lines)
            lines = shard.file(lines)
        writers.append(JsonLinesWriter(lines))
    return writers
