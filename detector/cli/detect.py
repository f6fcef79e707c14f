"""``detect``: detect objects or classify images; write pictures, txt files or JSON lines."""

from __future__ import annotations

import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from detector.cli.outcome import EXIT_SIGNAL, Outcome
from detector.cli.refused import check_effect, refuse
from detector.predict import Predictor, open_backend
from detector.runtime.backends.backend import Backend
from detector.runtime.backends.exported import ExportedBackend
from detector.runtime.choice import Choice, choose_file, exported_files
from detector.runtime.label_writer import ONE_FILE, SavedLabels
from detector.runtime.pipeline import Timing
from detector.runtime.segments import JsonSegmentWriter, SegmentWriter
from detector.runtime.shards import Shard
from detector.runtime.sources import OnBad, Source, open_source
from detector.runtime.streams.live import LiveFrames
from detector.runtime.tracking.mot_writer import MotWriter
from detector.runtime.tracking.tracker import nms_for_tracking
from detector.runtime.tracking.tracking import Tracking
from detector.runtime.video import IncompleteVideoError
from detector.runtime.window import WindowWriter
from detector.runtime.writers import (
    JsonLinesWriter,
    MediaWriter,
    ResultNames,
    Writer,
    YoloTxtWriter,
)
from detector.settings.detect import DetectSettings
from detector.settings.streams import StreamSettings
from detector.settings.values import TaskName
from detector.utils.errors import DetectorError

STREAM_FLAGS = {"latest", "give_up", "segment_minutes"}
"""Settings that affect cameras and streams only."""


def detect(settings: DetectSettings) -> Outcome:
    """Detect or classify, and write results; print and return counts and times by phase.

    Cameras and streams are read until a signal: the results of the frames that have arrived are
    written, and the exit code is that of the signal.

    Raises:
        DetectorError: weights or source cannot be read, a flag has no effect on this network, or
            a video is incomplete; its results are written all the same.
    """
    shard = Shard.parse(settings.shard) if settings.shard else Shard.from_environment()
    choice = _choose(settings)
    weights = settings.weights[0] if choice is None else choice.path
    predictor = Predictor(
        weights,
        settings.nms,
        batch=settings.batch,
        device=settings.device,
        imgsz=settings.imgsz,
        letterbox=settings.letterbox,
        threads=settings.threads,
        precision=settings.precision,
        mode=settings.mode,
        tiles=settings.tiles,
        tile_overlap=settings.tile_overlap,
        tile_whole=settings.tile_whole,
        tta=settings.tta,
        tta_scales=settings.tta_scales,
        tta_flip=settings.tta_flip,
    )
    check_effect(settings, predictor.backend, settings.nms(predictor.names))
    bad: list[DetectorError] = []
    on_bad = _warn_about(bad, settings.skip_bad)
    source = open_source(settings.source, on_bad, shard, stream_settings(settings))
    _check_source(settings, source)
    counts: Counter[str] = Counter()
    tracking = _tracking(settings, predictor)
    labels = _saved_labels(settings, weights, predictor.backend, source, shard)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(writer)
            for writer in [*_writers(settings, predictor.backend.task, source, shard), *labels]
        ]
        stopped = stack.enter_context(_stopped_by_signal(source))
        results = predictor.frames(source)
        if tracking is not None:
            results = tracking(predictor.frames_to_track(source, settings))
        for result in tqdm(results, total=source.total, unit="image", disable=None):
            counts.update(result.prediction.class_names)
            for writer in writers:
                writer.write(result)
    if shard is not None and settings.jsonl:
        shard.merge(_jsonl_path(settings))
    report = _report(settings, predictor.timing, counts, bad, shard)
    if choice is not None:
        report["choice"] = choice.to_dict()
    if tracking is not None:
        report |= _report_tracks(tracking)
    for one in labels:
        print(f"labels: {one.folder}: {one.images} images, {one.boxes} boxes")
        report["labels"] = {"output": str(one.folder), "images": one.images, "boxes": one.boxes}
    if source.live is not None:
        report["streams"] = _report_streams(source.live)
    if not settings.skip_bad:
        _check_complete(bad)
    return Outcome(report, EXIT_SIGNAL + stopped[0] if stopped else 0)


def _choose(settings: DetectSettings) -> Choice | None:
    """Choose the fastest of several files, and say why; None if one is given.

    Raises:
        DetectorError: see :func:`choose_file`; a flag has no effect.
    """
    if len(settings.weights) == 1 and not settings.weights[0].is_dir():
        refuse(settings, {"max_drop"}, "one file is given, so that none is chosen")
        return None
    if settings.precision != "auto":
        raise DetectorError(
            f"--precision {settings.precision}: one of several files is chosen by --precision auto "
            "alone; give the file"
        )
    files = exported_files(settings.weights)
    return choose_file(files, lambda path: open_backend(path, settings), settings.max_drop)


def stream_settings(settings: DetectSettings) -> StreamSettings:
    """Return the settings of videos, cameras and streams among those of the tool."""
    return StreamSettings(**{name: getattr(settings, name) for name in StreamSettings.model_fields})


def _check_source(settings: DetectSettings, source: Source) -> None:
    """Raise DetectorError for given flags that have no effect on this source."""
    if source.live is None:
        refuse(settings, STREAM_FLAGS, "only cameras and streams have it")
    else:
        refuse(settings, {"mot"}, "cameras and streams have no end; --jsonl has the ids, too")
    if not source.has_videos:
        refuse(settings, {"vid_stride"}, "the source has no video")


@contextmanager
def _stopped_by_signal(source: Source) -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM end cameras and streams, which have no other end; yield the signals.

    A second Ctrl-C interrupts at once. The signals of other sources are handled as before.
    """
    stopped: list[int] = []
    if source.live is None or threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(number: int, _: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stopped.append(number)
        source.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report_streams(live: LiveFrames) -> dict[str, Any]:
    """Print and return the counts of each camera's frames."""
    for name, counts in live.counts.items():
        others = {
            "left out by --vid-stride": counts.skipped,
            "dropped": counts.dropped,
            "unreadable": counts.unreadable,
        }
        text = "".join(f", {count} {what}" for what, count in others.items() if count)
        lost = f"; lost {counts.losses} times" if counts.losses else ""
        print(f"{name}: {counts.used} of {counts.received} frames{text}{lost}")
    return {name: asdict(counts) for name, counts in live.counts.items()}


def _report(
    settings: DetectSettings,
    timing: Timing,
    counts: Counter[str],
    bad: list[DetectorError],
    shard: Shard | None,
) -> dict[str, Any]:
    """Print and return counts of objects or classes, and times."""
    phases = timing.ms_per_image()
    found = ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
    print(f"{f'shard {shard}: ' if shard else ''}{timing.images} images: {found}")
    parts = settings.describe_tiles() or settings.describe_views()
    if parts:
        print(f"{parts}: {timing.inputs} inputs of the network")
    incomplete = sum(isinstance(error, IncompleteVideoError) for error in bad)
    if skipped := len(bad) - incomplete:
        print(f"{skipped} unreadable images skipped")
    if incomplete:
        print(f"{incomplete} incomplete videos")
    milliseconds = ", ".join(f"{phase} {ms:.1f}" for phase, ms in phases.items())
    wall = timing.wall_ms_per_image()
    overlap = ", since phases overlap" if wall < sum(phases.values()) else ""
    print(f"ms per image: {milliseconds}; {wall:.1f} in total{overlap}")
    if any((settings.draw, settings.txt, settings.txt_scores, settings.jsonl, settings.mot)):
        print(f"results: {settings.output}")
    return {
        "images": timing.images,
        **({"inputs": timing.inputs} if parts else {}),
        "skipped": skipped,
        "incomplete": incomplete,
        "counts": dict(counts),
        "ms_per_image": phases,
        "wall_ms_per_image": timing.wall_ms_per_image(),
        "output": str(settings.output),
    }


def _tracking(settings: DetectSettings, predictor: Predictor) -> Tracking | None:
    """Return what gives ids to boxes, if it is asked for; say which boxes it gets.

    Raises:
        DetectorError: a flag has no effect, or the network cannot track.
    """
    if settings.track is None:
        return None
    refuse(settings, {"txt", "txt_scores"}, "YOLO's lines have no place for the ids of --track")
    refuse(settings, {"save_labels"}, "labels have no place for the ids of --track")
    tracking = predictor.tracking(settings)
    low = nms_for_tracking(settings.track, predictor.settings).confidence
    begin = predictor.settings.confidence
    further = f", boxes from {low:g} on continue it" if low < begin else ""
    print(
        f"{settings.track}: boxes from --confidence {begin:g} on begin a track{further}; boxes of "
        "no track are left out"
    )
    return tracking


def _report_tracks(tracking: Tracking) -> dict[str, Any]:
    """Print and return the number of tracks and what regions have counted, over all videos."""
    found = ", ".join(f"{count} {name}" for name, count in tracking.tracks.most_common())
    videos = f"{tracking.videos} video{'' if tracking.videos == 1 else 's'}"
    print(f"tracks in {videos}: {found or 'none'}")
    for count in tracking.totals:
        print(count.describe())
    return {
        "videos": tracking.videos,
        "tracks": dict(tracking.tracks),
        "regions": [count.to_dict() for count in tracking.totals],
    }


def _warn_about(bad: list[DetectorError], skip_bad: bool) -> OnBad:
    """Return a function that prints the error of a bad file and adds it to ``bad``.

    Without ``skip_bad`` it raises the error of an unreadable file. An incomplete video does not end
    the run: the results of the frames before are kept.
    """

    def note(error: DetectorError) -> None:
        if not skip_bad and not isinstance(error, IncompleteVideoError):
            message = f"{error.message} (--skip-bad leaves it out)"
            raise DetectorError(message, file=error.file, line=error.line) from error
        bad.append(error)
        if skip_bad:
            print(f"warning: {error}", file=sys.stderr)

    return note


def _check_complete(incomplete: list[DetectorError]) -> None:
    """Raise the error about incomplete videos, after all results are written."""
    if incomplete:
        others = len(incomplete) - 1
        also = f"; so are {others} more" if others else ""
        raise DetectorError(f"{incomplete[0]}{also}; --skip-bad accepts that")


def _saved_labels(
    settings: DetectSettings,
    weights: Path,
    backend: Backend,
    source: Source,
    shard: Shard | None,
) -> list[SavedLabels]:
    """Return the writer of labels, if they are asked for.

    Raises:
        DetectorError: a flag has no effect, or the labels cannot be written.
    """
    name = settings.save_labels
    if name is None:
        refuse(settings, {"label_confidence", "class_confidence"}, "only --save-labels has labels")
        return []
    if shard is not None and name in ONE_FILE:
        raise DetectorError(
            f"--save-labels {name}: one file, which several processes cannot write; yolo and voc "
            "have a file for each image"
        )
    confidences = settings.label_confidences(backend.names)
    own = backend.metadata.nms if isinstance(backend, ExportedBackend) else None
    lowest = settings.confidence if own is None else own.confidence
    if min(confidences) < lowest:
        place = f"--confidence {lowest:g}" if own is None else f"that of the file, {lowest:g}"
        raise DetectorError(
            f"a label's confidence of {min(confidences):g} is below {place}, under which no box "
            "is kept"
        )
    folder = settings.output / name
    model = weights.name
    return [SavedLabels(folder, name, source, backend.names, confidences, model)]


def _jsonl_path(settings: DetectSettings) -> Path:
    return settings.output / "detections.jsonl"


def _writers(
    settings: DetectSettings, task: TaskName, source: Source, shard: Shard | None
) -> list[Writer]:
    writers: list[Writer] = []
    names = ResultNames(source.earlier)
    if settings.draw and source.live is not None:
        writers.append(SegmentWriter(settings.output, settings.segment_minutes, names))
    elif settings.draw:
        writers.append(MediaWriter(settings.output, names=names))
    if (settings.txt or settings.txt_scores) and task == "detect":
        names, folder = ResultNames(source.earlier), settings.output / "labels"
        writers.append(YoloTxtWriter(folder, names, scores=settings.txt_scores))
    if settings.mot:
        writers.append(MotWriter(settings.output / "mot", ResultNames(source.earlier)))
    if settings.jsonl and source.live is not None:
        folder = settings.output / "detections"
        writers.append(JsonSegmentWriter(folder, settings.segment_minutes))
    elif settings.jsonl:
        lines = _jsonl_path(settings)
        if shard is not None:
            shard.remove_outputs(lines)
            lines = shard.file(lines)
        writers.append(JsonLinesWriter(lines))
    if settings.show:
        writers.append(WindowWriter(source.stop))
    return writers
