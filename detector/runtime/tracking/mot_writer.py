"""Writer of tracks in the format of MOTChallenge, a text file for each video."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detector.runtime.pending import PendingText
from detector.runtime.pipeline import Result
from detector.runtime.writers import ResultNames, Writer


class MotWriter(Writer):
    """Writer of ``frame,id,left,top,width,height,score,-1,-1,-1`` for each box of a track.

    Frames count from 1, boxes are in pixels, and classes have no place in this format.

    Args:
        folder: created if missing; files of the same name are replaced.
        names: names of the results.
    """

    def __init__(self, folder: str | Path, names: ResultNames | None = None) -> None:
        super().__init__()
        self._folder = Path(folder)
        self._names = names or ResultNames()
        self._file: PendingText | None = None
        self._name = ""

    def _write(self, result: Result) -> None:
        name = self._names.for_file(result.frame)
        if self._file is None or name != self._name:
            self._finish(failed=False)
            self._file, self._name = PendingText(self._folder / f"{name}.txt"), name
        self._file.write(mot_lines(result))

    def _finish(self, failed: bool) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.finish(failed)


def mot_lines(result: Result) -> str:
    """Return the lines of one frame, which has ids."""
    found = result.detections
    assert found.track_ids is not None
    boxes = found.boxes_xyxy.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    rows = zip(found.track_ids.tolist(), boxes.tolist(), found.scores.tolist(), strict=True)
    return "".join(
        f"{result.frame.index + 1},{track_id},{','.join(f'{value:.3f}' for value in box)},"
        f"{score:.6f},-1,-1,-1\n"
        for track_id, box, score in rows
    )
