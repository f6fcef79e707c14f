"""Metrics of tracks: HOTA, CLEAR and IDF1, computed by the library ``trackers``, extra ``track``.

HOTA is arXiv 2009.07736. The files are in MOTChallenge's format and follow its rules: of the ground
truth, rows of class 1 with a confidence other than 0 count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detector.utils.errors import DetectorError, one_line, shown
from detector.utils.files import is_file, read_limited
from detector.utils.system import require

FAMILIES = ["HOTA", "CLEAR", "Identity"]

METRICS = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDSW", "Frag", "MT", "ML")
"""Metrics that are returned, besides the counts of boxes."""

COUNTS = {"CLR_TP": "matched", "CLR_FN": "missed", "CLR_FP": "wrong"}
"""Names of the numbers of boxes in the library, and here."""

COMBINED = "combined"
"""Name of the metrics of all sequences together."""

SCORED_CLASS = 1

MAX_BYTES = 1 << 28
"""Maximum size of a file; the ground truth of MOT20's longest sequence has 40 MB."""

MAX_FRAMES = 1_000_000
"""Largest number of a frame: the library looks at each one, a file may name any."""

MAX_BOXES = 5000
"""Maximum number of boxes of a frame: the library compares those of both files in one table."""

MAX_ID_PAIRS = 50_000_000
"""Maximum product of the numbers of ids in both files, for the same reason."""

MAX_ID = (1 << 31) - 1


@dataclass(frozen=True)
class Sequence:
    """One video: its ground truth and its tracks.

    Attributes:
        name: of the video.
        ground_truth: file of the first.
        tracks: file of the second.
    """

    name: str
    ground_truth: Path
    tracks: Path


@dataclass
class _Content:
    """Rows of a file.

    Attributes:
        ids: of those that count.
        ignored: number of those that do not count.
    """

    ids: set[int]
    ignored: int = 0


def evaluate_tracks(
    ground_truth: str | Path, tracks: str | Path, iou: float = 0.5
) -> dict[str, dict[str, Any]]:
    """Compare tracks with the ground truth.

    Args:
        ground_truth: a file, or a folder of ``NAME.txt`` or ``NAME/gt/gt.txt``.
        tracks: a file, or a folder of ``NAME.txt``.
        iou: from which boxes match, for CLEAR and IDF1; HOTA averages over 0.05 to 0.95.

    Returns:
        The metrics of each sequence by name, and of all as ``combined`` if there are several.

    Raises:
        DetectorError: a file is missing or not in MOT's format; names the line.
    """
    sequences = _find(Path(ground_truth), Path(tracks))
    require("trackers", "track")
    evaluation = require("trackers.eval")
    ignored = {sequence.name: _check(sequence) for sequence in sequences}
    results = {one.name: _compare(evaluation, one, iou) for one in sequences}
    found = {
        name: {**_metrics(result), "ignored": ignored[name]} for name, result in results.items()
    }
    if len(results) > 1:
        combined = _combine(evaluation, list(results.values()))
        found[COMBINED] = {**combined, "ignored": sum(ignored.values())}
    return found


def _find(ground_truth: Path, tracks: Path) -> list[Sequence]:
    """Return the sequences of two files, or of two folders."""
    if not ground_truth.is_dir():
        return [Sequence(ground_truth.stem, ground_truth, tracks)]
    if not tracks.is_dir():
        raise DetectorError("expected a folder of tracks, as the ground truth is one", file=tracks)
    files = {path.stem: path for path in sorted(ground_truth.glob("*.txt"))}
    files = files or {
        path.parent.parent.name: path for path in sorted(ground_truth.glob("*/gt/gt.txt"))
    }
    if not files:
        message = "holds no ground truth, expected NAME.txt or NAME/gt/gt.txt"
        raise DetectorError(message, file=ground_truth)
    extra = {path.stem for path in tracks.glob("*.txt")} - files.keys()
    if extra:
        raise DetectorError(f"{min(extra)}.txt has no ground truth in {ground_truth}", file=tracks)
    return [Sequence(name, path, tracks / f"{name}.txt") for name, path in files.items()]


def _check(sequence: Sequence) -> int:
    """Check both files; return the number of rows of the ground truth that do not count."""
    expected = _read(sequence.ground_truth, ground_truth=True)
    if not expected.ids:
        raise DetectorError(
            f"no row counts, of {expected.ignored}: MOT's rules want class {SCORED_CLASS} in the "
            "8th column and a confidence other than 0 in the 7th",
            file=sequence.ground_truth,
        )
    found = _read(sequence.tracks, ground_truth=False)
    if len(expected.ids) * len(found.ids) > MAX_ID_PAIRS:
        raise DetectorError(
            f"{len(found.ids)} tracks and {len(expected.ids)} of the ground truth: at most "
            f"{MAX_ID_PAIRS} pairs are compared",
            file=sequence.tracks,
        )
    return expected.ignored


def _read(path: Path, ground_truth: bool) -> _Content:
    """Check every line of a file, and return its ids.

    Raises:
        DetectorError: it is not in MOT's format, or larger than can be compared.
    """
    content = _Content(set())
    seen: set[tuple[int, int]] = set()
    boxes: Counter[int] = Counter()
    for line, values in _lines(path):
        frame, track_id = int(values[0]), int(values[1])
        if (frame, track_id) in seen:
            raise DetectorError(f"frame {frame} has id {track_id} twice", file=path, line=line)
        seen.add((frame, track_id))
        boxes[frame] += 1
        if boxes[frame] > MAX_BOXES:
            message = f"frame {frame} has more than {MAX_BOXES} boxes"
            raise DetectorError(message, file=path, line=line)
        if ground_truth and not _counts(values):
            content.ignored += 1
        else:
            content.ids.add(track_id)
    if not seen:
        raise DetectorError("holds no box", file=path)
    return content


def _counts(values: list[float]) -> bool:
    """Return whether a row of the ground truth counts: its confidence and its class say so."""
    confidence, class_id = (*values, 1.0, 1.0)[6:8] if len(values) < 8 else values[6:8]
    return confidence != 0 and int(class_id) == SCORED_CLASS


def _lines(path: Path) -> Iterator[tuple[int, list[float]]]:
    """Yield the number and the values of each line that is not empty."""
    if not is_file(path):
        raise DetectorError("no such file, expected boxes in MOT's format", file=path)
    data = read_limited(path, MAX_BYTES, "boxes in MOT's format")
    columns = 0
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = [float(value) for value in line.split(",")]
        except ValueError:
            values = []
        issue = _issue(values)
        if columns and len(values) != columns:
            issue = issue or f"expected {columns} numbers, as in the lines before"
        columns = len(values)
        if issue:
            message = f"{issue}, found {shown(line.strip())}"
            raise DetectorError(message, file=path, line=number)
        yield number, values


def _issue(values: list[float]) -> str:
    """Return what is wrong with the values of a line; "" for nothing."""
    if not 6 <= len(values) <= 10 or not all(map(math.isfinite, values)):
        return "expected frame,id,left,top,width,height and up to four more numbers"
    frame, track_id, _, _, width, height = values[:6]
    if not (frame.is_integer() and 1 <= frame <= MAX_FRAMES):
        return f"expected a frame of 1 to {MAX_FRAMES}"
    if not (track_id.is_integer() and 0 <= track_id <= MAX_ID):
        return f"expected an id of 0 to {MAX_ID}"
    return "" if min(width, height) > 0 else "expected a width and a height above 0"


def _compare(evaluation: Any, sequence: Sequence, iou: float) -> Any:
    """Return the library's result of one sequence."""
    try:
        return evaluation.evaluate_mot_sequence(
            sequence.ground_truth, sequence.tracks, FAMILIES, iou
        )
    except (OSError, ValueError) as error:
        message = f"cannot be compared: {one_line(error)}"
        raise DetectorError(message, file=sequence.tracks) from error


def _metrics(result: Any) -> dict[str, Any]:
    """Return the metrics of a result of the library by name."""
    values: dict[str, Any] = {}
    for family in FAMILIES:
        values |= getattr(result, family).to_dict()
    return _named(values)


def _combine(evaluation: Any, results: list[Any]) -> dict[str, Any]:
    """Return the metrics of all sequences, as the library adds them up."""
    hota = [one.HOTA.to_dict(include_arrays=True, arrays_as_list=False) for one in results]
    return _named(
        {
            **evaluation.aggregate_clear_metrics([one.CLEAR.to_dict() for one in results]),
            **evaluation.aggregate_identity_metrics([one.Identity.to_dict() for one in results]),
            **evaluation.aggregate_hota_metrics(hota),
        }
    )


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that are reported, as plain numbers, of all that the library computes."""
    named = {name: values[name] for name in METRICS}
    named |= {ours: values[theirs] for theirs, ours in COUNTS.items()}
    return {name: np.asarray(value).item() for name, value in named.items()}
