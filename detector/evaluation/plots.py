"""Plots of an evaluation: curves over recall and confidence, confusions, bars, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.utils.plotting import new_figure, save_figure

MAX_NAMED_CLASSES = 20
"""Largest number of classes whose names and counts are written into a plot."""

Floats = NDArray[np.float64]


def plot_curves(curves: Mapping[str, Floats], path: Path) -> None:
    """Plot precision over recall at IoU 0.5, one line per class, into a PNG file.

    Args:
        curves: name of the class → (101,) precision at recalls 0, 0.01, … 1.
        path: the file.
    """
    named = {f"{name} {curve.mean():.3f}": curve for name, curve in curves.items()}
    _plot_lines(named, path, ("precision by recall, IoU 0.5", "recall", "precision"), "class, AP50")


def plot_over_confidence(
    lines: Mapping[str, Floats], best: float | None, path: Path, title: str
) -> None:
    """Plot values of all classes together over the confidence into a PNG file.

    Args:
        lines: name → (101,) values at confidences 0, 0.01, … 1; NaN where there is none.
        best: confidence to mark; None marks none.
        path: the file.
        title: of the plot.
    """
    _plot_lines(lines, path, (title, "confidence", ""), None, best)


def _plot_lines(
    lines: Mapping[str, Floats],
    path: Path,
    texts: tuple[str, str, str],
    legend: str | None,
    mark: float | None = None,
) -> None:
    picture = new_figure(7, 5)
    axes = picture.subplots()
    for name, values in lines.items():
        axes.plot(np.linspace(0, 1, len(values)), values, label=name)
    if mark is not None:
        axes.axvline(mark, color="black", linestyle=":", label=f"best F1 at {mark:.3f}")
    title, below, beside = texts
    axes.set(title=title, xlabel=below, ylabel=beside, xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    if 0 < len(lines) <= MAX_NAMED_CLASSES:
        axes.legend(title=legend)
    save_figure(picture, path)


def plot_confusion(
    names: Sequence[str],
    counts: NDArray[np.int64],
    path: Path,
    iou: float = 0.5,
    confidence: float = 0.25,
) -> None:
    """Plot the confusion matrix into a PNG file; colors are fractions of the row.

    Args:
        names: of the k classes.
        counts: (k + 1, k + 1), a row for each true class, then nothing; a column for each class
            found, then missed.
        path: the file.
        iou: IoU of the matches, for the title.
        confidence: lowest score, for the title.
    """
    side = min(max(4 + 0.5 * len(names), 5), 20)
    picture = new_figure(side, side)
    axes = picture.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(names) + 1)
    title = f"boxes by place, IoU {iou:g}, score {confidence:g}"
    axes.set(title=title, xlabel="found", ylabel="true")
    axes.set_xticks(ticks, [*names, "missed"], rotation=90)
    axes.set_yticks(ticks, [*names, "nothing"])
    for (row, column), count in np.ndenumerate(counts):
        if count and len(names) <= MAX_NAMED_CLASSES:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    save_figure(picture, path)


def plot_bars(groups: Mapping[str, Mapping[str, float]], path: Path, title: str) -> None:
    """Plot groups of values side by side, one panel a group, into a PNG file.

    Args:
        groups: title of the panel → name of the bar → value; a negative value is none.
        path: the file.
        title: label of the values.
    """
    rows = max(len(values) for values in groups.values())
    picture = new_figure(4 * len(groups) + 1, 1.2 + 0.35 * rows)
    for axes, (name, values) in zip(
        np.atleast_1d(picture.subplots(1, len(groups))), groups.items(), strict=True
    ):
        places = np.arange(len(values))
        axes.barh(places, [max(value, 0) for value in values.values()], color="tab:blue")
        axes.set_yticks(places, list(values))
        axes.invert_yaxis()
        axes.margins(x=0.2)
        for place, value in zip(places, values.values(), strict=True):
            text = "–" if value < 0 else f"{value:.3f}"
            axes.text(max(value, 0), place, f" {text}", va="center")
        axes.set(title=name, xlabel=title)
    save_figure(picture, path)


def plot_reliability(
    scores: Sequence[float | None],
    precisions: Sequence[float | None],
    boxes: Sequence[int],
    path: Path,
) -> None:
    """Plot precision by score, and the number of boxes of each range of scores, into a PNG file.

    Args:
        scores: mean score of each range; None without boxes.
        precisions: share of right boxes of each range.
        boxes: number of boxes of each range; ranges have equal widths from 0 to 1.
        path: the file.
    """
    picture = new_figure(6, 6)
    above, below = picture.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    width = 1 / len(boxes)
    middles = (np.arange(len(boxes)) + 0.5) * width
    above.bar(middles, [value or 0 for value in precisions], 0.9 * width, alpha=0.5)
    known = [(s, p) for s, p in zip(scores, precisions, strict=True) if s is not None]
    above.plot([s for s, _ in known], [p for _, p in known], "o-", label="network")
    above.plot([0, 1], [0, 1], "k:", label="as it should be")
    above.set(title="share of right boxes by score, IoU 0.5", ylabel="precision", ylim=(0, 1.02))
    above.legend()
    below.bar(middles, boxes, 0.9 * width, color="gray")
    below.set(xlabel="score", ylabel="boxes", xlim=(0, 1))
    if any(boxes):
        below.set_yscale("log")
    save_figure(picture, path)
