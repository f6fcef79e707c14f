"""Results of cameras and streams in files of some minutes each, so that none grows for days.

``door/000003_20261130T194648Z.mp4`` is the fourth segment of the camera ``door``, with the time of
its first frame in UTC. Numbers go on from those in the folder: a run that is started again replaces
nothing. A segment is written under a temporary name and renamed when it is complete.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from detector.runtime.pipeline import Result
from detector.runtime.writers import JsonLinesWriter, MediaWriter, ResultNames, VideoFile, Writer
from detector.utils.errors import DetectorError
from detector.utils.files import remove_orphans_in

_NAME = re.compile(r"(\d{6,})_\d{8}T\d{6}Z\.\w+")


class Segments:
    """Names of the segments in a folder.

    Args:
        folder: their folder; it need not exist.
        suffix: that of the files, such as ``.mp4``.
        minutes: length of a segment.
    """

    def __init__(self, folder: Path, suffix: str, minutes: float) -> None:
        self._folder = folder
        self._suffix = suffix
        self._length = timedelta(minutes=minutes)
        self._number = _next_number(folder, suffix)
        remove_orphans_in(folder)  # no later segment has the name of one that was never finished
        self._began: datetime | None = None

    def is_over(self, time: datetime) -> bool:
        """Return whether a frame of this time belongs to another segment than the one begun."""
        # The clock of the machine may be set back, too.
        return self._began is None or not timedelta() <= time - self._began < self._length

    def begin(self, time: datetime) -> Path:
        """Begin a segment with a frame of this time and return its path."""
        self._began = time
        name = f"{self._number:06d}_{time.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}{self._suffix}"
        self._number += 1
        return self._folder / name


def _next_number(folder: Path, suffix: str) -> int:
    """Return the number after the highest one of the segments in a folder."""
    names = os.listdir(folder) if folder.is_dir() else []
    matches = (_NAME.fullmatch(name) for name in names if name.endswith(suffix))
    return max((int(match[1]) + 1 for match in matches if match), default=0)


@dataclass
class _Recording:
    """Segments of one camera: the video that is being written, and the end of the one before."""

    segments: Segments
    video: VideoFile | None = None
    ending: Future[None] | None = None

    def end(self, finish: Callable[[VideoFile], Future[None]]) -> None:
        """Finish the video; wait for the end of the one before, and raise its error."""
        video, self.video = self.video, None
        self.wait()
        if video is not None:
            self.ending = finish(video)

    def wait(self) -> None:
        """Wait for the end of the video before, and raise its error."""
        ending, self.ending = self.ending, None
        if ending is not None:
            ending.result()


class SegmentWriter(Writer):
    """Writer of videos of cameras and streams, in segments, and of other results as usual.

    A segment ends after its time, or where the size of the frames changes. It plays at the rate
    that the camera states, whether frames were dropped or not; JSON lines hold the times. A thread
    reads finished segments again, so that the cameras need not wait.

    Args:
        folder: created if missing; each camera has a folder in it.
        minutes: length of a segment.
        names: names of the results.
    """

    def __init__(self, folder: Path, minutes: float, names: ResultNames) -> None:
        super().__init__()
        self._folder = folder
        self._minutes = minutes
        self._names = names
        self._others = MediaWriter(folder, names=names)
        self._recordings: dict[str, _Recording] = {}
        self._checker = ThreadPoolExecutor(1, thread_name_prefix="segments")

    def _write(self, result: Result) -> None:
        time = result.frame.time
        if time is None:
            self._others.write(result)
            return
        name = self._names.for_file(result.frame)
        if name not in self._recordings:
            segments = Segments(self._folder / name, ".mp4", self._minutes)
            self._recordings[name] = _Recording(segments)
        recording = self._recordings[name]
        video = recording.video
        if video is None or recording.segments.is_over(time) or not video.fits(result):
            recording.end(self._end)
            recording.video = video = VideoFile(recording.segments.begin(time), result)
        video.write(result.draw())

    def _end(self, video: VideoFile) -> Future[None]:
        return self._checker.submit(video.finish, False)

    def _finish(self, failed: bool) -> None:
        self._others._finish(failed)
        errors: list[DetectorError] = []
        with self._checker:
            for recording in self._recordings.values():
                try:
                    if failed and recording.video is not None:
                        recording.video.finish(failed)
                        recording.video = None
                    recording.end(self._end)
                    recording.wait()
                except DetectorError as error:  # the other cameras' segments are finished too
                    errors.append(error)
        if errors and not failed:
            raise errors[0]


class JsonSegmentWriter(Writer):
    """Writer of JSON lines in segments, as :class:`JsonLinesWriter` writes them.

    Args:
        folder: created if missing.
        minutes: length of a segment.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        super().__init__()
        self._segments = Segments(folder, ".jsonl", minutes)
        self._lines: JsonLinesWriter | None = None

    def _write(self, result: Result) -> None:
        time = result.frame.time or datetime.now(timezone.utc)
        if self._lines is None or self._segments.is_over(time):
            self._finish(failed=False)
            self._lines = JsonLinesWriter(self._segments.begin(time)).__enter__()
        self._lines.write(result)

    def _finish(self, failed: bool) -> None:
        if self._lines is not None:
            lines, self._lines = self._lines, None
            lines._finish(failed)
