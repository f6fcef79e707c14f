"""Plots of an analysis."""

from __future__ import annotations

from pathlib import Path

from detector.evaluation.analysis.analysis import Analysis
from detector.evaluation.plots import (
    plot_bars,
    plot_confusion,
    plot_curves,
    plot_over_confidence,
    plot_reliability,
)

PRECISION_RECALL, CONFIDENCE = "precision_recall.png", "confidence.png"
CONFUSION, ERROR_TYPES = "confusion.png", "error_types.png"
BINS, CALIBRATION = "bins.png", "calibration.png"


def write_plots(analysis: Analysis, folder: Path) -> dict[str, bytes]:
    """Write all plots as PNG files, and return the bytes of each by the name of its file."""
    whole, *classes = analysis.curves
    by_recall = {one.name: one.precision_by_recall for one in classes if one.objects}
    plot_curves(by_recall, folder / PRECISION_RECALL)
    plot_over_confidence(
        {"precision": whole.precision, "recall": whole.recall, "F1": whole.f1},
        None if whole.best is None else whole.best.confidence,
        folder / CONFIDENCE,
        "all classes by confidence, IoU 0.5",
    )
    matrix = analysis.confusion
    plot_confusion(matrix.names, matrix.counts, folder / CONFUSION, matrix.iou, matrix.confidence)
    errors = analysis.errors
    plot_bars(
        {
            "error types": {name: one.gain for name, one in errors.types.items()},
            "sums": {name: one.gain for name, one in errors.totals.items()},
        },
        folder / ERROR_TYPES,
        "gain in AP50",
    )
    parts = analysis.bins
    plot_bars(
        {
            "side of the object": {one.name: one.ap for one in parts.size},
            "brightness of the image": {one.name: one.ap for one in parts.brightness},
            "objects in the image": {one.name: one.ap for one in parts.crowding},
        },
        folder / BINS,
        "AP",
    )
    ranges = analysis.calibration.ranges
    plot_reliability(
        [one.score for one in ranges],
        [one.precision for one in ranges],
        [one.boxes for one in ranges],
        folder / CALIBRATION,
    )
    names = (PRECISION_RECALL, CONFIDENCE, CONFUSION, ERROR_TYPES, BINS, CALIBRATION)
    return {name: (folder / name).read_bytes() for name in names}
