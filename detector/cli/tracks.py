"""``tracks``: compare tracks in MOT's format with ground truth."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from detector.evaluation.tracks import evaluate_tracks
from detector.settings.track import TracksSettings

COLUMNS = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW", "missed", "wrong")


def tracks(settings: TracksSettings) -> dict[str, Any]:
    """Print and return the metrics of each sequence, and of all.

    Raises:
        DetectorError: a file is missing or not in MOT's format, or the extra ``track`` is not
            installed.
    """
    found = evaluate_tracks(settings.ground_truth, settings.tracks, settings.iou)
    rows = [[name, *(metrics[column] for column in COLUMNS)] for name, metrics in found.items()]
    print(tabulate(rows, ["sequence", *COLUMNS], floatfmt=".4f"))
    for name, metrics in found.items():
        if metrics["ignored"]:
            print(
                f"{name}: {metrics['ignored']} rows of the ground truth do not count, by their "
                "class or confidence"
            )
    return found
